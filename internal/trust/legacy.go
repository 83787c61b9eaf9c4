package trust

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/pki"
)

// Target is one file of a TUF repository.
type Target struct {
	Name string
	Data []byte
	// Custom is the JSON that clients select legacy targets by; nil without it.
	Custom json.RawMessage
}

// Targets returns every TUF target, sorted by name: trusted_root.json,
// signing_config.v0.2.json and, for clients that read neither, PEM files with
// custom metadata (contract trust-material §4). Windows that ended before now
// make a PEM file Expired; nothing is ever left out but timestamp authorities
// besides one, of whose leaves those clients accept only one.
func (m Material) Targets(now time.Time) ([]Target, error) {
	root, err := m.TrustedRoot()
	if err != nil {
		return nil, err
	}
	config, err := m.SigningConfig()
	if err != nil {
		return nil, err
	}
	out := []Target{{Name: TrustedRootName, Data: root}, {Name: SigningConfigName, Data: config}}
	legacy, err := m.legacy(now)
	if err != nil {
		return nil, err
	}
	out = append(out, legacy...)
	slices.SortFunc(out, func(a, b Target) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (m Material) legacy(now time.Time) ([]Target, error) {
	var l legacyList
	for i, log := range setLogs(m.TLogs) {
		name, err := logName("rekor", log, i)
		if err != nil {
			return nil, err
		}
		l.add(name, pki.PublicKeyPEM(log.PublicKey), "Rekor", log.BaseURL, log.Window, now)
	}
	for i, log := range newestLogs(m.CTLogs) {
		name, err := logName("ctfe", log, i)
		if err != nil {
			return nil, err
		}
		l.add(name, pki.PublicKeyPEM(log.PublicKey), "CTFE", log.BaseURL, log.Window, now)
	}
	for i, ca := range newestAuthorities(m.CAs) {
		name := "fulcio.crt.pem"
		if i > 0 {
			sum := sha256.Sum256(ca.Chain[0].Raw)
			name = fmt.Sprintf("fulcio_%x.crt.pem", sum[:4])
		}
		l.add(name, pki.CertificatesPEM(ca.Chain), "Fulcio", ca.URI, ca.Window, now)
	}
	for _, tsa := range onlyAuthority(m.TSAs) {
		for i, c := range tsa.Chain {
			l.add(tsaName(i, len(tsa.Chain)), pki.CertificatesPEM([]*x509.Certificate{c}), "TSA", tsa.URI, tsa.Window, now)
		}
	}
	return l.targets, l.err
}

type legacyList struct {
	targets []Target
	err     error
}

func (l *legacyList) add(name string, data []byte, usage, uri string, w Window, now time.Time) {
	type sigstore struct {
		Status string `json:"status"`
		URI    string `json:"uri"`
		Usage  string `json:"usage"`
	}
	status := "Active"
	if !w.End.IsZero() && w.End.Before(now) {
		status = "Expired"
	}
	custom, err := json.Marshal(map[string]sigstore{"sigstore": {status, uri, usage}})
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("encode custom metadata of %s: %w", name, err)
	}
	l.targets = append(l.targets, Target{Name: name, Data: data, Custom: custom})
}

// logName gives the newest log the name that clients fall back to when they find
// no custom metadata, and the others one that never changes.
func logName(kind string, l Log, rank int) (string, error) {
	if rank == 0 {
		return kind + ".pub", nil
	}
	id, err := l.ID()
	if err != nil {
		return "", fmt.Errorf("name target of %s: %w", l.BaseURL, err)
	}
	return fmt.Sprintf("%s_%x.pub", kind, id[:4]), nil
}

// tsaName is a name that cosign falls back to; it splits the chain in one
// certificate a file.
func tsaName(i, n int) string {
	switch i {
	case 0:
		return "tsa_leaf.crt.pem"
	case n - 1:
		return "tsa_root.crt.pem"
	}
	return fmt.Sprintf("tsa_intermediate_%d.crt.pem", i-1)
}

// setLogs are the logs that sign entry timestamps, newest first: legacy clients
// know no other protocol and fail on other keys.
func setLogs(logs []Log) []Log {
	return slices.DeleteFunc(newestLogs(logs), func(l Log) bool {
		key, err := parseKey(l.PublicKey)
		_, ok := key.(*ecdsa.PublicKey)
		return err != nil || !ok || l.APIVersion != 1
	})
}

// newestLogs puts idle ones last.
func newestLogs(logs []Log) []Log {
	rank := map[bool]int{true: 1}
	return slices.SortedFunc(slices.Values(logs), func(a, b Log) int {
		return cmp.Or(cmp.Compare(rank[a.Idle], rank[b.Idle]), b.Window.Start.Compare(a.Window.Start), cmp.Compare(a.BaseURL, b.BaseURL),
			slices.Compare(a.PublicKey, b.PublicKey))
	})
}

// onlyAuthority is the one that those are told of who take one: the oldest whose window
// is open. One that is published before it is used is not it before the one that was in
// use until then is closed; nobody needs to be told which of them signs.
func onlyAuthority(as []Authority) []Authority {
	for _, a := range oldestFirst(as) {
		if a.Window.End.IsZero() {
			return []Authority{a}
		}
	}
	return newestAuthorities(as)[:min(1, len(as))]
}

func newestAuthorities(as []Authority) []Authority {
	out := oldestFirst(as)
	slices.Reverse(out)
	return out
}
