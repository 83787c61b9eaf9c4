package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// partDoc is a Material as the processes of one stack tell it each other. Unlike
// the clients' formats it leaves nothing out.
type partDoc struct {
	Operator     string          `json:"operator"`
	CAs          []authorityPart `json:"cas,omitempty"`
	TSAs         []authorityPart `json:"tsas,omitempty"`
	TLogs        []logPart       `json:"tlogs,omitempty"`
	CTLogs       []logPart       `json:"ctlogs,omitempty"`
	CAServices   []servicePart   `json:"ca_services,omitempty"`
	OIDCServices []servicePart   `json:"oidc_services,omitempty"`
	TLogServices []servicePart   `json:"tlog_services,omitempty"`
	TSAServices  []servicePart   `json:"tsa_services,omitempty"`
}

type authorityPart struct {
	URI   string     `json:"uri"`
	Chain [][]byte   `json:"chain"` // DER, in the order of Authority.Chain
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end,omitempty"`
}

type logPart struct {
	URL     string     `json:"url"`
	Key     []byte     `json:"key"` // DER SubjectPublicKeyInfo
	Version uint32     `json:"version"`
	Start   time.Time  `json:"start"`
	End     *time.Time `json:"end,omitempty"`
	Idle    bool       `json:"idle,omitempty"`
}

type servicePart struct {
	URL     string     `json:"url"`
	Version uint32     `json:"version"`
	Start   time.Time  `json:"start"`
	End     *time.Time `json:"end,omitempty"`
}

// EncodePart renders m for ParsePart: the part of one process in the material of
// its stack. It fails when Validate does, but that a log may need an authority
// which is another process's. The same material in the same order gives the same
// bytes, so that bytes can be compared.
func (m Material) EncodePart() ([]byte, error) {
	if err := m.checkEach(); err != nil {
		return nil, wrapInvalid(err)
	}
	return indent(partDoc{
		Operator: m.Operator,
		CAs:      each(m.CAs, Authority.part), TSAs: each(m.TSAs, Authority.part),
		TLogs: each(m.TLogs, Log.part), CTLogs: each(m.CTLogs, Log.part),
		CAServices: each(m.CAServices, Service.part), OIDCServices: each(m.OIDCServices, Service.part),
		TLogServices: each(m.TLogServices, Service.part), TSAServices: each(m.TSAServices, Service.part),
	})
}

// ParsePart is the inverse of EncodePart, and as strict.
func ParsePart(data []byte) (Material, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var doc partDoc
	if err := dec.Decode(&doc); err != nil {
		return Material{}, fmt.Errorf("parse trust part: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Material{}, errors.New("parse trust part: more than one document")
	}
	m := Material{
		Operator: doc.Operator,
		TLogs:    each(doc.TLogs, logPart.log), CTLogs: each(doc.CTLogs, logPart.log),
		CAServices: each(doc.CAServices, servicePart.service), OIDCServices: each(doc.OIDCServices, servicePart.service),
		TLogServices: each(doc.TLogServices, servicePart.service), TSAServices: each(doc.TSAServices, servicePart.service),
	}
	var err1, err2 error
	m.CAs, err1 = authorities(doc.CAs)
	m.TSAs, err2 = authorities(doc.TSAs)
	if err := errors.Join(err1, err2); err != nil {
		return Material{}, fmt.Errorf("parse trust part: %w", err)
	}
	return m, wrapInvalid(m.checkEach())
}

// With adds what parts hold to a copy of m. The operator is m's: a part of
// another operator is not of this stack.
func (m Material) With(parts ...Material) Material {
	for _, p := range parts {
		m.CAs, m.TSAs = slices.Concat(m.CAs, p.CAs), slices.Concat(m.TSAs, p.TSAs)
		m.TLogs, m.CTLogs = slices.Concat(m.TLogs, p.TLogs), slices.Concat(m.CTLogs, p.CTLogs)
		m.CAServices, m.OIDCServices = slices.Concat(m.CAServices, p.CAServices), slices.Concat(m.OIDCServices, p.OIDCServices)
		m.TLogServices, m.TSAServices = slices.Concat(m.TLogServices, p.TLogServices), slices.Concat(m.TSAServices, p.TSAServices)
	}
	return m
}

// each maps a list, nil to nil.
func each[A, B any](list []A, f func(A) B) []B {
	var out []B
	for _, a := range list {
		out = append(out, f(a))
	}
	return out
}

func (a Authority) part() authorityPart {
	p := authorityPart{URI: a.URI, Start: a.Window.Start.UTC(), End: a.Window.end()}
	for _, c := range a.Chain {
		p.Chain = append(p.Chain, c.Raw)
	}
	return p
}

func (l Log) part() logPart {
	return logPart{l.BaseURL, l.PublicKey, l.APIVersion, l.Window.Start.UTC(), l.Window.end(), l.Idle}
}

func (s Service) part() servicePart {
	return servicePart{s.URL, s.APIVersion, s.Window.Start.UTC(), s.Window.end()}
}

func (w Window) end() *time.Time {
	if w.End.IsZero() {
		return nil
	}
	end := w.End.UTC()
	return &end
}

func (l logPart) log() Log {
	return Log{BaseURL: l.URL, PublicKey: l.Key, APIVersion: l.Version, Window: fromTo(l.Start, l.End), Idle: l.Idle}
}

func (s servicePart) service() Service {
	return Service{URL: s.URL, APIVersion: s.Version, Window: fromTo(s.Start, s.End)}
}

func fromTo(start time.Time, end *time.Time) Window {
	w := Window{Start: start.UTC()}
	if end != nil {
		w.End = end.UTC()
	}
	return w
}

func authorities(parts []authorityPart) ([]Authority, error) {
	var out []Authority
	for _, p := range parts {
		a := Authority{URI: p.URI, Window: fromTo(p.Start, p.End)}
		for _, der := range p.Chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("authority %q: parse certificate: %w", p.URI, err)
			}
			a.Chain = append(a.Chain, c)
		}
		out = append(out, a)
	}
	return out, nil
}
