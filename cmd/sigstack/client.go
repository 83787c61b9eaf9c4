package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
	"sigstack/internal/trust"
)

func (a *app) clientCommand() *cobra.Command {
	var dir string
	env := &cobra.Command{
		Use:   "env",
		Short: "Print the export lines that point upstream clients at a stack",
		Long: `Print the export lines that upstream clients read their trust from. They are for
clients that know no trusted root file, such as cosign 2; cosign 3 is better
served by the kit's files or by cosign initialize, and README.txt of the kit says
how. Where TLS is by an authority of the stack's own, SSL_CERT_FILE and
NODE_EXTRA_CA_CERTS name it, which every client needs.`,
		Example: `  eval "$(sigstack client env --dir sigstack-data)"`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.clientEnv(dir) },
	}
	env.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of the stack")
	return group("client", "Hand the trust root to clients", env)
}

func (a *app) clientEnv(dir string) error {
	l := stack.Layout{Dir: dir}
	conf, err := loadConfig(l)
	if err != nil {
		return err
	}
	kit, err := filepath.Abs(l.Client())
	if err != nil {
		return err
	}
	lines := trust.EnvLines(kit, conf.URL, func(file string) bool {
		_, err := os.Stat(filepath.Join(kit, file))
		return err == nil
	})
	a.result(map[string][]string{"env": lines}, func() {
		for _, line := range lines {
			a.printf("%s\n", line)
		}
	})
	return nil
}
