package ceremony

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigstack/internal/durable"
	tufroot "sigstack/tuf-root"
)

// signature is the content of a file in dirSignatures.
type signature struct {
	Ceremony string    `json:"ceremony"` // ID
	Role     string    `json:"role"`     // root or targets
	Key      string    `json:"key"`      // ID
	Digest   string    `json:"digest"`   // SHA-256 of what was signed, in hex
	Sig      string    `json:"sig"`      // hex
	Who      string    `json:"who"`
	At       time.Time `json:"at"`
	// After is the hash of the transcript's last line that the signer saw: a transcript
	// that was written anew does not have it.
	After string `json:"after"`
}

var signatureName = regexp.MustCompile(`^(root|targets)-[0-9a-f]{64}\.json$`)

func (s signature) file() string { return s.Role + "-" + s.Key + ".json" }

func parseSignature(data []byte) (signature, error) {
	s, err := decode[signature](data)
	if err != nil {
		return signature{}, err
	}
	if !hexDigest.MatchString(s.Ceremony) || !hexDigest.MatchString(s.Digest) || !hexDigest.MatchString(s.After) {
		return signature{}, errors.New("a digest in it is none")
	}
	if !signatureName.MatchString(s.file()) {
		return signature{}, errors.New("its role or key is none")
	}
	if raw, err := hex.DecodeString(s.Sig); err != nil || len(raw) == 0 || hex.EncodeToString(raw) != s.Sig {
		return signature{}, errors.New("its signature is not in hex")
	}
	if s.At.IsZero() || !s.At.Equal(wholeSeconds(s.At)) {
		return signature{}, errors.New("its time is not in whole seconds")
	}
	return s, plainText(s.Who)
}

