package target

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
)

// rekorTarget adds a hashedrekord that the log has not: a random digest, signed
// by the key of a certificate like those of keyless signing.
type rekorTarget struct {
	*services

	log    *check.LogV1
	signer signer
}

// signer is a key and a certificate of its own making for it.
type signer struct {
	key   *ecdsa.PrivateKey
	der   []byte // certificate
	pem   []byte
	email string
}

// newSigner makes a certificate about as long as a CA's with an embedded SCT.
func newSigner() (signer, error) {
	s := signer{email: hex.EncodeToString(random(8)) + "@load.example"}
	var err error
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return s, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(random(16)), NotBefore: now, NotAfter: now.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{s.email}, CRLDistributionPoints: []string{"https://load.example/" + hex.EncodeToString(random(80))},
	}
	if s.der, err = x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key); err != nil {
		return s, fmt.Errorf("make certificate: %w", err)
	}
	s.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.der})
	return s, nil
}

// random returns n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// proposal is an entry to add: the bytes to send, which are the canonical ones
// too (RFC 8785).
type proposal struct {
	digest [sha256.Size]byte
	sig    []byte
	body   []byte
}

// propose makes a hashedrekord 0.0.1 of a signature over digest, verified by a PEM
// certificate or key.
func propose(digest [sha256.Size]byte, key crypto.Signer, verifier []byte) (proposal, error) {
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return proposal{}, fmt.Errorf("sign: %w", err)
	}
	body := fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},`+
		`"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`, digest,
		base64.StdEncoding.EncodeToString(sig), base64.StdEncoding.EncodeToString(verifier))
	return proposal{digest, sig, body}, nil
}

func (s *services) newRekor(ctx context.Context) (*rekorTarget, error) {
	t := &rekorTarget{services: s}
	var err error
	if t.log, err = s.openLog(ctx); err != nil {
		return nil, err
	}
	t.signer, err = newSigner()
	return t, err
}

// openLog learns the log's trees and their keys, which have to be among the
// trusted ones if there are any.
func (s *services) openLog(ctx context.Context) (*check.LogV1, error) {
	if s.Rekor == "" {
		return nil, fmt.Errorf("transparency log: %w", errNoURL)
	}
	host, err := hostOf(s.RekorHost, s.Rekor)
	if err != nil {
		return nil, err
	}
	data, err := s.client.get(ctx, s.Rekor+"/api/v1/log")
	if err != nil {
		return nil, fmt.Errorf("ask the log for its trees: %w", err)
	}
	trees, err := parseLogInfo(data)
	if err != nil {
		return nil, err
	}
	var first int64
	var shards []check.Shard
	for _, tree := range trees {
		key, err := s.treeKey(ctx, tree.id)
		if err != nil {
			return nil, err
		}
		shards = append(shards, check.Shard{TreeID: tree.id, First: first, Key: key})
		first += tree.size
	}
	return check.NewLogV1(host, shards)
}

type treeInfo struct{ id, size int64 }

// parseLogInfo reads a LogInfo: inactive trees, oldest first, then the active one.
func parseLogInfo(data []byte) ([]treeInfo, error) {
	type tree struct {
		ID   string `json:"treeID"`
		Size int64  `json:"treeSize"`
	}
	var info struct {
		tree

		Inactive []tree `json:"inactiveShards"`
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return nil, fmt.Errorf("parse the log's description: %w", err)
	}
	var trees []treeInfo
	for _, t := range append(info.Inactive, info.tree) {
		id, err := strconv.ParseInt(t.ID, 10, 64)
		if err != nil || id <= 0 || t.Size < 0 {
			return nil, fmt.Errorf("parse the log's description: tree %q of %d entries", t.ID, t.Size)
		}
		trees = append(trees, treeInfo{id, t.Size})
	}
	return trees, nil
}

