package trust

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigstack/internal/pki"
)

// Flaw is one thing that is wrong with files that are to be published.
type Flaw struct {
	Check string `json:"check"` // which found it: a word, or one with the URL that was asked
	What  string `json:"what"`  // what is wrong
	Next  string `json:"next"`  // what to do about it
}

// Names of checks of the files by themselves.
const (
	CheckFile    = "files"   // they are not what clients take
	CheckTaken   = "taken"   // something that was published is not there any more
	CheckWindows = "windows" // some service signs now what they do not let clients verify
)

// flaws gathers what is wrong.
type flaws []Flaw

func (f *flaws) add(next, format string, args ...any) {
	*f = append(*f, Flaw{CheckFile, fmt.Sprintf(format, args...), next})
}

func (f *flaws) take(format string, args ...any) {
	*f = append(*f, Flaw{CheckTaken, fmt.Sprintf(format, args...), nextTaken})
}

func (f *flaws) window(format string, args ...any) {
	*f = append(*f, Flaw{CheckWindows, fmt.Sprintf(format, args...), "publish a key or chain that is trusted now, and go over to it, before another one ends"})
}

// addAll: each of the errors that err joins is a flaw of its own.
func (f *flaws) addAll(next string, err error) {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		for _, e := range all.Unwrap() {
			f.addAll(next, e)
		}
		return
	}
	if err != nil {
		f.add(next, "%v", err)
	}
}

// What helps where files are wrong: they are rendered from keys, chains and
// configuration, and nobody edits them.
const (
	nextProgram  = "the files were not made by this program, or it has an error: report it, with the output of sigstack tuf diff"
	nextKeys     = "look at the keys and prefixes that config.yaml names"
	nextChains   = "look at the chain files that config.yaml names: lowest certificate first, root last"
	nextClock    = "look at this machine's clock, and at the windows that sigstack tuf diff shows"
	nextServices = "look at url and operator in config.yaml"
	nextTSA      = "add section tsa to config.yaml, or take the version 2 log out"
	nextTaken    = "what was published once stays, though it may get an end: put the key, chain or entry back that config.yaml, chains.json or shards.json had"
)

// CheckFiles checks the targets of a publication, as clients will get them, as far
// as they show it by themselves (contract trust-material §6, parts 1 to 6): each
// file re-parses strictly, log IDs and hosts are unique, chains build within their
// windows, services can be chosen now and at every planned start, what services
// sign can be verified, and files for older clients hold nothing else. published
// are the targets of now, none at the first time: nothing in them may be taken
// away. now is when the files are published. The result is empty if all is well.
func CheckFiles(published, targets []Target, now time.Time) []Flaw {
	var f flaws
	files := byName(targets)
	root, rootErr := parseTarget(files, TrustedRootName, ParseTrustedRoot)
	config, configErr := parseTarget(files, SigningConfigName, ParseSigningConfig)
	if err := errors.Join(rootErr, configErr); err != nil {
		f.addAll(nextProgram, err)
		return f
	}
	f.logs(root, config)
	f.addAll(nextChains, checkAuthorities("certificate authority", root.CAs, checkCA))
	f.addAll(nextChains, checkAuthorities("timestamp authority", root.TSAs, checkTSA))
	f.services(config, now)
	f.together(root, config, now)
	f.legacy(root, targets, now)
	f.taken(byName(published)[TrustedRootName], root)
	return f
}

func parseTarget[T any](files map[string]Target, name string, parse func([]byte) (T, error)) (T, error) {
	t, ok := files[name]
	if !ok {
		var none T
		return none, fmt.Errorf("target %s is missing", name)
	}
	return parse(t.Data)
}

