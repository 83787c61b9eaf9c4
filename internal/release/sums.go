package release

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Sum is one line of a checksum file.
type Sum struct {
	Path   string // relative to the tree, with slashes
	Digest []byte
}

// EncodeSums renders a checksum file: "<hex>  <path>" lines in the given order,
// without a final newline (A1).
func EncodeSums(sums []Sum) []byte {
	var b bytes.Buffer
	for i, s := range sums {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(hex.EncodeToString(s.Digest))
		b.WriteString("  ")
		b.WriteString(s.Path)
	}
	return b.Bytes()
}

// ParseSums reads a checksum file of digests of size bytes. It accepts exactly
// what EncodeSums writes; a path outside the tree or one listed twice is an error.
func ParseSums(data []byte, size int) ([]Sum, error) {
	if len(data) == 0 {
		return nil, errors.New("checksum file is empty")
	}
	lines := strings.Split(string(data), "\n")
	sums := make([]Sum, 0, len(lines))
	seen := make(map[string]bool, len(lines))
	for i, line := range lines {
		s, err := parseSum(line, size)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if seen[s.Path] {
			return nil, fmt.Errorf("line %d: %q is listed twice", i+1, s.Path)
		}
		seen[s.Path] = true
		sums = append(sums, s)
	}
	return sums, nil
}

func parseSum(line string, size int) (Sum, error) {
	digits, name, ok := strings.Cut(line, "  ")
	if !ok {
		return Sum{}, errors.New("no two spaces between checksum and path")
	}
	digest, err := parseDigest(digits, size)
	if err != nil {
		return Sum{}, err
	}
	if err := checkPath(name); err != nil {
		return Sum{}, err
	}
	return Sum{Path: name, Digest: digest}, nil
}

// parseDigest reads size bytes in lower-case hex.
func parseDigest(digits string, size int) ([]byte, error) {
	digest, err := hex.DecodeString(digits)
	if err != nil || len(digest) != size || hex.EncodeToString(digest) != digits {
		return nil, fmt.Errorf("checksum is not %d lower-case hex digits", 2*size)
	}
	return digest, nil
}
