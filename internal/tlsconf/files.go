package tlsconf

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// maxFile bounds one PEM file, in bytes.
const maxFile = 1 << 20

// watch is a set of files that are taken together or not at all. They are told
// by content: a symbolic link somewhere on the way, as Kubernetes swaps ..data,
// is as good as a new file.
type watch struct {
	paths   []string
	private string // that of paths which strangers must not be able to read, or ""
	take    func(contents [][]byte) error

	taken, seen [sha256.Size]byte // of the contents in use, and at the last look
	err         error             // why what was seen is not in use
}

// now takes what the files hold.
func (w *watch) now() error {
	contents, err := w.read()
	if err == nil {
		err = w.take(contents)
	}
	if w.err = err; err != nil {
		return err
	}
	w.taken = digest(contents, nil)
	w.seen = w.taken
	return nil
}

// look takes what the files hold if that is new and was there at the last look
// too: between two looks a set of files gets written. It reports whether it took
// any. What was refused is tried again at each look, because time may mend it.
func (w *watch) look() bool {
	contents, err := w.read()
	sum := digest(contents, err)
	switch {
	case sum == w.taken:
		w.seen, w.err = sum, nil
	case sum != w.seen:
		w.seen = sum
	case err != nil:
		w.err = err
	default:
		if w.err = w.take(contents); w.err == nil {
			w.taken = sum
			return true
		}
	}
	return false
}

func (w *watch) read() ([][]byte, error) {
	var contents [][]byte
	for _, path := range w.paths {
		data, err := readFile(path, path == w.private)
		if err != nil {
			return nil, err
		}
		contents = append(contents, data)
	}
	return contents, nil
}

func readFile(path string, private bool) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	// The group may read, as of any secret that an operator hands to a process:
	// orchestrators hand files to processes that are not root that way.
	if private && info.Mode().Perm()&0o027 != 0 {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("mode is %v, want nothing for other users and no writing for the group: 0640 at most: chmod 600 it", info.Mode())}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("over %d bytes", maxFile)}
	}
	return data, err
}

// digest tells contents, or the failure to read them, from any others.
func digest(contents [][]byte, err error) [sha256.Size]byte {
	var sums []byte
	for _, c := range contents {
		sum := sha256.Sum256(c)
		sums = append(sums, sum[:]...)
	}
	if err != nil {
		sums = append(sums, err.Error()...)
	}
	return sha256.Sum256(sums)
}

// watch returns the files as a set.
func (f Files) watch(take func([][]byte) error) *watch {
	w := &watch{private: f.Key, paths: []string{f.Certificate, f.Key}, take: take}
	if f.Authorities != "" {
		w.paths = append(w.paths, f.Authorities)
	}
	return w
}

// CheckFiles says why a server of host could not use f now, or nil.
func CheckFiles(f Files, host string, now time.Time) error {
	return f.watch(func(contents [][]byte) error {
		_, err := f.identity(contents, host, now)
		return err
	}).now()
}

// identity makes sense of what the files hold.
func (f Files) identity(contents [][]byte, host string, now time.Time) (id identity, err error) {
	if id.chain, err = certificates(contents[0]); err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.Certificate, err)
	}
	if id.key, err = privateKey(contents[1]); err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.Key, err)
	}
	if !id.fits() {
		return identity{}, fmt.Errorf("key %s is not that of the first certificate in %s, %s", f.Key, f.Certificate, id.chain[0].Subject)
	}
	if len(contents) > 2 {
		if id.authorities, err = certificates(contents[2]); err != nil {
			return identity{}, fmt.Errorf("%s: %w", f.Authorities, err)
		}
	}
	if err := id.check(host, now); err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.Certificate, err)
	}
	return id, nil
}

// fits reports whether the key is the leaf's.
func (id identity) fits() bool {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	pub, ok := id.chain[0].PublicKey.(equaler)
	return ok && pub.Equal(id.key.Public())
}

// takePair is called with mu held, or by New.
func (s *Source) takePair(contents [][]byte) error {
	id, err := s.cfg.Files.identity(contents, s.cfg.Host, s.cfg.Now())
	if err == nil {
		s.identity = id
	}
	return err
}

// check demands what every client will: a server's certificate for host, valid
// now, that leads to the authorities if there are any.
func (id identity) check(host string, now time.Time) error {
	leaf := id.chain[0]
	usages := leaf.ExtKeyUsage
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate is valid from %s only", stamp(leaf.NotBefore))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate expired at %s", stamp(leaf.NotAfter))
	case len(usages)+len(leaf.UnknownExtKeyUsage) > 0 &&
		!slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny):
		return errors.New("certificate is not for servers: its extended key usage lacks serverAuth")
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("certificate is not for the host of the URL: %w", err)
	}
	if id.authorities == nil {
		return nil
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range id.authorities {
		opts.Roots.AddCert(c)
	}
	for _, c := range id.chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return fmt.Errorf("certificate does not lead to the authorities that clients are given: %w", err)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
