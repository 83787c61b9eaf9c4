package stack

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/trust"
)

// What becomes of a signature when the trust in a key ends.
const (
	TrustEnds  = "ends"
	TrustStays = "stays"
)

// Signed is a certificate or an entry that a compromised key has to do with.
type Signed struct {
	What  string `json:"what"`  // certificate or entry
	Trust string `json:"trust"` // ends or stays
	// LogID is that of the CT log or the transparency log, hex, and Index the place in
	// it: of a certificate in the CT log, of an entry in all shards.
	LogID string `json:"log_id"`
	Index uint64 `json:"index"`
	// At is when it was logged, which decides.
	At time.Time `json:"at"`
	// UUID of an entry; Serial of a certificate, hex.
	UUID   string `json:"uuid,omitempty"`
	Serial string `json:"serial,omitempty"`
	// Subject of the certificate, also of an entry that has one.
	Subject string `json:"subject,omitempty"`
}

// SignedCount says how many there are.
type SignedCount struct {
	CertificatesEnd  int `json:"certificates_end"`
	CertificatesStay int `json:"certificates_stay"`
	EntriesEnd       int `json:"entries_end"`
	EntriesStay      int `json:"entries_stay"`
	// Read counts what was read and verified, of both kinds of logs.
	EntriesRead      uint64 `json:"entries_read"`
	CertificatesRead uint64 `json:"certificates_read"`
}

// Survey reads logs for what a compromised key has signed.
type Survey struct {
	Compromise
	// Kit tells where the logs are, and what to verify them by. Its windows may have
	// ends already: those are left out of account.
	TrustedRoot, SigningConfig []byte
	TLS                        signing.Authorities
	Now                        time.Time
}

// List reads all of both logs over their public APIs and calls show for each
// certificate and entry that the key has to do with, in the order of the logs. Nothing
// is believed: each entry's timestamp, checkpoint and proof is verified, and what was
// read hashes to the root that the log has signed, so that nothing is left out.
func (v Survey) List(ctx context.Context, show func(Signed) error) (n SignedCount, err error) {
	root, err := trust.ParseTrustedRoot(v.TrustedRoot)
	if err != nil {
		return n, err
	}
	if len(v.windows(root)) == 0 {
		return n, fmt.Errorf("the trusted root has no %s key %s: look for it in sigstack status", v.Kind, v.Key)
	}
	counted := func(s Signed) error {
		n.add(s)
		return show(s)
	}
	if v.Kind == CompromisedCA || v.Kind == CompromisedCTLog {
		for _, log := range root.CTLogs {
			if v.Kind == CompromisedCTLog && idOf(log.PublicKey) != v.Key {
				continue
			}
			read, err := v.certificates(ctx, log, counted)
			n.CertificatesRead += read
			if err != nil {
				return n, fmt.Errorf("read CT log %s: %w", log.BaseURL, err)
			}
		}
	}
	read, err := v.entries(ctx, root, counted)
	n.EntriesRead = read
	if err != nil {
		return n, fmt.Errorf("read transparency log: %w", err)
	}
	return n, nil
}

func (n *SignedCount) add(s Signed) {
	switch {
	case s.What == "certificate" && s.Trust == TrustEnds:
		n.CertificatesEnd++
	case s.What == "certificate":
		n.CertificatesStay++
	case s.Trust == TrustEnds:
		n.EntriesEnd++
	default:
		n.EntriesStay++
	}
}

// verdict is what becomes of what was signed at a moment.
func (c Compromise) verdict(at time.Time) string {
	if at.After(c.At) {
		return TrustEnds
	}
	return TrustStays
}