func (s *services) treeKey(ctx context.Context, id int64) (*ecdsa.PublicKey, error) {
	data, err := s.client.get(ctx, fmt.Sprintf("%s/api/v1/log/publicKey?treeID=%d", s.Rekor, id))
	if err != nil {
		return nil, fmt.Errorf("ask the log for the key of tree %d: %w", id, err)
	}
	keys, err := ParseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("read the key of tree %d: %w", id, err)
	}
	key, ok := keys[0].(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key of tree %d is %T, want ECDSA", id, keys[0])
	}
	if len(s.Trust.Rekor) > 0 && !slices.ContainsFunc(s.Trust.Rekor, func(k crypto.PublicKey) bool { return key.Equal(k) }) {
		return nil, fmt.Errorf("the key of tree %d is none of the trusted ones", id)
	}
	return key, nil
}

func (s *services) sendEntry(ctx context.Context, body []byte) ([]byte, error) {
	return s.client.do(ctx, request{
		method: http.MethodPost, url: s.Rekor + "/api/v1/log/entries", contentType: "application/json",
		body: body, want: []int{http.StatusCreated},
	})
}

// verifyAdded verifies the answer to a new entry.
func verifyAdded(log *check.LogV1, p proposal, answer []byte, now time.Time) (check.Entry, error) {
	e, err := log.Entry(answer, p.body)
	if err != nil {
		return check.Entry{}, err
	}
	if at := time.Unix(e.IntegratedTime, 0); now.Sub(at).Abs() > check.MaxSkew {
		return check.Entry{}, check.Wrong(check.Time, "integrated at %v, %v from now", at.UTC(), now.Sub(at))
	}
	return e, nil
}

func (t *rekorTarget) prepare(context.Context) (drive.Call, error) {
	p, err := propose(digest(), t.signer.key, t.signer.pem)
	if err != nil {
		return drive.Call{}, err
	}
	var answer []byte
	return drive.Call{
		Send: func(ctx context.Context) (err error) {
			answer, err = t.sendEntry(ctx, p.body)
			return err
		},
		Verify: func() error {
			_, err := verifyAdded(t.log, p, answer, t.Now())
			return err
		},
	}, nil
}

// rekor2Target adds a hashedrekord 0.0.2 to a Rekor v2 log.
type rekor2Target struct {
	*services

	log    *check.LogV2
	signer signer
}

func (s *services) newRekor2() (*rekor2Target, error) {
	if s.Rekor2 == "" {
		return nil, fmt.Errorf("transparency log of version 2: %w", errNoURL)
	}
	if s.Trust.Rekor2 == nil {
		return nil, errors.New("the v2 log's key is needed, which no protocol hands out: give it or a trusted root")
	}
	origin, err := hostOf(s.Rekor2Origin, s.Rekor2)
	if err != nil {
		return nil, err
	}
	t := &rekor2Target{services: s}
	if t.log, err = check.NewLogV2(origin, s.Trust.Rekor2); err != nil {
		return nil, err
	}
	t.signer, err = newSigner()
	return t, err
}

func (t *rekor2Target) prepare(context.Context) (drive.Call, error) {
	sum := digest()
	sig, err := ecdsa.SignASN1(rand.Reader, t.signer.key, sum[:])
	if err != nil {
		return drive.Call{}, fmt.Errorf("sign: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	signature := fmt.Sprintf(`{"content":"%s","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256","x509Certificate":{"rawBytes":"%s"}}}`,
		b64(sig), b64(t.signer.der))
	body := fmt.Appendf(nil, `{"hashedRekordRequestV002":{"digest":"%s","signature":%s}}`, b64(sum[:]), signature)
	canonical := fmt.Appendf(nil, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"%s"},"signature":%s}}}`,
		b64(sum[:]), signature)
	var answer []byte
	return drive.Call{
		Send: func(ctx context.Context) (err error) {
			answer, err = t.client.do(ctx, request{
				method: http.MethodPost, url: t.Rekor2 + "/api/v2/log/entries", contentType: "application/json",
				body: body, want: []int{http.StatusCreated},
			})
			return err
		},
		Verify: func() error { return t.log.Entry(answer, canonical) },
	}, nil
}

// entryURL is where an entry is read, by its ID or its index.
func entryURL(base, id string, index int64, by string) string {
	if by == "index" {
		return base + "/api/v1/log/entries?logIndex=" + strconv.FormatInt(index, 10)
	}
	return base + "/api/v1/log/entries/" + url.PathEscape(id)
}
