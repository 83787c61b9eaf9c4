package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/fleet"
	"sigstack/internal/stack"
)

func (a *app) replicaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replica",
		Short: "Run one stack as several replicas on one database",
	}
	holdsOthers(cmd)
	cmd.AddCommand(a.replicaJoinCommand(), a.replicaListCommand(), a.replicaRemoveCommand())
	return cmd
}

type replicaJoinFlags struct {
	dir, process string
	database     databaseFlags
	replica      config.Replica
	passphrase   passphraseFlags
	log          logFlags
}

func (a *app) replicaJoinCommand() *cobra.Command {
	var r replicaJoinFlags
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Make a directory one replica of a stack whose logs are in a database",
		Long: `Make a directory one replica of a stack whose logs are in a PostgreSQL database.

The first one is the directory of the stack itself, which is stopped for that: its
files (config.yaml, keys, trust root) are in the database from then on. Any other is
an empty directory, which is filled with them. What config.yaml names outside of the
directory, and files with secrets, has to be on each machine already.

Each replica has a name, an address where the other replicas reach it, and a key of
its own that they know it by. Files in the directory are a copy from then on: change
them on the replica that leads. A join that is interrupted can be repeated.`,
		Example: `  sigstack replica join --dir /var/lib/sigstack --name a --address a.internal:8102 \
      --passphrase-file /run/secrets/passphrase
  sigstack replica join --dir /var/lib/sigstack --name b --address b.internal:8102 \
      --listen 0.0.0.0:8080 --database-url-file /run/secrets/database-url \
      --passphrase-file /run/secrets/passphrase`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replicaJoin(cmd.Context(), r) },
	}
	f := cmd.Flags()
	f.StringVar(&r.dir, "dir", defaultDir, "data `directory`: a stopped stack's, or an empty one")
	f.StringVar(&r.replica.Name, "name", "", "`name` of the replica, unlike that of any other")
	f.StringVar(&r.replica.Address, "address", "", "`host:port` where the other replicas reach this one")
	f.StringVar(&r.replica.PeerListen, "peer-listen", "", "`host:port` to listen on for them (default: --address)")
	f.StringVar(&r.replica.Listen, "listen", "", "`host:port` to listen on for clients (default: that of config.yaml)")
	f.StringVar(&r.replica.MetricsListen, "metrics-listen", "", "`host:port` for metrics (default: that of config.yaml)")
	f.StringVar(&r.process, "process", "", "`name` of the process of a split stack that an empty directory is to be a replica of")
	r.database.add(f)
	r.passphrase.add(f)
	r.log.add(f, "warn")
	return cmd
}

func (a *app) replicaJoin(ctx context.Context, f replicaJoinFlags) error {
	switch {
	case f.replica.Name == "":
		return usagef("--name: give the replica one")
	case f.replica.Address == "":
		return usagef("--address: say where the other replicas reach this one")
	}
	if err := errors.Join(fleet.CheckName(f.replica.Name), fleet.CheckAddress(f.replica.Address), f.replica.Check()); err != nil {
		return usagef("%w", err)
	}
	db, err := f.database.init()
	if err != nil {
		return err
	}
	log, err := f.log.logger(a.err)
	if err != nil {
		return err
	}
	passphrase, err := f.passphrase.read(ctx)
	if err != nil {
		return err
	}
	privateFiles()
	joined, err := stack.JoinReplica(ctx, stack.JoinConfig{
		Dir: f.dir, URLFile: db.URLFile, Schema: db.Schema, Process: f.process, Replica: f.replica,
		Passphrase: passphrase, Now: a.now, Log: log,
	})
	if err != nil {
		return explainPassphrase(err)
	}
	a.result(joined, func() {
		if !joined.First {
			a.printf("%s is replica %s\n", f.dir, f.replica.Name)
			return
		}
		a.printf("%s is replica %s, the first\n", f.dir, f.replica.Name)
		if joined.Left != "" {
			a.printf("what the issuer keeps is in the database: %d rows, %d refresh tokens; the old ones are in %s, to be removed once a backup has the new ones\n",
				joined.Issuer.Rows, joined.Issuer.RefreshTokens, joined.Left)
		}
	})
	return nil
}

func (a *app) replicaListCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the replicas of a stack, and which one leads",
		Long: `List the replicas that a replica's directory is one of, whether it is served or not:
which one leads, when each last gave a sign of life, and which revision of the common
files it works with. The database is asked, not the replicas.`,
		Example: `  sigstack replica list --dir /var/lib/sigstack
  sigstack replica list --dir /var/lib/sigstack --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replicaList(cmd.Context(), dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a replica")
	return cmd
}

// listedReplica is one of the list.
type listedReplica struct {
	Name      string    `json:"name"`
	Address   string    `json:"address"`
	KeySHA256 string    `json:"key_sha256"`
	Leads     bool      `json:"leads"`
	Alive     bool      `json:"alive"`
	Seen      time.Time `json:"seen,omitzero"`
	Revision  int64     `json:"revision"`
	This      bool      `json:"this"`
}

func (a *app) replicaList(ctx context.Context, dir string) error {
	l := stack.Layout{Dir: dir}
	if err := wantStack(l); err != nil {
		return err
	}
	all, own, err := l.Replicas(ctx)
	if err != nil {
		return err
	}
	out := []listedReplica{}
	for _, r := range all {
		one := listedReplica{r.Name, r.Address, hex.EncodeToString(r.Pin[:]), r.Leads && r.Alive, r.Alive, time.Time{}, r.Applied, r.Name == own}
		if r.Seen.Unix() > 0 {
			one.Seen = r.Seen.UTC()
		}
		out = append(out, one)
	}
	a.result(map[string]any{"replicas": out}, func() { a.printReplicas(out) })
	return nil
}

func (a *app) printReplicas(list []listedReplica) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	a.printTo(w, "REPLICA\tADDRESS\tSTATE\tREVISION\tSEEN\n")
	for _, r := range list {
		state := "down"
		switch {
		case r.Leads:
			state = "leads"
		case r.Alive:
			state = "follows"
		}
		seen := "-"
		if !r.Seen.IsZero() {
			seen = r.Seen.Format(time.RFC3339)
		}
		a.printTo(w, "%s\t%s\t%s\t%d\t%s\n", r.Name, r.Address, state, r.Revision, seen)
	}
	_ = w.Flush() // as printf
}

// printReplica is what status tells of a replica and the others.
func (a *app) printReplica(r stack.ReplicaStatus) {
	does := "follows " + cmp.Or(r.Leader, "nobody: none leads at present")
	switch {
	case r.Removed:
		does = "was REMOVED, and signs nothing"
	case r.Fenced:
		does = "signs nothing: it has lost touch with the others"
	case r.Leading:
		does = "leads"
	}
	a.printf("replica  %s %s; term %d, files of revision %d of %d\n", r.Name, does, r.Term, r.Applied, r.Revision)
	if r.Others == nil {
		a.printf("replica  of the others the database says nothing\n")
	}
	for _, o := range r.Others {
		is := "down"
		switch {
		case o.Leads:
			is = "leads"
		case o.Alive:
			is = "follows"
		}
		seen := "it was stopped, or never served"
		if o.Seconds != nil {
			seen = fmt.Sprintf("sign of life %.1f s ago", *o.Seconds)
		}
		a.printf("replica  %s at %s %s; files of revision %d, %s\n", o.Name, o.Address, is, o.Applied, seen)
	}
}
