package tufroot

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Document is root or targets metadata, signed or not, that says no more than this
// program writes: what its signers look at. Its fields are not to be changed.
type Document struct {
	Role    string // root or targets
	Version int64
	Expires time.Time
	Roles   []RoleDescription // of a root: its four roles, without version, expiry and life
	Files   []DocumentFile    // of targets, by name
	// Payload is what is signed, and SHA256 its digest in hex.
	Payload []byte
	SHA256  string

	signatures []metadata.Signature
	root       *metadata.Metadata[metadata.RootType]    // or
	targets    *metadata.Metadata[metadata.TargetsType] // this
}

// DocumentFile is a file that targets name.
type DocumentFile struct {
	Name   string
	Length int64  // bytes
	SHA256 string // hex
	Custom []byte // JSON, nil without
}

// Signature is a signature over a document.
type Signature struct {
	KeyID string // hex
	Sig   []byte
}

// ParseDocument reads root or targets metadata and checks everything in it but
// expiry and signatures.
func ParseDocument(data []byte) (*Document, error) {
	var head struct {
		Signed struct {
			Type string `json:"_type"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("read TUF metadata: %w", err)
	}
	switch head.Signed.Type {
	case metadata.ROOT:
		return rootDocument(data)
	case metadata.TARGETS:
		return targetsDocument(data)
	}
	return nil, fmt.Errorf("read TUF metadata: of type %q, neither root nor targets", head.Signed.Type)
}

func rootDocument(data []byte) (*Document, error) {
	root, err := readRoot(data)
	if err != nil {
		return nil, err
	}
	s := &root.Signed
	d := &Document{Role: metadata.ROOT, Version: s.Version, Expires: s.Expires, root: root, signatures: root.Signatures}
	for _, name := range roleNames {
		d.Roles = append(d.Roles, describeRole(s, name))
	}
	d.Payload, err = payload(root)
	return d.digested(err)
}

func targetsDocument(data []byte) (*Document, error) {
	role, err := readTargets(data)
	if err != nil {
		return nil, err
	}
	s := &role.Signed
	d := &Document{Role: metadata.TARGETS, Version: s.Version, Expires: s.Expires, targets: role, signatures: role.Signatures}
	for name, file := range s.Targets {
		d.Files = append(d.Files, DocumentFile{name, file.Length, hex.EncodeToString(file.Hashes["sha256"]), custom(file)})
	}
	slices.SortFunc(d.Files, func(a, b DocumentFile) int { return strings.Compare(a.Name, b.Name) })
	d.Payload, err = payload(role)
	return d.digested(err)
}

func (d *Document) digested(err error) (*Document, error) {
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(d.Payload)
	d.SHA256 = hex.EncodeToString(sum[:])
	return d, nil
}

// Keys returns what a root says of a role: nil for targets, or for no role.
func (d *Document) Keys(role string) *RoleDescription {
	for i := range d.Roles {
		if d.Roles[i].Role == role {
			return &d.Roles[i]
		}
	}
	return nil
}

// Sign makes the signature of a key; the document stays as it is. The signature is
// verified before it is returned.
func (d *Document) Sign(key crypto.Signer) (Signature, error) {
	described, err := tufKey(key)
	if err != nil {
		return Signature{}, fmt.Errorf("sign %s: %w", d.Role, err)
	}
	id, err := described.ID()
	if err != nil {
		return Signature{}, fmt.Errorf("sign %s: %w", d.Role, err)
	}
	sig, err := messageSigner{key}.SignMessage(bytes.NewReader(d.Payload))
	if err != nil {
		return Signature{}, fmt.Errorf("sign %s: %w", d.Role, err)
	}
	return Signature{id, sig}, d.Verify(key.Public(), sig)
}

// Verify checks a signature over the document.
func (d *Document) Verify(public crypto.PublicKey, sig []byte) error {
	ok := false
	switch public := public.(type) {
	case ed25519.PublicKey:
		ok = len(public) == ed25519.PublicKeySize && ed25519.Verify(public, d.Payload, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(d.Payload)
		ok = ecdsa.VerifyASN1(public, sum[:], sig)
	}
	if !ok {
		return fmt.Errorf("the signature is not one of this key over this %s", d.Role)
	}
	return nil
}

// SignedBy returns the keys of a role whose valid signatures the document has, in
// the order of the role.
func (d *Document) SignedBy(role RoleDescription) []RoleKey {
	var out []RoleKey
	for _, key := range role.Keys {
		for _, s := range d.signatures {
			if s.KeyID == key.ID && d.Verify(key.Public, s.Signature) == nil {
				out = append(out, key)
			}
		}
	}
	return out
}

// Signatures returns those that the document has, unverified.
func (d *Document) Signatures() []Signature {
	out := make([]Signature, 0, len(d.signatures))
	for _, s := range d.signatures {
		out = append(out, Signature{s.KeyID, s.Signature})
	}
	return out
}

// With encodes the document with these signatures instead of those that it has.
func (d *Document) With(sigs []Signature) ([]byte, error) {
	list := make([]metadata.Signature, 0, len(sigs))
	for _, s := range sigs {
		list = append(list, metadata.Signature{KeyID: s.KeyID, Signature: s.Sig})
	}
	if d.root != nil {
		return encode(d.Role, &metadata.Metadata[metadata.RootType]{Signed: d.root.Signed, Signatures: list})
	}
	return encode(d.Role, &metadata.Metadata[metadata.TargetsType]{Signed: d.targets.Signed, Signatures: list})
}

// SignRole adds a key's signature to a draft of root or targets, or replaces it, and
// keeps those of others. Whether the root asks for the key is seen when the role is
// published.
func SignRole(draft []byte, key crypto.Signer) ([]byte, error) {
	d, err := ParseDocument(draft)
	if err != nil {
		return nil, err
	}
	sig, err := d.Sign(key)
	if err != nil {
		return nil, err
	}
	sigs := slices.DeleteFunc(d.Signatures(), func(s Signature) bool { return s.KeyID == sig.KeyID })
	return d.With(append(sigs, sig))
}
