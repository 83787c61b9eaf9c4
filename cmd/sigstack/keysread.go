package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sigstack/internal/admin"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
)

func (a *app) keysListCommand() *cobra.Command {
	var k keysFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys of a stack",
		Long: `List the keys of a stack: where each lives, for what, since when, the SHA-256 of
its public half (as SubjectPublicKeyInfo) and the settings that name it. No
passphrase is needed, and no token or key service is asked.`,
		Example: "  sigstack keys list --dir /var/lib/sigstack\n  sigstack keys list --output json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.keysList(k) },
	}
	k.add(cmd.Flags())
	return cmd
}

func (a *app) keysList(k keysFlags) error {
	o, err := k.readOnly()
	if err != nil {
		return err
	}
	rows, failed := []keyRow{}, 0
	for _, f := range o.folders {
		names, err := f.store.Names()
		if errors.Is(err, os.ErrNotExist) && f.name == "offline" {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			info, err := f.store.Info(name)
			info.Name = name
			row := newKeyRow(f.name, info, o)
			if err != nil {
				row.Error = err.Error()
				failed++
			}
			row.PublicKey = ""
			rows = append(rows, row)
		}
	}
	a.result(rows, func() { a.printKeys(rows) })
	if failed > 0 {
		return fmt.Errorf("%d of %d keys could not be read", failed, len(rows))
	}
	return nil
}

func (a *app) printKeys(rows []keyRow) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	a.printTo(w, "NAME\tFOLDER\tALGORITHM\tCREATED\tUSED BY\tSHA-256\tPLACE\n")
	for _, r := range rows {
		if r.Error != "" {
			a.printTo(w, "%s\t%s\t?\t?\t%s\t?\t%s\n", r.Name, r.Folder, orDash(r.UsedBy), r.Error)
			continue
		}
		a.printTo(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Name, r.Folder, r.Algorithm, r.Created.Format("2006-01-02"), orDash(r.UsedBy), r.SHA256, r.place())
	}
	_ = w.Flush() // as for any output: there is nowhere left to report it
}

func orDash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}

func (a *app) keysShowCommand() *cobra.Command {
	var k keysFlags
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print the public half of a key as PEM",
		Long:    "Print the public half of a key as PEM. No passphrase is needed, and no token or\nkey service is asked: it is what the key's file says.",
		Example: "  sigstack keys show rekor --dir /var/lib/sigstack > rekor.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o, err := k.readOnly()
			if err != nil {
				return err
			}
			f, info, err := o.find(args[0])
			if err != nil {
				return err
			}
			row := newKeyRow(f.name, info, o)
			a.result(row, func() { a.printf("%s", row.PublicKey) })
			return nil
		},
	}
	k.add(cmd.Flags())
	return cmd
}

func (a *app) keysTestCommand() *cobra.Command {
	var k keysFlags
	cmd := &cobra.Command{
		Use:   "test [NAME...]",
		Short: "Sign with keys and verify the signatures",
		Long: `Sign a random message with each named key, or with every key in DIR/keys, and
verify it with the public half. Without a passphrase the process that serves DIR
tests the keys that it uses, and puts that on record. With one, or when nothing is
served, the test is made here: keys in files need the passphrase of their folder,
and those in DIR/offline have one of their own.`,
		Example: "  sigstack keys test --dir /var/lib/sigstack\n  sigstack keys test ca-root --passphrase-file offline/passphrase",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.keysTest(cmd.Context(), k, args) },
	}
	k.addUse(cmd.Flags())
	return cmd
}

// keyTest is how one test went.
type keyTest struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok or failed
	Served bool   `json:"served"` // tested by the process that serves the directory
	Error  string `json:"error,omitempty"`
}

func (a *app) keysTest(ctx context.Context, k keysFlags, names []string) error {
	o, err := k.forUse(ctx, a)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if names, err = o.keys.Names(); err != nil {
			return err
		}
	}
	results, failed := []keyTest{}, 0
	for _, name := range names {
		r := keyTest{Name: name, Status: "ok"}
		r.Served, err = o.test(ctx, k.dir, name)
		if err != nil {
			r.Status, r.Error = "failed", explainPassphrase(err).Error()
			failed++
		}
		results = append(results, r)
	}
	a.result(results, func() {
		for _, r := range results {
			switch {
			case r.Error != "":
				a.printf("%s  failed: %s\n", r.Name, r.Error)
			case r.Served:
				a.printf("%s  ok, in the process that serves it\n", r.Name)
			default:
				a.printf("%s  ok\n", r.Name)
			}
		}
	})
	if failed > 0 {
		return fmt.Errorf("%d of %d keys failed", failed, len(results))
	}
	return nil
}

// test tests one key, in the process that serves dir or here.
func (o opened) test(ctx context.Context, dir, name string) (served bool, err error) {
	f, _, err := o.find(name)
	if err != nil && !errors.Is(err, keys.ErrLocked) {
		return false, err
	}
	if !o.encrypted && f.name == "keys" {
		if served, err = testServed(ctx, dir, name); served {
			return true, err
		}
	}
	key, err := f.store.Load(name)
	if err != nil {
		return false, err
	}
	return false, key.Test()
}

// testServed asks the process that serves dir, if there is one and it uses the
// key.
func testServed(ctx context.Context, dir, name string) (served bool, err error) {
	err = act(ctx, dir, strings.Replace(stack.AdminKeyTest, "{name}", name, 1), nil, nil)
	var refused *admin.RefusedError
	if errors.As(err, &refused) {
		return refused.Status != http.StatusNotFound, err
	}
	return err == nil, err
}
