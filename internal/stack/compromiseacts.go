package stack

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/fault"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// Paths of the acts on compromised keys.
const (
	AdminCompromises        = "/v1/compromises"         // GET: CompromiseList
	AdminCompromisePlan     = "/v1/compromises/plan"    // POST CompromiseOrder: CompromiseDraft; changes nothing
	AdminCompromiseDraft    = "/v1/compromises/draft"   // POST CompromiseOrder: CompromiseDraft
	AdminCompromisePublish  = "/v1/compromises/publish" // POST Publication: CompromiseList
	compromisedKeyPrefix    = "sha256:"
	compromiseClockLeniency = time.Minute
)

// CompromiseOrder says the trust in which key ends, and when.
type CompromiseOrder struct {
	Kind string    `json:"kind"` // ca, log, tsa or ctlog
	Key  string    `json:"key"`  // its name in keys/, or sha256:HEX of its SubjectPublicKeyInfo
	At   time.Time `json:"at"`
	// StopIssuing allows a key that signs now.
	StopIssuing bool `json:"stop_issuing,omitempty"`
}

// CompromiseList is all keys whose trust ended.
type CompromiseList struct {
	Ended []Compromise `json:"ended"`
}

// CompromiseDraft is an end that waits for a signature.
type CompromiseDraft struct {
	Compromise

	// Was is the end of the window so far; zero: open.
	Was time.Time `json:"was,omitzero"`
	// Active says that the key signs now.
	Active bool `json:"active"`
	// Done says that the end is published already: there is nothing to sign.
	Done    bool   `json:"done,omitempty"`
	Targets []byte `json:"targets,omitempty"` // TUF metadata, to be signed
}

// Details are for the audit record.
func (l CompromiseList) Details() map[string]string {
	if len(l.Ended) == 0 {
		return nil
	}
	return l.Ended[len(l.Ended)-1].Details()
}

// Details are for the audit record.
func (c Compromise) Details() map[string]string {
	return map[string]string{"kind": c.Kind, "key_sha256": c.Key, "end_of_trust": c.At.Format(time.RFC3339)}
}

// handleCompromiseActs adds the acts on compromised keys.
func (s *Stack) handleCompromiseActs(a *admin.Server) {
	a.Handle(http.MethodGet, AdminCompromises, "", func(context.Context, *http.Request) (any, error) { return s.compromiseList(), nil })
	draft := func(note bool) func(context.Context, *http.Request) (any, error) {
		return func(_ context.Context, r *http.Request) (any, error) {
			var order CompromiseOrder
			if err := readOrder(r, &order); err != nil {
				return nil, err
			}
			return s.draftCompromise(order, note)
		}
	}
	a.Handle(http.MethodPost, AdminCompromisePlan, "", draft(false))
	a.Handle(http.MethodPost, AdminCompromiseDraft, "compromise-draft", draft(true))
	a.Handle(http.MethodPost, AdminCompromisePublish, "compromise-publish", func(ctx context.Context, r *http.Request) (any, error) {
		var signed Publication
		if err := readOrder(r, &signed); err != nil {
			return nil, err
		}
		return s.publishCompromise(ctx, signed)
	})
}

func (s *Stack) compromiseList() CompromiseList {
	ended, _ := s.compromised.all()
	return CompromiseList{Ended: append([]Compromise{}, ended...)}
}

// mayCompromise refuses where nothing is published, or by another process than the
// one that signs.
func (s *Stack) mayCompromise() error {
	switch {
	case s.conf.Peers != nil:
		return fault.Newf(fault.Conflict, "this is process %s of a split stack: one process has the key and another one publishes, and neither ends trust by itself. "+
			"What a key has signed is listed there too, with sigstack compromise --list", s.conf.Peers.Name)
	case s.repo == nil:
		return fault.New(fault.Conflict, "this stack publishes nothing: section tuf of config.yaml is missing")
	}
	return nil
}

// draftCompromise drafts what ends the trust in a key. Unless it is noted it cannot be
// published. One that is published already is answered as done.
func (s *Stack) draftCompromise(order CompromiseOrder, note bool) (CompromiseDraft, error) {
	if err := s.mayCompromise(); err != nil {
		return CompromiseDraft{}, err
	}
	d, err := s.checkCompromise(order)
	if err != nil || d.Done {
		return d, err
	}
	targets, err := d.in(s.material()).Targets(s.opts.Now())
	if err != nil {
		return CompromiseDraft{}, fault.Wrap(fault.Conflict, err, "the trust in the key cannot end then")
	}
	if note {
		ended, _ := s.compromised.all()
		if err := s.compromised.set(ended, &d.Compromise); err != nil {
			return CompromiseDraft{}, err
		}
	}
	d.Targets, err = s.repo.DraftTargets(targets)
	return d, err
}

