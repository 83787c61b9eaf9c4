package main

import "github.com/spf13/cobra"

func (a *app) caCommand() *cobra.Command {
	return group("ca", "Work with the certificate authority", a.caIssuersCommand(), a.explainTokenCommand(), a.caChainCommand())
}