// entries reads every shard of the transparency log.
func (v Survey) entries(ctx context.Context, root trust.Root, show func(Signed) error) (read uint64, err error) {
	for i := range root.TLogs {
		root.TLogs[i].Window.End = time.Time{} // else what ends would not be read
	}
	open, err := root.JSON()
	if err != nil {
		return 0, err
	}
	kit, err := signing.NewKit("the kit, without ends", open, v.SigningConfig)
	if err != nil {
		return 0, err
	}
	kit.TLS = v.TLS
	reader, err := kit.NewLogReader("", v.Now)
	if err != nil {
		return 0, err
	}
	trees, err := reader.Trees(ctx)
	if err != nil {
		return 0, err
	}
	issuers := v.issuers(root)
	for _, t := range trees {
		tree := newLeaves()
		for ; tree.End() < t.Size; read++ {
			e, err := reader.Get(ctx, strconv.FormatUint(read, 10))
			if err != nil {
				return read, err
			}
			if e.TreeID != t.TreeID || e.Index != tree.End() {
				return read, fmt.Errorf("asked for entry %d of tree %s, it gave %d of %s", tree.End(), t.TreeID, e.Index, e.TreeID)
			}
			if err := tree.add(e.Body); err != nil {
				return read, err
			}
			if s, ok := v.entry(e, issuers); ok {
				if err := show(s); err != nil {
					return read, err
				}
			}
		}
		want, err := hex.DecodeString(t.RootHash)
		if err == nil {
			err = tree.isRoot(want)
		}
		if err != nil {
			return read, fmt.Errorf("tree %s: %w", t.TreeID, err)
		}
	}
	return read, nil
}

// issuers are the certificates of the compromised key, of an authority.
func (v Survey) issuers(root trust.Root) (out []*x509.Certificate) {
	for _, a := range root.CAs {
		if idOf(a.Chain[0].RawSubjectPublicKeyInfo) == v.Key {
			out = append(out, a.Chain[0])
		}
	}
	return out
}

// entry tells of an entry if the key has to do with it.
func (v Survey) entry(e signing.LogEntry, issuers []*x509.Certificate) (s Signed, ok bool) {
	at := time.Unix(e.IntegratedTime, 0).UTC()
	s = Signed{What: "entry", Index: e.LogIndex, LogID: e.LogID, UUID: e.UUID, At: at, Trust: v.verdict(at)}
	certs := certificatesIn(e.Body)
	for _, c := range certs {
		s.Subject, s.Serial = strings.Join(append(append([]string{}, c.EmailAddresses...), namesOf(c.URIs)...), " "), fmt.Sprintf("%x", c.SerialNumber)
	}
	switch v.Kind {
	case CompromisedLog:
		return s, e.LogID == v.Key
	case CompromisedTSA:
		return s, true // a timestamp is in no log: each may have one
	case CompromisedCA:
		for _, c := range certs {
			for _, issuer := range issuers {
				ok = ok || c.CheckSignatureFrom(issuer) == nil
			}
		}
		return s, ok
	}
	s.Trust = TrustStays
	for _, c := range certs {
		sct, found := v.timestampIn(c)
		if ok = ok || found; found && sct.After(v.At) {
			s.Trust = TrustEnds
		}
	}
	return s, ok
}

// timestampIn is when the compromised CT log took a certificate, by what it embeds.
func (v Survey) timestampIn(c *x509.Certificate) (at time.Time, found bool) {
	for _, x := range c.Extensions {
		if !x.Id.Equal(pki.OIDSCTList) {
			continue
		}
		list, err := pki.ParseSCTList(x.Value)
		if err != nil {
			return at, false // the log of the certificate would have refused it
		}
		for _, sct := range list { // RFC 6962 section 3.2: version, log ID, milliseconds
			if len(sct) > 41 && hex.EncodeToString(sct[1:33]) == v.Key {
				at, found = time.UnixMilli(int64(binary.BigEndian.Uint64(sct[33:41]))), true
			}
		}
	}
	return at, found
}

// certificatesIn finds the certificates in an entry's body, whatever its kind: PEM in
// Base64, once or twice.
func certificatesIn(body []byte) (out []*x509.Certificate) {
	var v any
	if json.Unmarshal(body, &v) != nil {
		return nil
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		case string:
			if c := certificateOf(v, 2); c != nil {
				out = append(out, c)
			}
		}
	}
	walk(v)
	return out
}

func certificateOf(text string, depth int) *x509.Certificate {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || depth == 0 {
		return nil
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return certificateOf(string(data), depth-1)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}
