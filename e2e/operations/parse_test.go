package operations

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A step is a command of a page, or a directive.
type step struct {
	line   int      // of the page, from 1
	kind   string   // "command", or the directive's word
	text   string   // the command, or what follows the word
	output []string // of a command: what it prints
	code   int      // of a command: how it exits
	retry  bool     // of a command
	input  string   // of a command
}

// settings are directives for the next block.
type settings struct {
	exit        int
	retry       bool
	input       string
	file, skip  string
	line, count int // of the first directive, and how many there are
}

// parser reads a page.
type parser struct {
	lines []string
	at    int // index of the next line
	next  settings
	steps []step
}

// parse returns the steps of a page.
func parse(page string) ([]step, error) {
	p := parser{lines: strings.Split(strings.ReplaceAll(page, "\r\n", "\n"), "\n")}
	for p.at < len(p.lines) {
		if err := p.element(); err != nil {
			return nil, err
		}
	}
	if p.next.count > 0 {
		return nil, fmt.Errorf("line %d: no block follows the directive", p.next.line)
	}
	if !slices.ContainsFunc(p.steps, func(s step) bool { return s.kind == "command" }) {
		return nil, errors.New("no command of the page is executed")
	}
	return p.steps, nil
}

// indented is a command in an indented block, which nothing would execute.
var indented = regexp.MustCompile(`^( {4,}|\t)(\$ |sigstack |cosign|sudo )`)

func (p *parser) element() error {
	line := strings.TrimSpace(p.lines[p.at])
	switch {
	case strings.HasPrefix(line, "<!-- test:"):
		return p.comment()
	case strings.HasPrefix(line, "```"), strings.HasPrefix(line, "~~~"):
		return p.fence()
	case indented.MatchString(p.lines[p.at]):
		return fmt.Errorf("line %d: a command in a block that is not fenced is not executed", p.at+1)
	}
	p.at++
	return nil
}

// comment reads one with directives.
func (p *parser) comment() error {
	start := p.at
	p.lines[start] = strings.Replace(p.lines[start], "<!-- test:", "", 1)
	for ; p.at < len(p.lines); p.at++ {
		text, done := strings.CutSuffix(strings.TrimSpace(p.lines[p.at]), "-->")
		if text = strings.TrimSpace(text); text != "" {
			if err := p.directive(text); err != nil {
				return fmt.Errorf("line %d: %w", p.at+1, err)
			}
		}
		if done {
			p.at++
			return nil
		}
	}
	return fmt.Errorf("line %d: the comment does not end", start+1)
}

// directive notes one, of the line that is read.
func (p *parser) directive(text string) error {
	word, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "start", "stop", "run", "until", "replace":
		if (rest == "") != (word == "stop") || word == "replace" && !strings.Contains(rest, " => ") {
			return fmt.Errorf("%q is not a whole directive", text)
		}
		p.steps = append(p.steps, step{line: p.at + 1, kind: word, text: rest})
		return nil
	}
	if p.next.count == 0 {
		p.next.line = p.at + 1
	}
	p.next.count++
	return p.next.set(word, rest)
}

func (s *settings) set(word, rest string) (err error) {
	switch word {
	case "exit":
		s.exit, err = strconv.Atoi(rest)
	case "retry":
		s.retry = true
	case "input":
		s.input += rest + "\n"
	case "file":
		s.file = rest
	case "skip":
		s.skip = rest
	default:
		return fmt.Errorf("directive %q is unknown", word)
	}
	if rest == "" && (word == "file" || word == "skip") {
		return fmt.Errorf("%s says nothing", word)
	}
	return err
}

// fence reads a block.
func (p *parser) fence() error {
	start, set := p.at, p.next
	p.next = settings{}
	open := strings.TrimSpace(p.lines[start])
	indent := strings.Index(p.lines[start], open)
	mark, kind := open[:3], strings.TrimSpace(strings.TrimLeft(open, open[:1]))
	var body []string
	for p.at++; p.at < len(p.lines); p.at++ {
		line := p.lines[p.at]
		if strings.HasPrefix(strings.TrimSpace(line), mark) {
			p.at++
			return p.block(start+1, kind, body, set)
		}
		body = append(body, strings.TrimPrefix(line, strings.Repeat(" ", indent)))
	}
	return fmt.Errorf("line %d: the block does not end", start+1)
}

// block adds the steps of one whose fence is in that line.
func (p *parser) block(line int, kind string, body []string, set settings) error {
	switch {
	case set.skip != "":
		return nil
	case set.file != "":
		p.steps = append(p.steps, step{line: line, kind: "file", text: set.file, output: body})
		return nil
	case kind != "console":
		return fmt.Errorf("line %d: a block of kind %q is neither a file nor skipped with a reason", line, kind)
	}
	commands, err := commandsOf(line, body)
	if err != nil {
		return err
	}
	for i := range commands {
		commands[i].retry, commands[i].input = set.retry, set.input
	}
	commands[len(commands)-1].code = set.exit
	p.steps = append(p.steps, commands...)
	return nil
}

// commandsOf reads the body of a block of kind console.
func commandsOf(line int, body []string) (out []step, err error) {
	open := false // the command goes on in the next line
	for i, text := range body {
		command, isCommand := strings.CutPrefix(text, "$ ")
		more, isMore := strings.CutPrefix(text, "> ")
		isMore = isMore || text == ">"
		switch {
		case open && !isCommand:
			if !isMore {
				more = text
			}
			out[len(out)-1].text += "\n" + more
			open = strings.HasSuffix(more, "\\")
		case isCommand && !open:
			out = append(out, step{line: line + i + 1, kind: "command", text: command})
			open = strings.HasSuffix(command, "\\")
		case len(out) == 0, open:
			return nil, fmt.Errorf("line %d: want a command here", line+i+1)
		case isMore && len(out[len(out)-1].output) == 0:
			out[len(out)-1].text += "\n" + strings.TrimPrefix(more, ">")
		default:
			out[len(out)-1].output = append(out[len(out)-1].output, text)
		}
	}
	if len(out) == 0 || open {
		return nil, fmt.Errorf("line %d: the block has no whole command", line)
	}
	return out, nil
}
