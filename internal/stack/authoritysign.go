package stack

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// ChainEnd is an end that a chain's window gets, for ever.
type ChainEnd struct {
	Subject string // of the issuing certificate
	SHA256  string // likewise, hex
	End     time.Time
}

// ApproveChain demands that a change adds a chain to the published ones of an
// authority, and nothing else. The draft comes from a process that a signer need not
// believe, so it is held against what was signed last, and against the chain that the
// caller knows. now is the signer's own clock.
func (of Authority) ApproveChain(change tufroot.Change, added []*x509.Certificate, now time.Time) error {
	if len(added) == 0 {
		return errors.New("nothing was signed: no chain is to be added")
	}
	_, err := of.review(change, chainID(added), now)
	return err
}

// ChainEnds demands that a change ends windows of chains of an authority, and nothing
// else, and returns the ends. now is the signer's own clock.
func (of Authority) ChainEnds(change tufroot.Change, now time.Time) ([]ChainEnd, error) {
	return of.review(change, "", now)
}

func (of Authority) review(change tufroot.Change, added string, now time.Time) ([]ChainEnd, error) {
	if err := mayExpire(change, now); err != nil {
		return nil, err
	}
	ends, err := of.changesChains(change, added, now)
	if err != nil {
		return nil, fmt.Errorf("nothing was signed: the draft changes more than the chains, or otherwise than it should: %w", err)
	}
	return ends, nil
}

// chainID tells a chain from every other; "" is none.
func chainID(chain []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range chain {
		b.WriteString(base64.StdEncoding.EncodeToString(c.Raw) + "\n")
	}
	return b.String()
}

// changesChains demands that a change adds the chain of that ID to the trusted root
// or, if it is "", ends the windows of chains, which it returns. The files for older
// clients, one for each chain, change their names and states with that.
func (of Authority) changesChains(c tufroot.Change, added string, now time.Time) ([]ChainEnd, error) {
	before, ok := c.Before[trust.TrustedRootName]
	if !ok {
		return nil, errors.New("the trusted root does not change")
	}
	known, ends, err := of.endsOrAdds(before.Data, c.After[trust.TrustedRootName].Data, added, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", trust.TrustedRootName, err)
	}
	if of == TSA {
		return ends, onlyLegacyCertificates(c, known)
	}
	return ends, onlyLegacyChains(c, known)
}

// onlyLegacyChains demands that besides the trusted root a change has files of those
// chains for older clients alone, and that none of them goes.
func onlyLegacyChains(c tufroot.Change, known map[string]bool) error {
	kept := map[string]bool{}
	for name, after := range c.After {
		if name == trust.TrustedRootName {
			continue
		}
		id, ok := legacyChain(after)
		if !ok || !known[id] {
			return fmt.Errorf("target %s is added or changed, and is not a chain of the trusted root", name)
		}
		kept[id] = true
	}
	for name, before := range c.Before {
		if id, ok := legacyChain(before); name != trust.TrustedRootName && !(ok && kept[id]) {
			return fmt.Errorf("target %s is taken away or changed", name)
		}
	}
	return nil
}

// legacyChain is the ID of the chain that a target holds for older clients.
func legacyChain(t tufroot.ReviewedTarget) (id string, ok bool) {
	return legacyCertificates(t, "Fulcio")
}

// onlyLegacyCertificates demands that besides the trusted root a change has single
// certificates of those chains for older clients alone: they know one timestamp
// authority, certificate by certificate.
func onlyLegacyCertificates(c tufroot.Change, known map[string]bool) error {
	certs := map[string]bool{}
	for id := range known {
		for line := range strings.Lines(id) {
			certs[line] = true
		}
	}
	for name, after := range c.After {
		if id, ok := legacyCertificates(after, "TSA"); name != trust.TrustedRootName && !(ok && certs[id]) {
			return fmt.Errorf("target %s is added or changed, and is not a certificate of a chain of the trusted root", name)
		}
	}
	for name, before := range c.Before {
		if _, ok := legacyCertificates(before, "TSA"); name != trust.TrustedRootName && !ok {
			return fmt.Errorf("target %s is taken away or changed", name)
		}
	}
	return nil
}

// legacyCertificates is the ID of the certificates that a target holds for older
// clients, for that use.
func legacyCertificates(t tufroot.ReviewedTarget, usage string) (id string, ok bool) {
	var custom struct {
		Sigstore struct {
			Usage string `json:"usage"`
		} `json:"sigstore"`
	}
	if err := json.Unmarshal(t.Custom, &custom); err != nil || custom.Sigstore.Usage != usage {
		return "", false
	}
	var b strings.Builder
	for rest := t.Data; len(rest) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return "", false
		}
		b.WriteString(base64.StdEncoding.EncodeToString(block.Bytes) + "\n")
	}
	return b.String(), b.Len() > 0
}

