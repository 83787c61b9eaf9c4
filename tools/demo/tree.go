package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// linkTree copies a tree by hard links. Files of the copy are changed with
// replace, which leaves the original alone.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
}

// replace puts a new file in the place of the one at path, if there is one.
func replace(path string, data []byte) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// redoChecksums makes the two sums files of a tree, their checksums and those
// beside path agree with new content of path.
func redoChecksums(tree, path string, data []byte) error {
	for _, sums := range []string{"SHA256SUMS", "SHA512SUMS"} {
		list, err := os.ReadFile(filepath.Join(tree, sums))
		if err != nil {
			return err
		}
		redone, err := redoLine(string(list), path, hexDigest(sums, data))
		if err != nil {
			return fmt.Errorf("%s: %w", sums, err)
		}
		if err := replace(filepath.Join(tree, sums), []byte(redone)); err != nil {
			return err
		}
		if err := redoSidecars(tree, sums, []byte(redone)); err != nil {
			return err
		}
	}
	return redoSidecars(tree, path, data)
}

func redoSidecars(tree, path string, data []byte) error {
	for _, suffix := range []string{".sha256", ".sha512"} {
		if err := replace(filepath.Join(tree, path+suffix), []byte(hexDigest(suffix, data))); err != nil {
			return err
		}
	}
	return nil
}

// redoLine puts digest into the line of path.
func redoLine(list, path, digest string) (string, error) {
	lines := strings.Split(list, "\n")
	for i, line := range lines {
		if _, name, ok := strings.Cut(line, "  "); ok && name == path {
			lines[i] = digest + "  " + path
			return strings.Join(lines, "\n"), nil
		}
	}
	return "", fmt.Errorf("%s is not listed", path)
}

// hexDigest returns the digest that a file of this name or suffix holds.
func hexDigest(name string, data []byte) string {
	if strings.Contains(name, "512") {
		sum := sha512.Sum512(data)
		return hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
