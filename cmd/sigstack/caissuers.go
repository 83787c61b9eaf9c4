package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) caIssuersCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "issuers",
		Short: "List whose tokens the authority accepts, and who says which are theirs",
		Long: `List the issuers whose tokens the configuration of a directory accepts, those of
issuers_file too: URL or pattern, audience, type, and who vouches for its tokens. An
issuer that is LOCALLY BACKED has its keys from this stack's operator, and not from
whom its URL names: certificates that name it are worth what this trust root is.

Nothing is started, and no connection is made. Exit code 1 if the configuration has
a problem; a running stack's own list is in sigstack status.`,
		Example: "  sigstack ca issuers --dir /var/lib/sigstack\n  sigstack ca issuers --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l := stack.Layout{Dir: dir}
			conf, err := loadConfig(l)
			if err != nil {
				return err
			}
			issuers, err := l.Issuers(conf)
			if err != nil {
				return err
			}
			a.result(issuers, func() {
				for _, i := range issuers {
					a.printf("%s\n", shown(issuerLine(i)))
				}
			})
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory`")
	return cmd
}

// issuerLine is an issuer in one line.
func issuerLine(i stack.IssuerStatus) string {
	kind := i.Type
	if i.CIProvider != "" {
		kind += " " + i.CIProvider
	}
	line := fmt.Sprintf("%s  audience %s  %s", i.URL, i.Audience, kind)
	if i.Policy {
		line += "  with a policy"
	}
	switch i.Backing {
	case stack.BackedByStack:
		return line + "  the stack's own"
	case stack.BackedByKeys:
		return line + "  LOCALLY BACKED by a key set"
	case stack.BackedByDiscovery:
		return line + "  LOCALLY BACKED by " + i.DiscoveryURL
	default:
		return line
	}
}
