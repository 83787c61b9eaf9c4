package template

import (
	"errors"
	"fmt"
	"slices"
	"text/template"
	"text/template/parse"
)

// allowed are the functions that templates may call. The builtin ones not here
// are call, html and js, which have no use, and print, printf and println, whose
// results outgrow their arguments.
func allowed(name string) bool {
	return slices.Contains([]string{
		"and", "eq", "ge", "gt", "index", "le", "len", "lt", "ne", "not", "or", "slice", "urlquery",
	}, name)
}

// checker walks the syntax tree of a template and gathers the claims' names.
type checker struct {
	names map[string]bool
	inner bool // within a `with`, where the dot is not the claims
}

// check refuses what the package does not allow. With it each node of the tree is
// executed at most once, and no value is longer than a claim or MaxResult.
func check(t *template.Template) (names map[string]bool, err error) {
	if t.Tree == nil || t.Root == nil || len(t.Templates()) > 1 {
		return nil, errors.New("templates may not define others")
	}
	c := &checker{names: map[string]bool{}}
	return c.names, c.list(t.Root)
}

func (c *checker) list(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := c.action(node); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) action(node parse.Node) error {
	switch n := node.(type) {
	case *parse.TextNode, *parse.CommentNode:
		return nil
	case *parse.ActionNode:
		return c.pipe(n.Pipe)
	case *parse.IfNode:
		return c.branch(&n.BranchNode, c.inner)
	case *parse.WithNode:
		return c.branch(&n.BranchNode, true)
	default:
		return fmt.Errorf("%s: templates may use the actions if, else and with only", node)
	}
}

// branch checks both branches; inner is whether the first one's dot is not the
// claims.
func (c *checker) branch(n *parse.BranchNode, inner bool) error {
	if err := c.pipe(n.Pipe); err != nil {
		return err
	}
	before := c.inner
	c.inner = inner
	err := c.list(n.List)
	c.inner = before
	if err != nil {
		return err
	}
	return c.list(n.ElseList)
}

func (c *checker) pipe(pipe *parse.PipeNode) error {
	for _, command := range pipe.Cmds {
		if err := c.command(command); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) command(command *parse.CommandNode) error {
	args := command.Args
	if function, ok := args[0].(*parse.IdentifierNode); ok && function.Ident == "index" {
		return c.index(args)
	}
	for _, arg := range args {
		if err := c.operand(arg); err != nil {
			return err
		}
	}
	return nil
}

// index checks `index . "name"`, the one form in which all claims are an operand:
// anywhere else they would end up in the certificate.
func (c *checker) index(args []parse.Node) error {
	if len(args) == 3 && c.claims(args[1]) {
		if name, ok := args[2].(*parse.StringNode); ok {
			c.names[name.Text] = true
			return nil
		}
	}
	return errors.New(`index takes the dot (within with: the dollar sign) and one name in quotes, as in {{index . "name"}}`)
}

// claims reports whether a node stands for all claims.
func (c *checker) claims(node parse.Node) bool {
	switch n := node.(type) {
	case *parse.DotNode:
		return !c.inner
	case *parse.VariableNode:
		return len(n.Ident) == 1 && n.Ident[0] == "$"
	default:
		return false
	}
}

func (c *checker) operand(node parse.Node) error {
	if c.claims(node) {
		return fmt.Errorf("%s stands for all claims and is good for index only", node)
	}
	switch n := node.(type) {
	case *parse.FieldNode:
		if c.inner {
			return fmt.Errorf("%s: within with, claims are $%s", n, n)
		}
		return c.field(n.Ident, n)
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			return c.field(n.Ident[1:], n)
		}
		if len(n.Ident) > 1 {
			return fmt.Errorf("%s: claims are text and have no parts", n)
		}
		return nil
	case *parse.IdentifierNode:
		if !allowed(n.Ident) {
			return fmt.Errorf("templates may not call %s", n.Ident)
		}
		return nil
	case *parse.PipeNode:
		return c.pipe(n)
	case *parse.DotNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode:
		return nil
	default:
		return fmt.Errorf("%s: templates may not use this", node)
	}
}

// field notes the claim of `.name`.
func (c *checker) field(path []string, node parse.Node) error {
	if len(path) != 1 {
		return fmt.Errorf(`%s: claims are text and have no parts; for a name with dots there is {{index . "a.b"}}`, node)
	}
	c.names[path[0]] = true
	return nil
}