// endsOrAdds demands that a trusted root has every authority of the one before as it
// was and one of that ID besides or, if that is "", that windows of some have an end
// that they had not; and nothing else that is new. It returns the IDs of all
// authorities, and the ends. now is the signer's clock.
func (of Authority) endsOrAdds(before, after []byte, added string, now time.Time) (known map[string]bool, ends []ChainEnd, err error) {
	old, oldCAs, err := of.split(before)
	if err != nil {
		return nil, nil, err
	}
	rest, cas, err := of.split(after)
	if err != nil {
		return nil, nil, err
	}
	if !reflect.DeepEqual(old, rest) {
		return nil, nil, errors.New("something else than the chains differs")
	}
	known = map[string]bool{}
	for _, x := range cas {
		if known[x.id] {
			return nil, nil, errors.New("a chain is there twice")
		}
		known[x.id] = true
		i := slices.IndexFunc(oldCAs, func(o trustedChain) bool { return o.id == x.id })
		if i < 0 {
			if x.id != added {
				return nil, nil, errors.New("a chain is added that is not the one to be added")
			}
			continue
		}
		was := oldCAs[i]
		oldCAs = slices.Delete(oldCAs, i, i+1)
		if err := x.mayFollow(was, added); err != nil {
			return nil, nil, err
		}
		if x.end != was.end {
			end, err := x.endAmong(cas, now)
			if err != nil {
				return nil, nil, err
			}
			ends = append(ends, end)
		}
	}
	switch {
	case len(oldCAs) > 0:
		return nil, nil, errors.New("a chain is taken away")
	case added != "" && !known[added]:
		return nil, nil, errors.New("the chain to be added is not there")
	case added == "" && len(ends) == 0:
		return nil, nil, errors.New("no chain gets an end")
	}
	return known, ends, nil
}

// trustedChain is a chain of an authority in a trusted root.
type trustedChain struct {
	id         string
	start, end string // of its window; "": none
	issuing    []byte // the certificate, DER
	rest       map[string]any
}

// endsAt reports whether the window ends then; the zero time is never.
func (x trustedChain) endsAt(t time.Time) bool {
	end, err := time.Parse(time.RFC3339, x.end)
	return x.end == "" && t.IsZero() || err == nil && end.Equal(t)
}

// mayFollow demands that x is was, which may have got an end if no chain is added.
func (x trustedChain) mayFollow(was trustedChain, added string) error {
	switch {
	case x.id == added:
		return errors.New("the chain to be added is there already")
	case !reflect.DeepEqual(x.rest, was.rest):
		return errors.New("a chain is changed in more than the end of its window")
	case x.end == was.end:
		return nil
	case was.end != "":
		return errors.New("the end of a chain's window is changed, which was published")
	case added != "":
		return errors.New("a chain is added, and the window of another one ends")
	}
	return nil
}

// endAmong is the end that x gets among all authorities. When a chain issued for the
// last time the signer cannot know: not before there was another one, which goes on.
// An end that is far ahead would keep the chain from being closed in earnest.
func (x trustedChain) endAmong(all []trustedChain, now time.Time) (ChainEnd, error) {
	end, err := time.Parse(time.RFC3339, x.end)
	if err != nil {
		return ChainEnd{}, fmt.Errorf("end of a window: %w", err)
	}
	cert, err := x509.ParseCertificate(x.issuing)
	if err != nil {
		return ChainEnd{}, fmt.Errorf("decode an authority: %w", err)
	}
	out := ChainEnd{Subject: cert.Subject.String(), SHA256: fingerprint(cert), End: end}
	own, err := time.Parse(time.RFC3339, x.start)
	if err != nil {
		return ChainEnd{}, fmt.Errorf("start of a window: %w", err)
	}
	earliest, others := time.Time{}, false
	for _, y := range all {
		start, err := time.Parse(time.RFC3339, y.start)
		if err != nil {
			return ChainEnd{}, fmt.Errorf("start of a window: %w", err)
		}
		if y.id != x.id && (earliest.IsZero() || start.Before(earliest)) {
			earliest = start
		}
		others = others || y.end == ""
	}
	if own.After(earliest) {
		earliest = own
	}
	switch {
	case !others:
		return ChainEnd{}, errors.New("no chain is left without an end")
	case !end.After(earliest):
		return ChainEnd{}, fmt.Errorf("the window of %s ends at %s, when it was the only chain, or was not there yet", out.Subject, x.end)
	case end.After(now.Add(2 * CloseAfter)):
		return ChainEnd{}, fmt.Errorf("the window of %s ends at %s, which is ahead", out.Subject, x.end)
	}
	return out, nil
}

// split decodes a trusted root and takes the chains of an authority out of it.
func (of Authority) split(trustedRoot []byte) (rest map[string]any, cas []trustedChain, err error) {
	rest, list, err := splitOff(trustedRoot, of.member())
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range list {
		text, err := json.Marshal(entry)
		if err != nil {
			return nil, nil, err
		}
		var known struct {
			CertChain struct {
				Certificates []struct {
					RawBytes []byte `json:"rawBytes"`
				} `json:"certificates"`
			} `json:"certChain"`
			ValidFor struct {
				Start string `json:"start"`
				End   string `json:"end"`
			} `json:"validFor"`
		}
		ca := trustedChain{}
		if err := errors.Join(json.Unmarshal(text, &known), json.Unmarshal(text, &ca.rest)); err != nil {
			return nil, nil, fmt.Errorf("decode an authority: %w", err)
		}
		for i, c := range known.CertChain.Certificates {
			ca.id += base64.StdEncoding.EncodeToString(c.RawBytes) + "\n"
			if i == 0 {
				ca.issuing = c.RawBytes
			}
		}
		ca.start = known.ValidFor.Start
		if ca.end = known.ValidFor.End; ca.end != "" {
			window, ok := ca.rest["validFor"].(map[string]any)
			if !ok {
				return nil, nil, errors.New("decode an authority: its window is spelt otherwise")
			}
			delete(window, "end")
		}
		cas = append(cas, ca)
	}
	return rest, cas, nil
}
