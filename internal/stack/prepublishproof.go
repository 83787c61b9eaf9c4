package stack

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	ct "github.com/google/certificate-transparency-go"
	"github.com/sigstore/timestamp-authority/v2/pkg/verification"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// originV1 is how a version 1 log names a tree, after its host.
var originV1 = regexp.MustCompile(`^ - [0-9]+$`)

// verifyCheckpoint verifies a signed note with the keys that clients have for its
// log, and that its names are the log's: the signer's is the host of the base URL,
// and the origin begins with it (contract trust-material §6.2). It returns the log;
// if now is not zero, one that is trusted then.
func verifyCheckpoint(note string, logs []trust.KnownLog, version uint32, now time.Time) (trust.KnownLog, error) {
	text, lines, ok := strings.Cut(note, "\n\n")
	if !ok {
		return trust.KnownLog{}, errors.New("its checkpoint is not a signed note")
	}
	text += "\n"
	origin, _, _ := strings.Cut(text, "\n")
	err := errors.New("its checkpoint has no signature that a client could read")
	for line := range strings.Lines(lines) {
		parts := strings.Fields(line)
		if len(parts) != 3 || parts[0] != "\u2014" {
			continue
		}
		sig, decodeErr := base64.StdEncoding.DecodeString(parts[2])
		if decodeErr != nil || len(sig) < 5 {
			continue
		}
		for _, l := range logs {
			if err = signedNote(l, parts[1], origin, text, sig, version); err != nil {
				continue
			}
			if !now.IsZero() && !l.Window.Contains(now) {
				return l, fmt.Errorf("its key %x signs, and would not be trusted now", l.ID)
			}
			return l, nil
		}
	}
	if len(logs) == 0 {
		err = fmt.Errorf("no key for it is in the %s to be published", trust.TrustedRootName)
	}
	return trust.KnownLog{}, err
}

// signedNote verifies one signature line with one key.
func signedNote(l trust.KnownLog, name, origin, text string, sig []byte, version uint32) error {
	host := hostname(l.BaseURL)
	rest, isHost := strings.CutPrefix(origin, host)
	switch {
	case name != host:
		return fmt.Errorf("its checkpoint is signed by the name %q, and clients expect the host of %s", name, l.BaseURL)
	case !isHost || version == 1 && !originV1.MatchString(rest) || version == 2 && rest != "":
		return fmt.Errorf("its checkpoint has the origin %q, and clients expect the host of %s", origin, l.BaseURL)
	case !bytes.Equal(sig[:4], l.ID[:4]) || !verifies(l.PublicKey, []byte(text), sig[4:]):
		return fmt.Errorf("its checkpoint does not verify with the key that is to be published for %s", l.BaseURL)
	}
	return nil
}

// verifies reports whether sig is by an ECDSA key, with SHA-256, or an Ed25519 key.
func verifies(spki, message, sig []byte) bool {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return false
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(k, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, sig)
	}
	return false
}

// checkCTLog verifies the log's head, that its newest entry is under it, and the
// certificate in that by the chains of the files.
func (c *liveCheck) checkCTLog(ctx context.Context, base string) error {
	var answer ct.GetSTHResponse
	err := c.getJSON(ctx, base+ct.GetSTHPath, &answer)
	if errors.Is(err, errNotThere) && !c.known[base] && strings.HasPrefix(base, c.own) {
		return nil // it is published before it is served, with a key of this directory
	}
	if err != nil {
		return err
	}
	sth, err := answer.ToSignedTreeHead()
	if err != nil {
		return fmt.Errorf("%s%s: %w", base, ct.GetSTHPath, err)
	}
	if !slices.ContainsFunc(c.root.CTLogs, func(l trust.KnownLog) bool { return l.BaseURL == base && signedHead(l.PublicKey, *sth) }) {
		return errors.New("its tree head does not verify with the key that is to be published for it")
	}
	if sth.TreeSize == 0 {
		return nil // it has nothing to show yet
	}
	last := sth.TreeSize - 1
	var entry ct.GetEntryAndProofResponse
	if err := c.getJSON(ctx, fmt.Sprintf("%s%s?leaf_index=%d&tree_size=%d", base, ct.GetEntryAndProofPath, last, sth.TreeSize), &entry); err != nil {
		return err
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entry.LeafInput)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, last, sth.TreeSize, leaf, entry.AuditPath, sth.SHA256RootHash[:]); err != nil {
		return fmt.Errorf("its newest entry is not under its tree head: %w", err)
	}
	return c.checkNewest(ct.LeafEntry{LeafInput: entry.LeafInput, ExtraData: entry.ExtraData}, last)
}

