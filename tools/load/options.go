package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigstack/tools/load/target"
)

// options are the command line.
type options struct {
	target      string
	concurrency int
	count       int64
	duration    time.Duration
	warmUp      time.Duration
	timeout     time.Duration
	pids        []int // of processes
	families    []int // of processes whose children count too
	output      string
	quiet       bool

	base, ca, rekor, rekor2, tsa string // URLs
	tsaPath                      string
	rekorHost, rekor2Origin      string

	trustedRoot, caChain, ctKey, rekorKey, rekor2Key, tsaChain, tlsCA, tokens string // files

	replicas []string // host:port

	lifetime time.Duration
	entries  int
	indexes  [2]int64
	by       string
}

const synopsis = `Usage: load TARGET [flags]

Runs one operation over and over, verifies every answer, and prints what it saw.

Targets:
  ca       certificate with embedded SCT, for a fresh key   POST /api/v2/signingCert
  rekor1   new hashedrekord in a Rekor v1 log               POST /api/v1/log/entries
  rekor2   new hashedrekord in a Rekor v2 log               POST /api/v2/log/entries
  tsa      RFC 3161 timestamp                               POST /api/v1/timestamp
  get      entry of a Rekor v1 log, with its proof          GET  /api/v1/log/entries...
  search   entry by the index of a Rekor v1 log             POST /api/v1/index/retrieve
  signing  keyless signature: certificate, then entry and timestamp at the same time

Latency is from just before a request is sent to the last byte of its answer (of
signing: from the request for the certificate to the later one of entry and
timestamp, with the signature made between). Keys, signatures and encoding before,
and verification after, are not in it; they take the driver's CPU and its time, and
are told apart. Of answers that were wrong no latency is counted.

What get and search look for is written, and verified, before the run.

Exit codes: 0 done, 1 wrong answers or none, 2 usage, 3 unreachable.

Flags:
`

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.define(f)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.target, args = args[0], args[1:]
	}
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		f.SetOutput(stderr)
		_, err := io.WriteString(stderr, synopsis)
		f.PrintDefaults()
		return nil, errors.Join(flag.ErrHelp, err)
	}
	if err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("the target comes first, and alone: %q", f.Args())
	}
	return o, o.check()
}

func (o *options) define(f *flag.FlagSet) {
	f.IntVar(&o.concurrency, "concurrency", 1, "operations at once")
	f.Int64Var(&o.count, "count", 0, "stop after so many operations")
	f.DurationVar(&o.duration, "duration", 0, "stop after this time (default 10s, without --count)")
	f.DurationVar(&o.warmUp, "warm-up", 0, "run so long before anything but errors is counted")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "give an operation up after this time")
	f.Func("pid", "count the CPU time of this process; may be repeated, or a list with commas", addPIDs(&o.pids))
	f.Func("family-pid", "likewise, with its children: for a PostgreSQL", addPIDs(&o.families))
	f.StringVar(&o.output, "output", "text", "text or json")
	f.BoolVar(&o.quiet, "quiet", false, "do not tell progress on standard error")

	f.StringVar(&o.base, "url", "", "URL of all services; those below count before it")
	f.StringVar(&o.ca, "ca-url", "", "URL of the certificate authority, below which is /api/v2/signingCert")
	f.StringVar(&o.rekor, "rekor-url", "", "URL of the Rekor v1 log, below which is /api/v1/log")
	f.StringVar(&o.rekor2, "rekor2-url", "", "URL of the Rekor v2 log, below which is /api/v2/log/entries")
	f.StringVar(&o.tsa, "tsa-url", "", "URL of the timestamp authority")
	f.StringVar(&o.tsaPath, "tsa-path", "/api/v1/timestamp", "path of timestamps below its URL")
	f.StringVar(&o.rekorHost, "rekor-host", "", "name that signs v1 checkpoints (default the host of the URL)")
	f.StringVar(&o.rekor2Origin, "rekor2-origin", "", "origin of v2 checkpoints (default the host of the URL)")

	f.Func("replicas", "host:port,...: connections go to these in turn, whatever host a URL names", func(text string) error {
		for address := range strings.SplitSeq(text, ",") {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return err
			}
			o.replicas = append(o.replicas, address)
		}
		return nil
	})

	f.StringVar(&o.trustedRoot, "trusted-root", "", "file: a trusted_root.json to verify by; the files below count before it")
	f.StringVar(&o.caChain, "ca-chain", "", "file: the authority's PEM chain, issuing certificate first (default: fetched)")
	f.StringVar(&o.ctKey, "ct-key", "", "file: PEM keys of CT logs")
	f.StringVar(&o.rekorKey, "rekor-key", "", "file: PEM keys of the Rekor v1 log's trees (default: fetched)")
	f.StringVar(&o.rekor2Key, "rekor2-key", "", "file: the Rekor v2 log's PEM key")
	f.StringVar(&o.tsaChain, "tsa-chain", "", "file: the timestamp authority's PEM chain, leaf first (default: fetched)")
	f.StringVar(&o.tlsCA, "tls-ca", "", "file: PEM authorities of the services' TLS, beside the system's")
	f.StringVar(&o.tokens, "token-file", "", "file: identity tokens, one a line, used in turn and again and again")

	f.DurationVar(&o.lifetime, "certificate-lifetime", 10*time.Minute, "how long certificates have to be valid")
	f.IntVar(&o.entries, "entries", 1000, "entries that get and search write for themselves before the run")
	f.Func("indexes", "of get: FIRST-LAST, read at random what the log has there instead", o.setIndexes)
	f.StringVar(&o.by, "by", "", "get by uuid (default) or index; search by hash (default), email or key")
}

