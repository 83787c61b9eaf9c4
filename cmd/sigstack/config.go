package main

import (
	"fmt"

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
		Long: `Check a configuration file: FILE, or config.yaml of --dir. Nothing is started and
no key is read. Exit code 1 if there is a problem.`,
		Example: "  sigstack config check --dir /var/lib/sigstack\n  sigstack config check config.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := stack.Layout{Dir: dir}.Config()
			if len(args) > 0 {
				path = args[0]
			}
			conf, err := config.Load(path)
			if err != nil {
				return err
			}
			if err := stack.CheckConfig(conf); err != nil {
				return fmt.Errorf("configuration %s: %w", path, err)
			}
			a.result(map[string]string{"config": path, "status": "ok"}, func() { a.printf("%s is valid\n", path) })
			return nil
		},
	}
	check.Flags().StringVar(&dir, "dir", defaultDir, "data `directory`")
	return group("config", "Work with config.yaml", check)
}
