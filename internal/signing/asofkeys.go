package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"sigstack/internal/trust"
)

// keys tells which keys and chains of a trusted root were valid.
func (c *PastClient) keys(root trust.Root) {
	add := func(kind, name string, spki []byte, w trust.Window) {
		id := sha256.Sum256(spki)
		c.Keys = append(c.Keys, PastKey{kind, name, hex.EncodeToString(id[:]), w.Start, w.End, stateAt(w, c.At)})
	}
	for _, a := range root.CAs {
		add("ca", a.Chain[0].Subject.String(), a.Chain[0].RawSubjectPublicKeyInfo, a.Window)
	}
	for _, l := range root.CTLogs {
		add("ctlog", l.BaseURL, l.PublicKey, l.Window)
	}
	for _, l := range root.TLogs {
		add("log", l.BaseURL, l.PublicKey, l.Window)
	}
	for _, a := range root.TSAs {
		add("tsa", a.Chain[0].Subject.String(), a.Chain[0].RawSubjectPublicKeyInfo, a.Window)
	}
}

func stateAt(w trust.Window, at time.Time) string {
	switch {
	case w.Contains(at):
		return PastValid
	case at.Before(w.Start):
		return PastFuture
	}
	return PastEnded
}

// Remark says what is odd about a signature for a client of then, "" for nothing: that
// it was made later.
func (c *PastClient) Remark(r Result) string {
	for _, t := range []time.Time{r.IntegratedTime, r.Timestamp} {
		if t.After(c.At) {
			return "it was not there yet: it is of " + t.UTC().Format(time.RFC3339)
		}
	}
	return ""
}