// signedHead reports whether a key signed a tree head (RFC 6962 §3.5).
func signedHead(spki []byte, sth ct.SignedTreeHead) bool {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return false
	}
	verifier, err := ct.NewSignatureVerifier(key)
	return err == nil && verifier.VerifySTHSignature(sth) == nil
}

// checkNewest verifies the newest certificate of a CT log if an authority of the
// files is named as its issuer, by name and key: a log may take certificates of others,
// too, whatever they are called.
func (c *liveCheck) checkNewest(leaf ct.LeafEntry, index uint64) error {
	entry, err := ct.RawLogEntryFromLeaf(int64(index), &leaf)
	if err != nil {
		return fmt.Errorf("its newest entry cannot be read: %w", err)
	}
	cert, err := x509.ParseCertificate(entry.Cert.Data)
	if err != nil {
		return fmt.Errorf("its newest entry holds no certificate: %w", err)
	}
	named := slices.DeleteFunc(slices.Clone(c.root.CAs), func(a trust.Authority) bool {
		ca := a.Chain[0]
		return !bytes.Equal(ca.RawSubject, cert.RawIssuer) || len(cert.AuthorityKeyId) > 0 && !bytes.Equal(ca.SubjectKeyId, cert.AuthorityKeyId)
	})
	if len(named) == 0 {
		return nil
	}
	by := slices.DeleteFunc(named, func(a trust.Authority) bool { return cert.CheckSignatureFrom(a.Chain[0]) != nil })
	switch {
	case len(by) == 0:
		return fmt.Errorf("its newest certificate names %s as its issuer, and does not verify with the chain that is to be published", cert.Issuer)
	case !slices.ContainsFunc(by, func(a trust.Authority) bool { return a.Window.Contains(cert.NotBefore) }):
		return fmt.Errorf("its newest certificate, of %s, is outside the window that is to be published for its chain", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkTSA compares the authority's chain, and verifies a timestamp of now with
// what the files have.
func (c *liveCheck) checkTSA(ctx context.Context, s trust.ConfigService) error {
	data, err := c.get(ctx, s.URL+"/certchain")
	if err != nil {
		return err
	}
	certs, err := pki.ParseCertificatesPEM(data)
	if err != nil {
		return fmt.Errorf("%s/certchain: %w", s.URL, err)
	}
	if err := knows(c.root.TSAs, certs, true, c.now); err != nil {
		return err
	}
	content := []byte(rand.Text())
	nonce := new(big.Int).SetBytes([]byte(rand.Text())[:8])
	digest := sha256.Sum256(content)
	query := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Nonce: nonce}
	body, err := query.Marshal()
	if err != nil {
		return fmt.Errorf("encode timestamp query: %w", err)
	}
	answer, err := c.do(ctx, http.MethodPost, s.URL, "application/timestamp-query", body)
	if err != nil {
		return err
	}
	opts := verification.VerifyOpts{TSACertificate: certs[0], Intermediates: certs[1 : len(certs)-1], Roots: certs[len(certs)-1:], Nonce: nonce, CurrentTime: c.now}
	stamp, err := verification.VerifyTimestampResponse(answer, bytes.NewReader(content), opts)
	if err != nil {
		return fmt.Errorf("its timestamp does not verify with the chain that is to be published: %w", err)
	}
	if !slices.ContainsFunc(c.root.TSAs, func(a trust.Authority) bool { return a.Chain[0].Equal(certs[0]) && a.Window.Contains(stamp.Time) }) {
		return fmt.Errorf("its timestamp, of %s, is outside the window that is to be published", stamp.Time.UTC().Format(time.RFC3339))
	}
	return nil
}

// newest is the index of the log's newest entry as its API wants it.
func (c *liveCheck) newest() string { return strconv.FormatUint(c.entries-1, 10) }
