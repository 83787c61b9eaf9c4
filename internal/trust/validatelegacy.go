package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/pki"
)

// legacyCustom is what older clients select files by.
type legacyCustom struct {
	Sigstore struct {
		Status string `json:"status"`
		URI    string `json:"uri"`
		Usage  string `json:"usage"`
	} `json:"sigstore"`
}

// legacy checks the files for older clients: each holds what the trusted root has,
// under its URL, and is active as long as its window has not ended; and whatever
// signs now is among them.
func (f *flaws) legacy(root Root, targets []Target, now time.Time) {
	found := map[string]bool{} // usages that are active
	for _, t := range targets {
		if t.Name == TrustedRootName || t.Name == SigningConfigName {
			continue
		}
		custom, w, err := t.legacyOf(root)
		status := "Active"
		if err == nil && !w.End.IsZero() && w.End.Before(now) {
			status = "Expired"
		}
		if err == nil && custom.Sigstore.Status != status {
			err = fmt.Errorf("it is told to be %q, by its window it is %q", custom.Sigstore.Status, status)
		}
		if err != nil {
			f.add(nextProgram, "target %s: %v", t.Name, err)
			continue
		}
		found[custom.Sigstore.Usage] = found[custom.Sigstore.Usage] || status == "Active"
	}
	open := func(w Window) bool { return w.Contains(now) }
	isP256 := func(l KnownLog) bool { return !l.isEd25519() && open(l.Window) }
	isOpen := func(a Authority) bool { return open(a.Window) }
	for _, want := range []struct {
		usage string
		there bool
	}{
		{"Fulcio", slices.ContainsFunc(root.CAs, isOpen)},
		{"TSA", slices.ContainsFunc(root.TSAs, isOpen)},
		{"CTFE", slices.ContainsFunc(root.CTLogs, isP256)},
	} {
		if want.there && !found[want.usage] {
			f.add(nextProgram, "older clients get no file of usage %s that is active", want.usage)
		}
	}
}

// legacyOf reads a file for older clients, and returns the window of what it
// holds.
func (t Target) legacyOf(root Root) (custom legacyCustom, w Window, err error) {
	dec := json.NewDecoder(bytes.NewReader(t.Custom))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&custom); err != nil {
		return custom, w, errors.New("its custom metadata is not what older clients read")
	}
	c := custom.Sigstore
	switch c.Usage {
	case "Rekor":
		w, err = keyWindow(root.TLogs, t.Data, c.URI)
	case "CTFE":
		w, err = keyWindow(root.CTLogs, t.Data, c.URI)
	case "Fulcio":
		w, err = chainWindow(root.CAs, t.Data, c.URI, func(a Authority, certs []*x509.Certificate) bool {
			return slices.EqualFunc(a.Chain, certs, (*x509.Certificate).Equal)
		})
	case "TSA":
		w, err = chainWindow(root.TSAs, t.Data, c.URI, func(a Authority, certs []*x509.Certificate) bool {
			return len(certs) == 1 && slices.ContainsFunc(a.Chain, certs[0].Equal)
		})
	default:
		err = fmt.Errorf("its usage is %q", c.Usage)
	}
	return custom, w, err
}

func keyWindow(logs []KnownLog, data []byte, uri string) (Window, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return Window{}, errors.New("it is not one PUBLIC KEY in PEM")
	}
	for _, l := range logs {
		if l.BaseURL == uri && bytes.Equal(l.PublicKey, block.Bytes) {
			return l.Window, nil
		}
	}
	return Window{}, fmt.Errorf("its key is of no log at %s in %s", uri, TrustedRootName)
}

// chainWindow is that of the newest authority that fits: its certificates may be
// those of another, too.
func chainWindow(as []Authority, data []byte, uri string, fits func(Authority, []*x509.Certificate) bool) (Window, error) {
	certs, err := pki.ParseCertificatesPEM(data)
	if err != nil {
		return Window{}, err
	}
	for _, a := range slices.Backward(as) {
		if a.URI == uri && fits(a, certs) {
			return a.Window, nil
		}
	}
	return Window{}, fmt.Errorf("its certificates are of no authority at %s in %s", uri, TrustedRootName)
}