// readSignatures reads and verifies all signature files, the oldest first.
func (c *Ceremony) readSignatures(r folder) ([]signature, error) {
	names, err := r.names(dirSignatures)
	if err != nil {
		return nil, err
	}
	var out []signature
	for _, name := range names {
		path := dirSignatures + "/" + name
		if !signatureName.MatchString(name) {
			return nil, fmt.Errorf("%s is not the name of a signature: %w; remove it", path, ErrChanged)
		}
		data, err := r.read(path)
		if err != nil {
			return nil, err
		}
		s, err := parseSignature(data)
		if err == nil && s.file() != name {
			err = fmt.Errorf("it is %s by its content", s.file())
		}
		if err == nil {
			err = c.verify(s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w; remove it and let its owner sign again", path, changed(err))
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b signature) int {
		if d := a.At.Compare(b.At); d != 0 {
			return d
		}
		return strings.Compare(a.file(), b.file())
	})
	return out, nil
}

// verify checks a signature against the drafts.
func (c *Ceremony) verify(s signature) error {
	if s.Ceremony != c.id {
		return fmt.Errorf("it is of another ceremony, %.16s: %w", s.Ceremony, ErrChanged)
	}
	key, draft, ok := c.key(s.Role, s.Key)
	switch {
	case !ok:
		return fmt.Errorf("no %s asks for key %.16s: %w", s.Role, s.Key, ErrWrongKey)
	case s.Digest != draft.SHA256:
		return fmt.Errorf("it is over another draft of %s: %w", s.Role, ErrChanged)
	}
	raw, err := hex.DecodeString(s.Sig)
	if err != nil {
		return fmt.Errorf("read signature: %w", err)
	}
	if err := draft.Verify(key.Public, raw); err != nil {
		return fmt.Errorf("%w: %w", err, ErrChanged)
	}
	return nil
}

// Sign signs every draft that asks for the key, in the name of who, and enters it in
// the transcript. The folder is read and checked anew before, and must be the one that
// was opened. The error matches ErrSigned when the key has signed already, ErrWrongKey
// when nothing asks for it, ErrExpired when it is too late, and ErrChanged. An
// interrupted Sign can be repeated, and so can one whose error matches
// durable.ErrLocked: another process is signing.
func (c *Ceremony) Sign(key crypto.Signer, who string, now time.Time) (err error) {
	if err := plainText(who); err != nil {
		return fmt.Errorf("name of the signer: %w", err)
	}
	if key == nil {
		return errors.New("sign: no key")
	}
	id, err := tufroot.KeyID(key.Public())
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := c.refresh(); err != nil {
		return err
	}
	if err := c.inTime(now); err != nil {
		return err
	}
	drafts, err := c.unsigned(id)
	if err != nil {
		return err
	}
	after := c.head()
	for _, draft := range drafts {
		if err := c.signOne(draft, key, who, now, after); err != nil {
			return err
		}
	}
	return c.record()
}

// lock keeps other processes of this machine from writing at the same time: each
// writes the whole transcript. A medium that is gone is told as such.
func (c *Ceremony) lock() (unlock func() error, err error) {
	l, err := durable.LockDir(c.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; is the medium still there?", err)
	}
	if err != nil {
		return nil, err
	}
	return l.Unlock, nil
}

// refresh reads the folder again.
func (c *Ceremony) refresh() error {
	again, err := Open(c.folder)
	if err != nil {
		return err
	}
	if again.id != c.id {
		return fmt.Errorf("%s holds another ceremony by now: %w; look at it first", c.folder, ErrChanged)
	}
	again.writeFile = c.writeFile
	*c = *again
	return nil
}

func (c *Ceremony) inTime(now time.Time) error {
	switch {
	case now.Before(c.plan.Started.Add(-skew)):
		return fmt.Errorf("the clock of this machine says %s, but the ceremony started at %s: set the clock first", moment(now), moment(c.plan.Started))
	case now.After(c.plan.Until):
		return fmt.Errorf("it was to be signed until %s: %w; start another ceremony", moment(c.plan.Until), ErrExpired)
	}
	for _, d := range []*tufroot.Document{c.root, c.targets} {
		if d != nil && !d.Expires.After(now) {
			return fmt.Errorf("the draft of %s expired at %s: %w; start another ceremony", d.Role, moment(d.Expires), ErrExpired)
		}
	}
	return nil
}

// unsigned lists the drafts that ask for a key and do not have its signature.
func (c *Ceremony) unsigned(id string) ([]*tufroot.Document, error) {
	var out []*tufroot.Document
	var had []signature
	for _, draft := range []*tufroot.Document{c.root, c.targets} {
		if draft == nil {
			continue
		}
		if _, _, wanted := c.key(draft.Role, id); !wanted {
			continue
		}
		if i := slices.IndexFunc(c.signatures, func(s signature) bool { return s.Role == draft.Role && s.Key == id }); i >= 0 {
			had = append(had, c.signatures[i])
			continue
		}
		out = append(out, draft)
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(had) == 0:
		return nil, fmt.Errorf("%w: its ID is %.16s; asked for are %s. Take one of these, or start a ceremony whose root has this one", ErrWrongKey, id, c.keyList())
	case len(c.unrecorded()) > 0:
		return nil, nil // an interrupted Sign: it only has to enter the transcript
	}
	return nil, fmt.Errorf("%w: %s, at %s. Hand the folder to the next signer", ErrSigned, had[0].Who, moment(had[0].At))
}

func (c *Ceremony) keyList() string {
	var ids []string
	for _, k := range c.keys() {
		ids = append(ids, fmt.Sprintf("%.16s", k.ID))
	}
	return strings.Join(ids, ", ")
}

func (c *Ceremony) signOne(draft *tufroot.Document, key crypto.Signer, who string, now time.Time, after string) error {
	made, err := draft.Sign(key)
	if err != nil {
		return err
	}
	s := signature{
		Ceremony: c.id, Role: draft.Role, Key: made.KeyID, Digest: draft.SHA256, Sig: hex.EncodeToString(made.Sig),
		Who: who, At: wholeSeconds(now), After: after,
	}
	data, err := encode(s)
	if err != nil {
		return err
	}
	if err := c.put(dirSignatures+"/"+s.file(), data); err != nil {
		return fmt.Errorf("write signature: %w", err)
	}
	c.signatures = append(c.signatures, s)
	return nil
}

// disk writes a file whole or not at all, and durably.
func (c *Ceremony) disk() func(path string, data []byte, perm fs.FileMode) error {
	if c.writeFile != nil {
		return c.writeFile
	}
	return durable.WriteFile
}
