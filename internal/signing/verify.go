package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/transparency-dev/merkle/proof"
)

// Result is a passed verification.
type Result struct {
	Identity       string    `json:"identity"`        // certificate subject
	Issuer         string    `json:"issuer"`          // OIDC issuer that vouched for it
	Digest         string    `json:"digest"`          // "sha256:<hex>" of the artifact
	LogIndex       int64     `json:"log_index"`       // global index in the log
	IntegratedTime time.Time `json:"integrated_time"` // zero for logs that promise none (Rekor v2)
	Timestamp      time.Time `json:"timestamp"`       // of the first RFC 3161 token; zero without one
	TrustRoot      string    `json:"trust_root"`      // path and short hash
}

// VerifyFile verifies the file at path against a bundle, streaming it once.
// Errors are those of Verify, and of reading the file.
func VerifyFile(ctx context.Context, path string, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, fmt.Errorf("read artifact: %w", err)
	}
	res, err := Verify(ctx, f, b, trusted, id)
	return res, errors.Join(err, f.Close())
}

// Verify checks that b is a signature over artifact by id: certificate chain,
// SCT, log entry with inclusion proof and (for Rekor v1) signed entry timestamp,
// every RFC 3161 timestamp the bundle carries, signature and identity, all by the
// one trust root. A failed check is a *RefusedError.
func Verify(ctx context.Context, artifact io.Reader, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	_, algorithm := b.Digest()
	h := newHash(algorithm)
	if err := copyContext(ctx, h, artifact); err != nil {
		return Result{}, fmt.Errorf("read artifact: %w", err)
	}
	return VerifyDigest(h.Sum(nil), b, trusted, id)
}

// VerifyDigest is Verify for an artifact whose digest, by the algorithm that
// b.Digest names, the caller has computed.
func VerifyDigest(digest []byte, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	res, err := verifyBundle(digest, b, trusted, id)
	var refused *RefusedError
	if errors.As(err, &refused) {
		refused.TrustRoot = trusted.String()
	}
	return res, err
}

func verifyBundle(digest []byte, b *Bundle, trusted *TrustRoot, id *Identity) (Result, error) {
	claimed, algorithm := b.Digest()
	if claimed != nil && !bytes.Equal(claimed, digest) {
		return Result{}, refuse(CheckArtifact, fmt.Errorf("the bundle is for %s:%x, the artifact has %x", algorithm, claimed, digest))
	}
	entries, err := logEntries(b)
	if err != nil {
		return Result{}, err
	}
	v, err := newVerifier(b, entries, trusted)
	if err != nil {
		return Result{}, err
	}
	artifact := verify.WithArtifactDigest(algorithm, digest)
	got, err := v.Verify(b.entity, verify.NewPolicy(artifact, verify.WithCertificateIdentity(id.matcher)))
	if err != nil {
		return Result{}, explain(err, v, artifact, b, entries, trusted)
	}
	return newResult(got, entries[0], trusted, algorithm, digest), nil
}

// logEntries returns the bundle's log entries, at least one, each with the
// evidence that its kind of log gives.
func logEntries(b *Bundle) ([]*tlog.Entry, error) {
	if b.cert == nil {
		return nil, refuse(CheckBundle, errors.New("it is signed with a bare key; an identity needs a certificate"))
	}
	entries, err := b.entity.TlogEntries()
	if err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read log entries: %w", err))
	}
	if len(entries) == 0 {
		return nil, refuse(CheckLog, errors.New("the bundle has no log entry"))
	}
	for _, e := range entries {
		if !e.HasInclusionProof() {
			return nil, refuse(CheckInclusion, errors.New("a log entry has no inclusion proof"))
		}
		if !e.IsRekorV2() && !e.HasInclusionPromise() {
			return nil, refuse(CheckPromise, errors.New("a log entry has no signed entry timestamp"))
		}
		if err := checkKind(e); err != nil {
			return nil, refuse(CheckEntry, err)
		}
	}
	return entries, nil
}

// checkKind compares an entry's declared kind with the logged body's, which
// upstream takes on trust.
func checkKind(e *tlog.Entry) error {
	entry := e.TransparencyLogEntry()
	var body struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(entry.GetCanonicalizedBody(), &body); err != nil {
		return fmt.Errorf("parse body: %w", err)
	}
	if body.Kind != entry.GetKindVersion().GetKind() || body.APIVersion != entry.GetKindVersion().GetVersion() {
		return fmt.Errorf("it is declared as %s %s and logged as %s %s",
			entry.GetKindVersion().GetKind(), entry.GetKindVersion().GetVersion(), body.Kind, body.APIVersion)
	}
	return nil
}