// logs checks IDs, names and order. That IDs fit their keys is seen when the file
// is parsed.
func (f *flaws) logs(root Root, config Config) {
	for _, l := range []struct {
		kind string
		logs []KnownLog
	}{{"transparency log", root.TLogs}, {"CT log", root.CTLogs}} {
		seen := map[[sha256.Size]byte]bool{}
		for _, log := range l.logs {
			if seen[log.ID] {
				f.add(nextKeys, "%s %s: log ID %x is listed twice", l.kind, log.BaseURL, log.ID)
			}
			seen[log.ID] = true
			if err := log.Window.check(); err != nil {
				f.add(nextKeys, "%s %s: %v", l.kind, log.BaseURL, err)
			}
		}
	}
	hosts := map[string]bool{}
	v2Seen := false
	for _, log := range root.TLogs {
		host, _ := hostOf(log.BaseURL) // it was parsed
		v2 := log.isV2(config)
		switch {
		case !v2 && v2Seen:
			f.add(nextProgram, "transparency log %s is version 1 and follows one of version 2: a client takes the first for version 1", log.BaseURL)
		case !v2 && log.isEd25519():
			f.add(nextKeys, "transparency log %s: key of a version 1 log is not ECDSA P-256", log.BaseURL)
		case v2 && hosts[host]:
			f.add(nextKeys, "transparency log %s: another version 2 log has this host", log.BaseURL)
		}
		v2Seen = v2Seen || v2
		hosts[host] = hosts[host] || v2
	}
	for _, log := range root.CTLogs {
		if log.isEd25519() {
			f.add(nextKeys, "CT log %s: key is not ECDSA P-256", log.BaseURL)
		}
	}
	byStart := func(a, b KnownLog) int { return a.Window.Start.Compare(b.Window.Start) }
	if !slices.IsSortedFunc(root.CTLogs, byStart) {
		f.add(nextProgram, "CT logs are not in the order of their starts")
	}
}

func (l KnownLog) isEd25519() bool {
	key, err := parseKey(l.PublicKey)
	_, ok := key.(ed25519.PublicKey)
	return ok && err == nil
}

// isV2 tells by what there is: an ID that is bound to a name, or a service.
func (l KnownLog) isV2(config Config) bool {
	if l.ID != pki.LogID(l.PublicKey) {
		return true
	}
	has := func(version uint32) bool {
		return slices.ContainsFunc(config.TLogs, func(s ConfigService) bool { return s.URL == l.BaseURL && s.APIVersion == version })
	}
	return has(2) && !has(1)
}

// services checks each list, and that clients find one of each kind.
func (f *flaws) services(config Config, now time.Time) {
	operators := map[string]bool{}
	for _, l := range config.lists() {
		for _, s := range l.services {
			operators[s.Operator] = true
			if _, err := hostOf(s.URL); err != nil {
				f.add(nextServices, "%s to sign with: %v", l.kind, err)
			}
			if s.APIVersion < 1 || s.APIVersion > l.versions {
				f.add(nextServices, "%s %s to sign with: version %d is not 1 to %d", l.kind, s.URL, s.APIVersion, l.versions)
			}
			if err := s.Window.check(); err != nil {
				f.add(nextServices, "%s %s to sign with: %v", l.kind, s.URL, err)
			}
			if s.APIVersion == 2 && s.Window.Start.After(now) {
				f.add(nextClock, "%s %s of version 2 is listed before it starts, at %s: two clients use it at once", l.kind, s.URL, moment(s.Window.Start))
			}
		}
		if !slices.IsSortedFunc(l.services, func(a, b ConfigService) int { return b.Window.Start.Compare(a.Window.Start) }) {
			f.add(nextProgram, "services to sign with, %s: the newest is not the first", l.kind)
		}
		f.always(l, now)
	}
	if len(operators) > 1 {
		f.add(nextServices, "services to sign with have %d operators, want one: clients choose one of each", len(operators))
	}
	for operator := range operators {
		if err := (Material{Operator: operator}).checkOperator(); err != nil {
			f.add(nextServices, "services to sign with: %v", err)
		}
	}
}

// always demands one service that clients may choose now, and at each planned start
// of any; and of a version that was ever listed one that has not ended, for a
// client that chooses the version first.
func (f *flaws) always(l configList, now time.Time) {
	if len(l.services) == 0 {
		return
	}
	at := []time.Time{now}
	for _, s := range l.services {
		if s.Window.Start.After(now) {
			at = append(at, s.Window.Start)
		}
	}
	for _, t := range at {
		if !slices.ContainsFunc(l.services, func(s ConfigService) bool { return s.Window.Contains(t) }) {
			f.add(nextClock, "%s: none to sign with is valid at %s", l.kind, moment(t))
		}
	}
	v2 := slices.DeleteFunc(slices.Clone(l.services), func(s ConfigService) bool { return s.APIVersion != 2 })
	if len(v2) > 0 && !slices.ContainsFunc(v2, func(s ConfigService) bool { return s.Window.Contains(now) }) {
		f.add(nextClock, "%s: version 2 is listed, and none of it is valid at %s: a client that chooses the version first cannot sign", l.kind, moment(now))
	}
}

