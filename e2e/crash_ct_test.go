package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ct "github.com/google/certificate-transparency-go"
	ctclient "github.com/google/certificate-transparency-go/client"
	"github.com/google/certificate-transparency-go/ctutil"
	"github.com/google/certificate-transparency-go/jsonclient"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/e2e/e2etest"
)

// certificateNotes is where the certificate writer notes what it was given.
const certificateNotes = "certificates"

// certify asks for certificates, noting each chain durably, until the connection
// breaks. Any other answer than 200 is an error.
func certify(ctx context.Context, url, notes, token string) error {
	f, err := os.OpenFile(filepath.Join(notes, certificateNotes), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: e2etest.Transport()}
	defer client.CloseIdleConnections()
	for {
		body, err := certificateRequest(token)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		status, answer, err := e2etest.Post(ctx, client, url+"/api/v2/signingCert", body)
		if err != nil || e2etest.Dying(status) {
			return f.Close() // killed: nothing was acknowledged
		}
		if status != http.StatusOK {
			return errors.Join(fmt.Errorf("status %d: %s", status, answer), f.Close())
		}
		if _, err := f.Write(answer); err != nil { // one line of JSON
			return errors.Join(err, f.Close())
		}
		if err := f.Sync(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
}

// certificateRequest is a request of the demo user for a fresh key.
func certificateRequest(token string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(e2etest.DemoUser))
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"credentials": map[string]any{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey":         map[string]any{"content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))},
			"proofOfPossession": proof,
		},
	})
}

// ctChecker holds the CT log against every certificate that was handed out.
type ctChecker struct {
	client *ctclient.LogClient
	key    any
	last   *ct.SignedTreeHead // of the round before
}

func newCTChecker(t *testing.T, s *e2etest.Stack) *ctChecker {
	t.Helper()
	key := e2etest.ReadFile(t, s.Kit("ctfe.pub"))
	client, err := ctclient.New(s.URL+"/ctlog", e2etest.HTTP, jsonclient.Options{PublicKey: key})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(key))
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &ctChecker{client: client, key: pub}
}

// check demands that the log extends what it was in the last round, and that
// every noted certificate's SCT verifies and its precertificate is included. It
// returns how many certificates there are.
func (c *ctChecker) check(t *testing.T, notes string) (int, error) {
	t.Helper()
	head, err := c.client.GetSTH(t.Context()) // verifies the signature
	if err != nil {
		return 0, err
	}
	if c.last != nil && c.last.TreeSize > 0 {
		hashes, err := c.client.GetSTHConsistency(t.Context(), c.last.TreeSize, head.TreeSize)
		if err != nil {
			return 0, fmt.Errorf("consistency of CT tree heads: %w", err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, c.last.TreeSize, head.TreeSize, hashes,
			c.last.SHA256RootHash[:], head.SHA256RootHash[:]); err != nil {
			return 0, fmt.Errorf("CT log does not extend itself: %w", err)
		}
	}
	c.last = head
	n := 0
	scan := bufio.NewScanner(strings.NewReader(e2etest.ReadFile(t, filepath.Join(notes, certificateNotes))))
	scan.Buffer(nil, 1<<20)
	for ; scan.Scan(); n++ {
		if err := c.checkIncluded(t.Context(), scan.Bytes(), head); err != nil {
			return n, fmt.Errorf("certificate %d: %w", n, err)
		}
	}
	return n, scan.Err()
}

func (c *ctChecker) checkIncluded(ctx context.Context, answer []byte, head *ct.SignedTreeHead) error {
	chain, sct, err := parseCertified(answer)
	if err != nil {
		return err
	}
	if err := ctutil.VerifySCT(c.key, chain, sct, true); err != nil {
		return fmt.Errorf("SCT: %w", err)
	}
	leaf, err := ctutil.LeafHash(chain, sct, true)
	if err != nil {
		return err
	}
	p, err := c.client.GetProofByHash(ctx, leaf[:], head.TreeSize)
	if err != nil {
		return fmt.Errorf("not in the log: %w", err)
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.LeafIndex), head.TreeSize, leaf[:], p.AuditPath, head.SHA256RootHash[:])
}

// parseCertified reads the CA's answer: the chain and the one SCT of its leaf.
func parseCertified(answer []byte) ([]*ctx509.Certificate, *ct.SignedCertificateTimestamp, error) {
	var v struct {
		Embedded struct {
			Chain struct {
				Certificates []string `json:"certificates"`
			} `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	if err := json.Unmarshal(answer, &v); err != nil {
		return nil, nil, err
	}
	var chain []*ctx509.Certificate
	for _, text := range v.Embedded.Chain.Certificates {
		cert, err := x509util.CertificateFromPEM([]byte(text))
		if cert == nil {
			return nil, nil, err
		}
		chain = append(chain, cert)
	}
	scts, err := x509util.ParseSCTsFromSCTList(&chain[0].SCTList)
	if err != nil || len(scts) != 1 {
		return nil, nil, fmt.Errorf("%d SCTs, want one: %w", len(scts), err)
	}
	return chain, scts[0], nil
}
