package target

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Trust is the public half of the services, as far as it is given. What is empty
// is fetched from the service before the run, but for the keys of CT logs and of
// Rekor v2, which no protocol hands out.
type Trust struct {
	CAChains [][]*x509.Certificate // issuing certificate first
	CTKeys   []crypto.PublicKey
	Rekor    []crypto.PublicKey
	Rekor2   crypto.PublicKey
	TSAChain []*x509.Certificate // leaf first
}

// trustedRoot is what is read of a Sigstore trusted_root.json.
type trustedRoot struct {
	TLogs  []rootLog       `json:"tlogs"`
	CTLogs []rootLog       `json:"ctlogs"`
	CAs    []rootAuthority `json:"certificateAuthorities"`
	TSAs   []rootAuthority `json:"timestampAuthorities"`
}

type rootLog struct {
	BaseURL   string `json:"baseUrl"`
	PublicKey struct {
		RawBytes []byte     `json:"rawBytes"`
		ValidFor rootWindow `json:"validFor"`
	} `json:"publicKey"`
}

type rootAuthority struct {
	URI   string `json:"uri"`
	Chain struct {
		Certificates []struct {
			RawBytes []byte `json:"rawBytes"`
		} `json:"certificates"`
	} `json:"certChain"`
	ValidFor rootWindow `json:"validFor"`
}

type rootWindow struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

func (w rootWindow) contains(t time.Time) bool {
	return !t.Before(w.Start) && (w.End.IsZero() || !t.After(w.End))
}

// ParseTrustedRoot reads a Sigstore trusted_root.json: all that is valid at now.
// Of the timestamp authorities it takes the one at tsa, else the last; of the logs
// that at rekor2 as v2's.
func ParseTrustedRoot(data []byte, tsa, rekor2 string, now time.Time) (Trust, error) {
	var root trustedRoot
	if err := json.Unmarshal(data, &root); err != nil {
		return Trust{}, fmt.Errorf("parse trusted root: %w", err)
	}
	var t Trust
	var err error
	if t.CTKeys, err = logKeys(root.CTLogs, now); err != nil {
		return Trust{}, fmt.Errorf("parse trusted root: CT log %w", err)
	}
	if t.Rekor, err = logKeys(root.TLogs, time.Time{}); err != nil {
		return Trust{}, fmt.Errorf("parse trusted root: log %w", err)
	}
	for i, l := range root.TLogs {
		if l.BaseURL != "" && l.BaseURL == rekor2 {
			t.Rekor2 = t.Rekor[i]
		}
	}
	for _, a := range root.CAs {
		chain, err := a.chain()
		if err != nil {
			return Trust{}, fmt.Errorf("parse trusted root: authority %q: %w", a.URI, err)
		}
		if a.ValidFor.contains(now) {
			t.CAChains = append(t.CAChains, chain)
		}
	}
	found := false
	for _, a := range root.TSAs {
		chain, err := a.chain()
		if err != nil {
			return Trust{}, fmt.Errorf("parse trusted root: timestamp authority %q: %w", a.URI, err)
		}
		if a.ValidFor.contains(now) && !found {
			t.TSAChain, found = chain, a.URI == tsa
		}
	}
	return t, nil
}

// logKeys returns the keys that are valid at now; all of them for the zero time,
// since logs are read long after they were written.
func logKeys(logs []rootLog, now time.Time) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for _, l := range logs {
		key, err := x509.ParsePKIXPublicKey(l.PublicKey.RawBytes)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", l.BaseURL, err)
		}
		if now.IsZero() || l.PublicKey.ValidFor.contains(now) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (a rootAuthority) chain() ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, c := range a.Chain.Certificates {
		cert, err := x509.ParseCertificate(c.RawBytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("it has no certificates")
	}
	return chain, nil
}

// ParseKeys reads PEM public keys, at least one.
func ParseKeys(data []byte) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	err := eachBlock(data, "PUBLIC KEY", func(der []byte) error {
		key, err := x509.ParsePKIXPublicKey(der)
		keys = append(keys, key)
		return err
	})
	return keys, err
}

// ParseChain reads PEM certificates, at least one.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	err := eachBlock(data, "CERTIFICATE", func(der []byte) error {
		cert, err := x509.ParseCertificate(der)
		chain = append(chain, cert)
		return err
	})
	return chain, err
}

func eachBlock(data []byte, kind string, read func(der []byte) error) error {
	n := 0
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != kind {
			return fmt.Errorf("parse PEM: block %d is not a %s", n+1, kind)
		}
		if err := read(block.Bytes); err != nil {
			return fmt.Errorf("parse PEM: block %d: %w", n+1, err)
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("parse PEM: no %s found", kind)
	}
	return nil
}

// hostOf is the name by which a log signs: the host of its URL, without port.
func hostOf(name, base string) (string, error) {
	if name != "" {
		return name, nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("%q is not a URL", base)
	}
	return u.Hostname(), nil
}