// checkCompromise refuses what cannot be meant.
func (s *Stack) checkCompromise(order CompromiseOrder) (CompromiseDraft, error) {
	d := CompromiseDraft{Compromise: Compromise{Kind: order.Kind, At: order.At.UTC().Truncate(time.Second)}}
	if !slices.Contains(compromisedKinds, order.Kind) {
		return d, fault.Newf(fault.Invalid, "%q is none of %s", order.Kind, strings.Join(compromisedKinds, ", "))
	}
	var err error
	if d.Key, err = s.compromisedKey(order.Key); err != nil {
		return d, err
	}
	root, err := publishedRoot(s.repo)
	if err != nil {
		return d, err
	}
	windows := d.windows(root)
	if len(windows) == 0 {
		return d, fault.Newf(fault.NotFound, "clients trust no %s key %s: see sigstack status, and name a key in keys/ or sha256:HEX", order.Kind, order.Key)
	}
	w := windows[0]
	d.Was = w.End
	ended, _ := s.compromised.all()
	d.Done = slices.ContainsFunc(ended, func(c Compromise) bool { return c.Kind == d.Kind && c.Key == d.Key && c.At.Equal(d.At) })
	d.Active = s.signsNow(d.Kind, d.Key)
	switch now := s.opts.Now(); {
	case d.Done:
	case order.At.IsZero() || order.At.After(now.Add(compromiseClockLeniency)):
		return d, fault.Newf(fault.Invalid, "trust ends in the past: %s is ahead", order.At.Format(time.RFC3339))
	case d.At.Before(w.Start):
		return d, fault.Newf(fault.Invalid, "the key is trusted from %s on, which is after %s: give that moment, and nothing that it signed is good", w.Start.Format(time.RFC3339), d.At.Format(time.RFC3339))
	case !w.End.IsZero() && !d.At.Before(w.End):
		return d, fault.Newf(fault.Conflict, "the trust in the key ended at %s, which is before %s: an end is never moved ahead", w.End.Format(time.RFC3339), d.At.Format(time.RFC3339))
	case d.Active && !order.StopIssuing:
		return d, fault.Newf(fault.Conflict, "the key signs now, and no client would accept what it signs from then on: let another one take its place first (sigstack rotate %s), or say --stop-issuing", d.Kind)
	}
	return d, nil
}

// compromisedKey is the ID of a key that is named.
func (s *Stack) compromisedKey(name string) (string, error) {
	if id, ok := strings.CutPrefix(strings.ToLower(name), compromisedKeyPrefix); ok {
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 32 {
			return "", fault.Newf(fault.Invalid, "%q is not sha256: and 64 hex digits", name)
		}
		return id, nil
	}
	key, err := s.keys.Load(name)
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, fmt.Sprintf("key %q cannot be read: name one in keys/ or, if it is gone, its sha256:HEX", name))
	}
	return idOf(key.SPKI()), nil
}

// signsNow reports whether a key is the one that signs.
func (s *Stack) signsNow(kind, id string) bool {
	is := func(spki []byte) bool { return idOf(spki) == id }
	svc := s.services
	switch {
	case kind == CompromisedCA && svc.ca != nil:
		return is(svc.ca.Trust().Chain[0].RawSubjectPublicKeyInfo)
	case kind == CompromisedTSA && svc.tsa != nil:
		return is(svc.tsa.Trust().Chain[0].RawSubjectPublicKeyInfo)
	case kind == CompromisedLog && svc.tlog != nil:
		logs := svc.tlog.Trust()
		return is(logs[len(logs)-1].PublicKey)
	case kind == CompromisedCTLog:
		return slices.ContainsFunc(s.ctMaterial(), func(l trust.Log) bool { return !l.Idle && is(l.PublicKey) })
	}
	return false
}

