package signing

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// maxCheckpointSigners bounds the signature lines of a checkpoint, as other
// verifiers do.
const maxCheckpointSigners = 20

// originV1 is the origin line of a Rekor v1 checkpoint, "<host> - <tree ID>". It
// takes whatever upstream's library takes for one: from a v2 entry behind such a
// line that library compares nothing with the bundle, so none may slip past here.
var originV1 = regexp.MustCompile(`^.* - [0-9]+$`)

// checkpoint is a signed note, of which nothing is verified.
type checkpoint struct {
	origin  string
	size    int64
	root    []byte
	signers []string // names of the signature lines
}

// parseCheckpoint reads a checkpoint (C2SP tlog-checkpoint) as its strictest
// readers do: one blank line, sizes in plain decimal, at most 20 signatures.
func parseCheckpoint(text string) (checkpoint, error) {
	body, lines, ok := strings.Cut(text, "\n\n")
	if !ok || strings.Contains(lines, "\n\n") || !strings.HasSuffix(lines, "\n") {
		return checkpoint{}, errors.New("the checkpoint is not a text, one blank line and lines of signatures")
	}
	head := strings.Split(body, "\n")
	if len(head) < 3 || head[0] == "" {
		return checkpoint{}, errors.New("the checkpoint lacks origin, size or root")
	}
	c := checkpoint{origin: head[0]}
	var err error
	if c.size, err = strconv.ParseInt(head[1], 10, 64); err != nil || c.size < 0 || strconv.FormatInt(c.size, 10) != head[1] {
		return checkpoint{}, fmt.Errorf("the checkpoint's size %q is not a number", head[1])
	}
	if c.root, err = base64.StdEncoding.Strict().DecodeString(head[2]); err != nil {
		return checkpoint{}, fmt.Errorf("decode the checkpoint's root: %w", err)
	}
	for line := range strings.Lines(lines) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(parts) != 3 || parts[0] != "\u2014" || parts[1] == "" {
			return checkpoint{}, errors.New("the checkpoint has a line that is no signature")
		}
		if sig, err := base64.StdEncoding.Strict().DecodeString(parts[2]); err != nil || len(sig) < 5 {
			return checkpoint{}, errors.New("the checkpoint has a signature that cannot be decoded")
		}
		c.signers = append(c.signers, parts[1])
	}
	if len(c.signers) > maxCheckpointSigners {
		return checkpoint{}, fmt.Errorf("the checkpoint has %d signatures, more than %d", len(c.signers), maxCheckpointSigners)
	}
	return c, nil
}

// checkProof checks an inclusion proof whose parts were verified: that they agree
// with one another, and that the log is where the trust root says it is.
func checkProof(e *tlog.Entry, log *root.TransparencyLog) error {
	entry := e.TransparencyLogEntry()
	p := entry.GetInclusionProof()
	c, err := parseCheckpoint(p.GetCheckpoint().GetEnvelope())
	if err != nil {
		return err
	}
	switch {
	case originV1.MatchString(c.origin) == e.IsRekorV2():
		return fmt.Errorf("an entry of this version is not in log %q", c.origin)
	case c.size != p.GetTreeSize():
		return fmt.Errorf("the proof is for %d entries, the checkpoint for %d", p.GetTreeSize(), c.size)
	case !bytes.Equal(c.root, p.GetRootHash()):
		return errors.New("proof and checkpoint have different roots")
	case e.IsRekorV2() && p.GetLogIndex() != entry.GetLogIndex():
		return fmt.Errorf("the proof is for index %d, the entry has %d", p.GetLogIndex(), entry.GetLogIndex())
	}
	if err := checkSigners(c, log.BaseURL); err != nil {
		return err
	}
	if !e.IsRekorV2() {
		return nil
	}
	// Upstream rebuilds the leaf from the bundle; what is logged has to be that.
	leaf := rfc6962.DefaultHasher.HashLeaf(entry.GetCanonicalizedBody())
	err = proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.GetLogIndex()), uint64(c.size), leaf, p.GetHashes(), c.root)
	if err != nil {
		return errors.New("the body is not what the log holds at this index")
	}
	return nil
}

// checkSigners checks that a signature line is by the log at base.
func checkSigners(c checkpoint, base string) error {
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("parse the log's base URL in the trust root: %w", err)
	}
	for _, name := range c.signers {
		if name == u.Hostname() || name == u.Host {
			return nil
		}
	}
	return fmt.Errorf("the checkpoint is signed by %s, not by the log at %q", strings.Join(c.signers, ", "), base)
}