func addPIDs(to *[]int) func(string) error {
	return func(text string) error {
		for part := range strings.SplitSeq(text, ",") {
			pid, err := strconv.Atoi(part)
			if err != nil || pid < 1 {
				return fmt.Errorf("%q is no process ID", part)
			}
			*to = append(*to, pid)
		}
		return nil
	}
}

func (o *options) setIndexes(text string) error {
	first, last, ok := strings.Cut(text, "-")
	for i, part := range []string{first, last} {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 0 || !ok {
			return errors.New("want FIRST-LAST")
		}
		o.indexes[i] = n
	}
	if o.indexes[1] <= o.indexes[0] {
		return errors.New("the last comes after the first")
	}
	return nil
}

// check finds mistakes, and completes what was left out.
func (o *options) check() error {
	if o.duration == 0 && o.count == 0 {
		o.duration = 10 * time.Second
	}
	ways := target.Ways(o.target)
	switch {
	case !slices.Contains(target.Names(), o.target):
		return fmt.Errorf("target %q: want one of %s; see load --help", o.target, strings.Join(target.Names(), ", "))
	case o.concurrency < 1 || o.concurrency > 10000:
		return fmt.Errorf("--concurrency %d: want 1 to 10000", o.concurrency)
	case o.count < 0 || o.duration < 0 || o.warmUp < 0 || o.timeout <= 0:
		return errors.New("--count, --duration, --warm-up and --timeout are not negative, and --timeout not zero")
	case o.count > 0 && o.duration > 0:
		return errors.New("--count and --duration exclude each other")
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("--output %q: want text or json", o.output)
	case o.by != "" && !slices.Contains(ways, o.by):
		return fmt.Errorf("--by %q: %s asks by one of %q", o.by, o.target, ways)
	case o.indexes != [2]int64{} && o.target != "get":
		return errors.New("--indexes is for target get")
	case o.entries < 1 || o.entries > 1e6:
		return fmt.Errorf("--entries %d: want 1 to 1000000", o.entries)
	}
	return o.checkURLs()
}

func (o *options) checkURLs() error {
	for _, u := range []*string{&o.base, &o.ca, &o.rekor, &o.rekor2, &o.tsa} {
		if *u == "" {
			*u = o.base
		}
		*u = strings.TrimRight(*u, "/")
		if *u != "" && !strings.HasPrefix(*u, "http://") && !strings.HasPrefix(*u, "https://") {
			return fmt.Errorf("%q is not a URL that begins with http:// or https://", *u)
		}
	}
	if o.tsa != "" {
		o.tsa += o.tsaPath
	}
	needs := map[string][]string{"ca": {o.ca}, "rekor2": {o.rekor2}, "tsa": {o.tsa}, "signing": {o.ca, o.rekor, o.tsa}}[o.target]
	if needs == nil {
		needs = []string{o.rekor}
	}
	if slices.Contains(needs, "") {
		return fmt.Errorf("target %s: say where the service is, by --url or the flag of its own", o.target)
	}
	if (o.target == "ca" || o.target == "signing") && o.tokens == "" {
		return fmt.Errorf("target %s: --token-file is needed", o.target)
	}
	return nil
}

// config reads the files that the flags name.
func (o *options) config() (target.Config, error) {
	c := target.Config{
		CA: o.ca, Rekor: o.rekor, Rekor2: o.rekor2, TSA: o.tsa, RekorHost: o.rekorHost, Rekor2Origin: o.rekor2Origin,
		Lifetime: o.lifetime, Entries: o.entries, Indexes: o.indexes, By: o.by, Concurrent: o.concurrency, Now: time.Now,
	}
	var authorities []byte
	err := errors.Join(
		o.readTrust(&c.Trust),
		readTo(o.tlsCA, "--tls-ca", func(data []byte) error { authorities = data; return nil }),
		readTo(o.tokens, "--token-file", func(data []byte) error { c.Tokens = lines(data); return nil }),
	)
	if err != nil {
		return c, usageError{err}
	}
	if c.HTTP, err = target.NewHTTPClient(o.concurrency, authorities, o.replicas...); err != nil {
		return c, usageError{fmt.Errorf("--tls-ca: %w", err)}
	}
	return c, nil
}

func (o *options) readTrust(t *target.Trust) error {
	return errors.Join(
		readTo(o.trustedRoot, "--trusted-root", func(data []byte) (err error) {
			*t, err = target.ParseTrustedRoot(data, o.tsa, o.rekor2, time.Now())
			return err
		}),
		readTo(o.caChain, "--ca-chain", func(data []byte) error {
			chain, err := target.ParseChain(data)
			t.CAChains = append(t.CAChains[:0:0], chain)
			return err
		}),
		readTo(o.ctKey, "--ct-key", func(data []byte) (err error) {
			t.CTKeys, err = target.ParseKeys(data)
			return err
		}),
		readTo(o.rekorKey, "--rekor-key", func(data []byte) (err error) {
			t.Rekor, err = target.ParseKeys(data)
			return err
		}),
		readTo(o.rekor2Key, "--rekor2-key", func(data []byte) error {
			keys, err := target.ParseKeys(data)
			if err == nil {
				t.Rekor2 = keys[0]
			}
			return err
		}),
		readTo(o.tsaChain, "--tsa-chain", func(data []byte) (err error) {
			t.TSAChain, err = target.ParseChain(data)
			return err
		}),
	)
}

// readTo reads the file that a flag names, if it does.
func readTo(name, flag string, use func(data []byte) error) error {
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(name)
	if err == nil {
		err = use(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

// lines returns the lines that are not empty.
func lines(data []byte) []string {
	var out []string
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, len(data)+1)
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" {
			out = append(out, line)
		}
	}
	return out
}
