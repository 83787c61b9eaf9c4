package release

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// writeSums writes both checksum files over what the tree holds, the provenance
// that arrives after them, and the checksums beside each file (A1).
func (b *builder) writeSums(ctx context.Context) error {
	t, err := openTree(b.dir)
	if err != nil {
		return err
	}
	defer t.close() //nolint:errcheck // only read
	sums := [2][]Sum{}
	for _, f := range t.files {
		d, err := t.digest(ctx, f.path)
		if err != nil {
			return err
		}
		for i, spec := range sumsSpecs() {
			sums[i] = append(sums[i], Sum{Path: f.path, Digest: slices.Clone(spec.of(d))})
		}
		if err := b.writeOwnSums(f.path, d); err != nil {
			return err
		}
	}
	late := map[string][]byte{}
	for i, spec := range sumsSpecs() {
		late[spec.name] = EncodeSums(sums[i])
	}
	if slices.Contains(b.plan.singles, Provenance) {
		if late[Provenance], err = b.provenance(sums[0]); err != nil {
			return err
		}
	}
	for name, data := range late {
		if err := b.put(name, data); err != nil {
			return err
		}
		if err := b.writeOwnSums(name, digestOf(data)); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) writeOwnSums(name string, d digests) error {
	for _, spec := range sumsSpecs() {
		if err := b.put(name+spec.suffix, []byte(hex.EncodeToString(spec.of(d)))); err != nil {
			return err
		}
	}
	return nil
}

// subject is a subject of an in-toto statement.
type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// provenance renders a SLSA v1 statement over the signed files and the
// images (contract release-artifacts §C1). It makes no claim beyond "somebody made a sample".
func (b *builder) provenance(sums []Sum) ([]byte, error) {
	var subjects []subject
	for _, s := range sums {
		if inSignedSet(s.Path) {
			subjects = append(subjects, subject{s.Path, map[string]string{"sha256": hex.EncodeToString(s.Digest)}})
		}
	}
	for _, image := range b.images {
		subjects = append(subjects, subject{image.Ref, map[string]string{"sha256": strings.TrimPrefix(image.Digest, "sha256:")}})
	}
	commit, err := b.commit()
	if err != nil {
		return nil, err
	}
	at := b.Created.UTC().Format(time.RFC3339)
	statement := map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "subject": subjects,
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate": map[string]any{
			"buildDefinition": map[string]any{
				"buildType":          "https://sigstack.invalid/buildtypes/sample/v1",
				"externalParameters": map[string]any{"version": b.Version},
				"resolvedDependencies": []any{map[string]any{
					"uri":    "git+https://github.com/kubernetes/kubernetes@refs/tags/" + b.Version,
					"digest": map[string]string{"gitCommit": commit},
				}},
			},
			"runDetails": map[string]any{
				"builder":  map[string]string{"id": "https://sigstack.invalid/builders/sample"},
				"metadata": map[string]string{"invocationId": b.Version + "/" + commit[:12], "startedOn": at, "finishedOn": at},
			},
		},
	}
	return json.Marshal(statement)
}

// commit returns the commit that git archive left in the source bundle, or one
// made up from the seed.
func (b *builder) commit() (_ string, err error) {
	f, err := os.Open(b.path(sourceTarball))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", sourceTarball, err)
	}
	header, err := tar.NewReader(z).Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read %s: %w", sourceTarball, err)
	}
	if header != nil && header.Typeflag == tar.TypeXGlobalHeader {
		if id := header.PAXRecords["comment"]; len(id) >= 40 {
			return id, nil
		}
	}
	made := sha256.Sum256(pseudoRandom(b.Seed, "commit"))
	return hex.EncodeToString(made[:20]), nil
}
