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

	"sigstack/internal/keys"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// Sign signs a change of the published chains: one that adds the chain of added, nil
// for none, or ends the windows of chains that are there, and changes nothing else.
// The draft comes from a process that the key need not believe, so it is held
// against what the key signed last, and against the chain that the caller knows. now
// is the signer's own clock.
func (d ChainDraft) Sign(l Layout, targets keys.Key, added []*x509.Certificate, now time.Time) (SignedTargets, error) {
	change, err := tufroot.Review(l.TUF(), d.Targets, targets)
	if err != nil {
		return SignedTargets{}, err
	}
	if life := change.Expires.Sub(now); life <= 0 || life > longestTargets {
		return SignedTargets{}, fmt.Errorf("nothing was signed: the draft expires at %s", change.Expires.Format(time.RFC3339))
	}
	if err := changesChains(change, chainID(added)); err != nil {
		return SignedTargets{}, fmt.Errorf("nothing was signed: the draft changes more than the chains: %w", err)
	}
	signed, err := tufroot.SignTargets(d.Targets, targets)
	return SignedTargets{signed}, err
}

// chainID tells a chain from every other; "" is none.
func chainID(chain []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range chain {
		b.WriteString(base64.StdEncoding.EncodeToString(c.Raw) + "\n")
	}
	return b.String()
}

// changesChains demands that a change adds the chain of that ID, "" for none, to the
// trusted root or ends the windows of chains. The files for older clients, one for
// each chain, change their names and states with that.
func changesChains(c tufroot.Change, added string) error {
	before, ok := c.Before[trust.TrustedRootName]
	if !ok {
		return errors.New("the trusted root does not change")
	}
	known, err := endsOrAdds(before.Data, c.After[trust.TrustedRootName].Data, added)
	if err != nil {
		return fmt.Errorf("%s: %w", trust.TrustedRootName, err)
	}
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
	var custom struct {
		Sigstore struct {
			Usage string `json:"usage"`
		} `json:"sigstore"`
	}
	if err := json.Unmarshal(t.Custom, &custom); err != nil || custom.Sigstore.Usage != "Fulcio" {
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

// endsOrAdds demands that a trusted root has every authority of the one before, with
// an end of its window at most that it had not, besides one of that ID if it is not
// "", and nothing else that is new. It returns the IDs of all authorities.
func endsOrAdds(before, after []byte, added string) (known map[string]bool, err error) {
	old, oldCAs, err := splitCAs(before)
	if err != nil {
		return nil, err
	}
	now, cas, err := splitCAs(after)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(old, now) {
		return nil, errors.New("something else than the chains differs")
	}
	known = map[string]bool{}
	for _, x := range cas {
		if known[x.id] {
			return nil, errors.New("a chain is there twice")
		}
		known[x.id] = true
		i := slices.IndexFunc(oldCAs, func(o trustedCA) bool { return o.id == x.id })
		switch {
		case i >= 0 && !x.endsAtMost(oldCAs[i]):
			return nil, errors.New("a chain is changed in more than the end of its window")
		case i < 0 && x.id != added:
			return nil, errors.New("a chain is added that is not the one to be added")
		}
		if i >= 0 {
			oldCAs = slices.Delete(oldCAs, i, i+1)
		}
	}
	switch {
	case len(oldCAs) > 0:
		return nil, errors.New("a chain is taken away")
	case added != "" && !known[added]:
		return nil, errors.New("the chain to be added is not there")
	}
	return known, nil
}

// trustedCA is an authority of a trusted root.
type trustedCA struct {
	id   string
	end  string
	rest map[string]any // but for the end
}

// endsAtMost reports whether x is old, which may have got an end.
func (x trustedCA) endsAtMost(old trustedCA) bool {
	return reflect.DeepEqual(x.rest, old.rest) && (old.end == "" || old.end == x.end)
}

// splitCAs decodes a trusted root and takes its code signing authorities out of it.
func splitCAs(trustedRoot []byte) (rest map[string]any, cas []trustedCA, err error) {
	rest, list, err := splitOff(trustedRoot, "certificateAuthorities")
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
					RawBytes string `json:"rawBytes"`
				} `json:"certificates"`
			} `json:"certChain"`
			ValidFor struct {
				End string `json:"end"`
			} `json:"validFor"`
		}
		ca := trustedCA{}
		if err := errors.Join(json.Unmarshal(text, &known), json.Unmarshal(text, &ca.rest)); err != nil {
			return nil, nil, fmt.Errorf("decode an authority: %w", err)
		}
		for _, c := range known.CertChain.Certificates {
			ca.id += c.RawBytes + "\n"
		}
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
