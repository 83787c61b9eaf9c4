package target

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"time"

	"golang.org/x/sync/errgroup"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
)

// signingTarget is a whole keyless signature: a certificate for a fresh key, then
// an entry and a timestamp at the same time.
type signingTarget struct {
	ca    *caTarget
	rekor *rekorTarget
	tsa   *tsaTarget
}

func (s *services) newSigning(ctx context.Context) (*signingTarget, error) {
	t := &signingTarget{}
	var err error
	if t.ca, err = s.newCA(ctx); err != nil {
		return nil, err
	}
	if t.rekor, err = s.newRekor(ctx); err != nil {
		return nil, err
	}
	t.tsa, err = s.newTSA(ctx)
	return t, err
}

// flow is one signature under way, with the answers to it.
type flow struct {
	request  certificateRequest
	proposal proposal
	query    query

	certificate, entry, timestamp []byte
}

func (t *signingTarget) prepare(context.Context) (drive.Call, error) {
	r, err := t.ca.newRequest()
	if err != nil {
		return drive.Call{}, err
	}
	f := &flow{request: r}
	return drive.Call{
		Send:   func(ctx context.Context) error { return t.send(ctx, f) },
		Verify: func() error { return t.verify(f) },
	}, nil
}

// send does what a client that signs does, but for verifying.
func (t *signingTarget) send(ctx context.Context, f *flow) error {
	var err error
	if f.certificate, err = t.ca.send(ctx, f.request); err != nil {
		return err
	}
	leaf, err := leafOf(f.certificate)
	if err != nil {
		return err
	}
	if f.proposal, err = propose(digest(), f.request.key, leaf); err != nil {
		return err
	}
	if f.query, err = newQuery(sha256.Sum256(f.proposal.sig)); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		f.entry, err = t.rekor.sendEntry(ctx, f.proposal.body)
		return err
	})
	g.Go(func() (err error) {
		f.timestamp, err = t.tsa.send(ctx, f.query)
		return err
	})
	return g.Wait()
}

// leafOf returns the certificate that was issued, as PEM in the one spelling that
// logs keep.
func leafOf(answer []byte) ([]byte, error) {
	var got struct {
		Embedded struct {
			Chain struct {
				Certificates []string `json:"certificates"`
			} `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	err := json.Unmarshal(answer, &got)
	if err != nil || len(got.Embedded.Chain.Certificates) == 0 {
		return nil, check.Wrong(check.Malformed, "no certificate with an embedded SCT in %.200q", answer)
	}
	block, _ := pem.Decode([]byte(got.Embedded.Chain.Certificates[0]))
	if block == nil {
		return nil, check.Wrong(check.Malformed, "no PEM certificate in %.200q", answer)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}), nil
}

// verify verifies the three answers, and that the certificate was valid at the
// times that the other two name.
func (t *signingTarget) verify(f *flow) error {
	now := t.ca.Now()
	cert, err := t.ca.verify(f.request, f.certificate, now)
	if err != nil {
		return err
	}
	entry, err := verifyAdded(t.rekor.log, f.proposal, f.entry, now)
	if err != nil {
		return err
	}
	stamped, err := t.tsa.verify(f.query, f.timestamp)
	if err != nil {
		return err
	}
	return within(cert, time.Unix(entry.IntegratedTime, 0), stamped)
}

func within(cert *x509.Certificate, times ...time.Time) error {
	for _, at := range times {
		if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
			return check.Wrong(check.Time, "%v is not in the certificate's life, %v to %v", at.UTC(), cert.NotBefore, cert.NotAfter)
		}
	}
	return nil
}