// newVerifier demands all the evidence there is: upstream's observer timestamps
// would let a forged RFC 3161 token pass beside a valid SET.
func newVerifier(b *Bundle, entries []*tlog.Entry, trusted *TrustRoot) (*verify.Verifier, error) {
	options := []verify.VerifierOption{verify.WithSignedCertificateTimestamps(1), verify.WithTransparencyLog(1)}
	timed := false
	for _, e := range entries {
		timed = timed || !e.IsRekorV2()
	}
	if timed {
		options = append(options, verify.WithIntegratedTimestamps(1))
	}
	tokens, err := b.entity.Timestamps()
	if err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read timestamps: %w", err))
	}
	switch {
	// A root without any TSA cannot judge tokens, and the log's time suffices.
	case len(tokens) > 0 && (!timed || len(trusted.material.TimestampingAuthorities()) > 0):
		options = append(options, verify.WithSignedTimestamps(len(tokens)))
	case !timed:
		return nil, refuse(CheckTimestamp, errors.New("neither the log nor a timestamp authority says when it was signed"))
	}
	v, err := verify.NewVerifier(trusted.material, options...)
	if err != nil {
		return nil, fmt.Errorf("set up verifier: %w", err)
	}
	return v, nil
}

func newResult(got *verify.VerificationResult, entry *tlog.Entry, trusted *TrustRoot, algorithm string, digest []byte) Result {
	res := Result{
		Identity:       got.Signature.Certificate.SubjectAlternativeName,
		Issuer:         got.Signature.Certificate.Issuer,
		Digest:         algorithm + ":" + hex.EncodeToString(digest),
		LogIndex:       entry.LogIndex(),
		IntegratedTime: entry.IntegratedTime().UTC(),
		TrustRoot:      trusted.String(),
	}
	for _, ts := range got.VerifiedTimestamps {
		if ts.Type == "TimestampAuthority" && res.Timestamp.IsZero() {
			res.Timestamp = ts.Timestamp.UTC()
		}
	}
	return res
}

// explain finds the first check that err, the verifier's refusal, is due to. It
// runs on failures only, and every branch refuses.
func explain(err error, v *verify.Verifier, artifact verify.ArtifactPolicyOption, b *Bundle, entries []*tlog.Entry, trusted *TrustRoot) error {
	material := trusted.material
	if refused := explainLog(entries, material); refused != nil {
		return refused
	}
	logTimes, entryErr := verify.VerifyTlogEntry(b.entity, material, 1, true)
	if entryErr != nil {
		return refuse(CheckEntry, entryErr)
	}
	times, tokenErrs, tokenErr := verify.VerifySignedTimestamp(b.entity, material)
	if tokenErr = errors.Join(append(tokenErrs, tokenErr)...); tokenErr != nil && len(material.TimestampingAuthorities()) > 0 {
		return refuse(CheckTimestamp, tokenErr)
	}
	for _, t := range logTimes {
		times = append(times, &t)
	}
	for _, t := range times {
		chains, certErr := verify.VerifyLeafCertificate(t.Time, b.cert, material)
		if certErr != nil {
			return refuse(CheckCertificate, fmt.Errorf("no trusted chain at %s: %w", t.Time.UTC().Format(time.RFC3339), certErr))
		}
		if sctErr := verify.VerifySignedCertificateTimestamp(chains, 1, material); sctErr != nil {
			return refuse(CheckSCT, sctErr)
		}
	}
	if _, sigErr := v.Verify(b.entity, verify.NewPolicy(artifact, verify.WithoutIdentitiesUnsafe())); sigErr != nil {
		return refuse(CheckSignature, sigErr)
	}
	return refuse(CheckIdentity, err)
}

// explainLog judges each entry of a known log by itself.
func explainLog(entries []*tlog.Entry, material root.TrustedMaterial) error {
	known := false
	for _, e := range entries {
		key := hex.EncodeToString([]byte(e.LogKeyID()))
		log, ok := material.RekorLogs()[key]
		if !ok {
			continue
		}
		known = true
		if e.IsRekorV2() {
			continue
		}
		if err := tlog.VerifySET(e, material.RekorLogs()); err != nil {
			return refuse(CheckPromise, err)
		}
		if err := verifyInclusion(e, log); err != nil {
			return refuse(CheckInclusion, err)
		}
	}
	if !known {
		return refuse(CheckLog, errors.New("the entry's log is not in the trust root"))
	}
	return nil
}

// verifyInclusion checks a Rekor v1 entry's inclusion proof and checkpoint.
func verifyInclusion(e *tlog.Entry, log *root.TransparencyLog) error {
	key, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return fmt.Errorf("load log key: %w", err)
	}
	err = tlog.VerifyInclusion(e, key)
	var mismatch proof.RootMismatchError
	if errors.As(err, &mismatch) { // it words the hashes as lists of numbers
		return fmt.Errorf("calculated root %x does not match expected root %x", mismatch.CalculatedRoot, mismatch.ExpectedRoot)
	}
	return err
}

func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	default:
		return sha256.New()
	}
}

// copyContext copies src to dst, stopping when ctx ends.
func copyContext(ctx context.Context, dst io.Writer, src io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := src.Read(buf)
		if _, werr := dst.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