// together checks that what services sign can be verified.
func (f *flaws) together(root Root, config Config, now time.Time) {
	open := func(as []Authority) func(string) bool {
		return func(url string) bool {
			return slices.ContainsFunc(as, func(a Authority) bool { return a.URI == url && a.Window.Contains(now) })
		}
	}
	log := func(url string) bool {
		return slices.ContainsFunc(root.TLogs, func(l KnownLog) bool { return l.BaseURL == url && l.Window.Contains(now) })
	}
	for _, l := range []struct {
		kind     string
		services []ConfigService
		trusted  func(string) bool
	}{{"certificate authority", config.CAs, open(root.CAs)}, {"transparency log", config.TLogs, log}, {"timestamp authority", config.TSAs, open(root.TSAs)}} {
		for _, s := range l.services {
			if s.Window.Contains(now) && !l.trusted(s.URL) {
				f.window("%s %s is to sign with, and nothing in %s verifies what it signs now", l.kind, s.URL, TrustedRootName)
			}
		}
	}
	if len(config.CAs) > 0 && !slices.ContainsFunc(root.CTLogs, func(l KnownLog) bool { return l.Window.Contains(now) }) {
		f.window("no CT log in %s is trusted now: no certificate would verify", TrustedRootName)
	}
	v2 := slices.ContainsFunc(config.TLogs, func(s ConfigService) bool { return s.APIVersion == 2 }) ||
		slices.ContainsFunc(root.TLogs, func(l KnownLog) bool { return l.isV2(config) })
	if v2 && (len(root.TSAs) == 0 || len(config.TSAs) == 0) {
		f.add(nextTSA, "a version 2 transparency log needs a timestamp authority in %s and in %s", TrustedRootName, SigningConfigName)
	}
}

// taken demands that all that was published is still there.
func (f *flaws) taken(published Target, root Root) {
	if published.Data == nil {
		return
	}
	old, err := ParseTrustedRoot(published.Data)
	if err != nil {
		f.add(nextProgram, "published %v", err)
		return
	}
	for _, l := range []struct {
		kind        string
		before, now []KnownLog
	}{{"transparency log", old.TLogs, root.TLogs}, {"CT log", old.CTLogs, root.CTLogs}} {
		for _, log := range l.before {
			if !slices.ContainsFunc(l.now, func(n KnownLog) bool { return n.ID == log.ID && n.BaseURL == log.BaseURL }) {
				f.take("%s %s, key %x, was published and would be taken away", l.kind, log.BaseURL, log.ID)
			}
		}
	}
	for _, l := range []struct {
		kind        string
		before, now []Authority
	}{{"certificate authority", old.CAs, root.CAs}, {"timestamp authority", old.TSAs, root.TSAs}} {
		for _, a := range l.before {
			if !slices.ContainsFunc(l.now, a.sameChain) {
				f.take("%s %s of %s was published and would be taken away", l.kind, a.Chain[0].Subject, a.URI)
			}
		}
	}
}

func (a Authority) sameChain(b Authority) bool {
	return a.URI == b.URI && slices.EqualFunc(a.Chain, b.Chain, (*x509.Certificate).Equal)
}

// Refusal words flaws, each with its next step; nil without any.
func Refusal(flaws []Flaw) error {
	if len(flaws) == 0 {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s failed:", len(flaws), plural(len(flaws)))
	for _, f := range flaws {
		fmt.Fprintf(&text, "\n  %s: %s\n    next: %s", f.Check, f.What, cmp.Or(f.Next, nextProgram))
	}
	return errors.New(text.String())
}

func plural(n int) string {
	if n == 1 {
		return "check"
	}
	return "checks"
}