// publishCompromise puts the end into the trust material, signed. A crash after the
// last write of the repository, and before compromised.json tells of it, is found and
// noted by the next start.
func (s *Stack) publishCompromise(ctx context.Context, signed Publication) (CompromiseList, error) {
	if err := s.mayCompromise(); err != nil {
		return CompromiseList{}, err
	}
	_, draft := s.compromised.all()
	if draft == nil {
		return CompromiseList{}, fault.New(fault.Conflict, "no end of trust waits to be published")
	}
	expected, err := s.mustFail(ctx, *draft, signed)
	if err != nil {
		return CompromiseList{}, err
	}
	signed.Unchecked = append(signed.Unchecked, expected...)
	before := s.distributed(s.repo, s.opts.Now())
	err = s.publishTargets(ctx, draft.in(s.material()), signed)
	if errors.Is(err, tufroot.ErrStale) {
		return CompromiseList{}, fault.Wrap(fault.Conflict, err, "begin again")
	}
	if err != nil {
		return CompromiseList{}, err
	}
	if err := s.noteCompromise(*draft, s.repo, before); err != nil {
		return CompromiseList{}, err
	}
	if err := s.writeKit(s.repo); err != nil {
		return CompromiseList{}, fmt.Errorf("the end of trust is published, but the client kit could not be written: %w", err)
	}
	return s.compromiseList(), nil
}

// noteCompromise notes that an end is out, and that it is with every client not before
// a moment.
func (s *Stack) noteCompromise(c Compromise, repo *tufroot.Repository, earliest time.Time) error {
	now := s.opts.Now().UTC()
	c.Published, c.Distributed = now, s.distributed(repo, now)
	if earliest.After(c.Distributed) {
		c.Distributed = earliest
	}
	ended, _ := s.compromised.all()
	rest := slices.DeleteFunc(slices.Clone(ended), func(o Compromise) bool { return o.Kind == c.Kind && o.Key == c.Key })
	return s.compromised.set(append(rest, c), nil)
}

// EndsTrust refuses a change of TUF's targets that does more than end the trust in
// that key then: for who signs it, and need not believe the process that drafted it.
// Files for older clients may tell of it in their names and metadata.
func (c Compromise) EndsTrust(change tufroot.Change) error {
	before, ok := change.Before[trust.TrustedRootName]
	if !ok {
		return errors.New("nothing was signed: the trusted root does not change")
	}
	want, err := trust.ParseTrustedRoot(before.Data)
	if err != nil {
		return err
	}
	windows := c.windows(want)
	for _, w := range windows {
		c.end(w)
	}
	data, err := want.JSON()
	if err != nil {
		return err
	}
	if len(windows) == 0 || !bytes.Equal(data, change.After[trust.TrustedRootName].Data) {
		return fmt.Errorf("nothing was signed: the draft changes the trusted root otherwise than to end the trust in the %s key %s at %s", c.Kind, c.Key, c.At.Format(time.RFC3339))
	}
	but := ""
	if c.Kind == CompromisedTSA {
		but = "TSA"
	}
	if !maps.Equal(legacyFiles(change.Before, but), legacyFiles(change.After, but)) || !trustedStamps(change, want) {
		return errors.New("nothing was signed: more targets than the trusted root are added, changed or taken away")
	}
	return nil
}

// trustedStamps reports whether the files for older clients, which know one timestamp
// authority, are of one that the trusted root has: it is another one when the trust in
// the oldest ends.
func trustedStamps(change tufroot.Change, root trust.Root) bool {
	certs := map[string]bool{}
	for _, a := range root.TSAs {
		for _, cert := range a.Chain {
			certs[base64.StdEncoding.EncodeToString(cert.Raw)+"\n"] = true
		}
	}
	for _, t := range change.After {
		if id, ok := legacyCertificates(t, "TSA"); ok && !certs[id] {
			return false
		}
	}
	return true
}

// legacyFiles counts the files for older clients by use and content, but for those of
// one use. Their names, and what else they say, follow from which key signs now, and
// from the ends.
func legacyFiles(targets map[string]tufroot.ReviewedTarget, but string) map[string]int {
	count := map[string]int{}
	for name, t := range targets {
		if name == trust.TrustedRootName {
			continue
		}
		var custom struct {
			Sigstore struct {
				Usage string `json:"usage"`
			} `json:"sigstore"`
		}
		use := name // of a file that is none of them, the name counts
		if json.Unmarshal(t.Custom, &custom) == nil && custom.Sigstore.Usage != "" {
			use = "usage " + custom.Sigstore.Usage
		}
		if _, ok := legacyCertificates(t, but); ok {
			continue
		}
		count[use+"\n"+string(t.Data)]++
	}
	return count
}
