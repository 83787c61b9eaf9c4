package stack

import (
	"cmp"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"sigstack/internal/trust"
	"sigstack/services/ca/sct"
)

// ctRoots are the authorities whose certificates the CT log takes: those of all
// chains of this CA, or of the process that it runs in.
func (s *Stack) ctRoots() ([]*x509.Certificate, error) {
	if s.conf.CA != nil {
		return s.ca.chains.roots(), nil
	}
	var roots []*x509.Certificate
	for _, part := range s.othersMaterial() {
		for _, a := range part.CAs {
			roots = append(roots, a.Chain[len(a.Chain)-1])
		}
	}
	return roots, nil
}

// otherCTLogs are the CT logs of other processes, those that end first first.
func (s *Stack) otherCTLogs() ([]trust.Log, error) {
	var out []trust.Log
	for _, part := range s.othersMaterial() {
		for _, l := range part.CTLogs {
			if strings.HasPrefix(l.BaseURL, s.conf.URL+"/") { // not one that the CA only submits to
				out = append(out, l)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no other process has a CT log: its file in peers/ holds none")
	}
	slices.SortStableFunc(out, func(a, b trust.Log) int {
		if a.Window.End.IsZero() != b.Window.End.IsZero() {
			if a.Window.End.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(a.Window.End.Compare(b.Window.End), b.Window.Start.Compare(a.Window.Start)) // the newer one
	})
	return out, nil
}

// RFC 6962 §4.2, below the log's prefix.
const addPreChain = "/ct/v1/add-pre-chain"

// submitTo returns the way to a CT log in another process, which has the root.
func submitTo(link *link, log trust.Log, now func() time.Time) (sct.Submit, error) {
	return sct.Remote{URL: log.BaseURL, Transport: link.client, OmitRoot: true, Now: now}.Submit()
}

// ctPrefixes are the paths of the CT logs of another process.
func (s *Stack) ctPrefixes() []string {
	logs, err := s.otherCTLogs()
	if err != nil {
		return nil // this process has them, or nobody
	}
	var out []string
	for _, l := range logs {
		out = append(out, strings.TrimPrefix(l.BaseURL, s.conf.URL))
	}
	return out
}
