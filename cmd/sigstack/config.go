package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// loadConfig loads the configuration of the stack in l.
func loadConfig(l stack.Layout) (*config.Config, error) {
	if err := wantStack(l); err != nil {
		return nil, err
	}
	return config.Load(l.Config())
}

// wantStack makes naming a directory without a stack a usage error.
func wantStack(l stack.Layout) error {
	done, err := l.Initialized()
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.Keys()); err == nil && !done {
		return usagef("there is no %s, in a directory with keys: put the file back, or finish with the command that was interrupted", l.Config())
	}
	if !done {
		return usagef("directory %s holds no stack: name another with --dir", l.Dir)
	}
	return nil
}

func (a *app) configCommand() *cobra.Command {
	var dir string
	check := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration and report every problem at once",
		Long: `Check a configuration file, FILE or config.yaml of --dir, and everything that it
names: keys, secrets, certificates. Each problem is a line FILE:LINE: field: message;
a warning is none, but is worth a thought. Nothing is started, no passphrase is needed
and no connection is made.

The files that FILE names are looked for below --dir, or beside FILE if there is a
data directory. Exit code 1 if there is a problem.`,
		Example: "  sigstack config check --dir /var/lib/sigstack\n  sigstack config check new.yaml --dir /var/lib/sigstack\n  sigstack config check --output json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l := stack.Layout{Dir: dir}
			if len(args) == 0 {
				if err := wantStack(l); err != nil {
					return err
				}
				return a.configCheck(l.Config(), dir)
			}
			if err := wantFile(args[0]); err != nil {
				return err
			}
			if !cmd.Flags().Changed("dir") {
				dir = dataDirOf(args[0])
			}
			return a.configCheck(args[0], dir)
		},
	}
	check.Flags().StringVar(&dir, "dir", defaultDir, "data `directory`")
	return group("config", "Work with config.yaml", check)
}

// dataDirOf returns the data directory that file is in, "" if it is in none.
func dataDirOf(file string) string {
	l := stack.Layout{Dir: filepath.Dir(file)}
	if info, err := os.Stat(l.Keys()); err != nil || !info.IsDir() {
		return ""
	}
	return l.Dir
}

// configProblem is one line of the report, as JSON.
type configProblem struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column,omitempty"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message"`
	Severity string `json:"severity"` // error or warning
}

func (a *app) configCheck(path, dir string) error {
	f, err := config.ReadFile(path)
	if err != nil {
		return err
	}
	stack.Check(f, dir, a.now())
	report, wrong := []configProblem{}, 0
	for _, p := range f.Problems {
		severity := "warning"
		if !p.Warning {
			severity, wrong = "error", wrong+1
		}
		report = append(report, configProblem{path, p.Line, p.Column, p.Field, p.Message, severity})
	}
	a.result(report, func() {
		for _, p := range f.Problems {
			a.printf("%s\n", shown(p.In(path)))
		}
		if wrong == 0 {
			a.printf("%s is valid\n", path)
		}
	})
	if dir == "" {
		a.notef("the files that %s names were not looked at: say --dir\n", path)
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s has a problem", path)
	}
	return fmt.Errorf("%s has %d problems", path, wrong)
}
