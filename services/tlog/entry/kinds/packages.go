package kinds

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"path"
	"slices"
	"strings"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// Bounds of packages (contract: rekor-v1.md §8). The library reads metadata
// whole, and believes the sizes that a package states.
const (
	maxMetadata = 1 << 20
	// maxUnpacked bounds all files of a jar, which are hashed.
	maxUnpacked = 64 << 20
	// maxInfo bounds an apk's .PKGINFO, the members of which the library sorts in a
	// time that grows with the square of their number.
	maxInfo = 64 << 10
	// maxBlock bounds a jar's signature block: some certificates and a timestamp.
	maxBlock = 64 << 10
)

// checkAPK unpacks the signature and control parts of an apk within bounds. What
// does not parse is left to the library to refuse.
func checkAPK(apk []byte) error {
	in := bufio.NewReader(bytes.NewReader(apk))
	z, err := gzip.NewReader(in)
	for part := 0; part < 2 && err == nil; part++ {
		z.Multistream(false)
		var plain []byte
		if plain, err = io.ReadAll(io.LimitReader(z, maxMetadata+1)); len(plain) > maxMetadata {
			return fault.Newf(fault.Invalid, "metadata of the package unpacks to more than %d bytes", maxMetadata)
		}
		if err := checkTar(plain); err != nil {
			return err
		}
		if err == nil {
			err = z.Reset(in)
		}
	}
	return nil
}

func checkTar(plain []byte) error {
	files := tar.NewReader(bytes.NewReader(plain))
	for {
		header, err := files.Next()
		if err != nil {
			return nil // the end, or for the library to refuse
		}
		most := int64(maxMetadata)
		if path.Clean(header.Name) == ".PKGINFO" {
			most = maxInfo
		}
		if header.Size > most {
			return fault.Newf(fault.Invalid, "metadata of the package has a file of %d bytes, at most %d are read", header.Size, most)
		}
	}
}

// checkArchive bounds what a jar unpacks to: archive/zip fails when a file turns
// out to be larger than it says. It demands a single signature block, because the
// library verifies one and logs the first.
func checkArchive(jar []byte) error {
	files, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return err
	}
	var total uint64
	var blocks []*zip.File
	for _, f := range files.File {
		dir, name := path.Split(strings.ToUpper(f.Name))
		if dir == "META-INF/" && f.UncompressedSize64 > maxMetadata {
			return fault.Newf(fault.Invalid, "metadata of the archive has a file of %d bytes, at most %d are read", f.UncompressedSize64, maxMetadata)
		}
		if dir == "META-INF/" && (slices.Contains([]string{".RSA", ".DSA", ".EC"}, path.Ext(name)) || strings.HasPrefix(name, "SIG-")) {
			blocks = append(blocks, f)
		}
		if total += min(f.UncompressedSize64, maxUnpacked+1); total > maxUnpacked {
			return fault.Newf(fault.Invalid, "archive unpacks to more than %d bytes", maxUnpacked)
		}
	}
	if len(blocks) != 1 {
		return fault.Newf(fault.Invalid, "archive has %d signature blocks, want one", len(blocks))
	}
	return checkBlock(blocks[0])
}

// checkBlock refuses a signature block with a key that takes long to verify with.
func checkBlock(f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	der, err := io.ReadAll(io.LimitReader(r, maxBlock+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if len(der) > maxBlock {
		return fault.Newf(fault.Invalid, "signature block of the archive is longer than %d bytes", maxBlock)
	}
	message, err := parseBlock(der)
	if err != nil {
		return err
	}
	for _, c := range message.certs {
		if err := checkSize(c.PublicKey); err != nil {
			return err
		}
	}
	return nil
}

// logSigner has the signer's certificate logged. The library logs the first one of
// a jar's signature block, which is any: the issuer's, often, as DER sorts sets.
func logSigner(_ spec, m made) (made, error) {
	canonical, err := decode(m.spec)
	if err != nil {
		return made{}, err
	}
	block, _ := pem.Decode(canonical.bytes("signature", "content"))
	if block == nil {
		return made{}, errors.New("canonical form has no signature in PEM")
	}
	signer, err := signerOf(block.Bytes)
	if err != nil {
		return made{}, err
	}
	m.spec, err = canonical.with(pki.CertificatesPEM([]*x509.Certificate{signer}), "signature", "publicKey", "content")
	return m, err
}

// block is what a PKCS #7 message (RFC 5652 §5) has of its signer, which one must
// have.
type block struct {
	issuer []byte // DER
	serial *big.Int
	certs  []*x509.Certificate
}

func parseBlock(der []byte) (block, error) {
	var message struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version      int
			Digests      asn1.RawValue
			Content      asn1.RawValue
			Certificates asn1.RawValue `asn1:"optional,tag:0"`
			Revoked      asn1.RawValue `asn1:"optional,tag:1"`
			Signers      []struct {
				Version int
				ID      struct {
					Issuer asn1.RawValue
					Serial *big.Int
				}
			} `asn1:"set"`
		} `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(der, &message); err != nil {
		return block{}, err
	}
	if n := len(message.Content.Signers); n != 1 {
		return block{}, fault.Newf(fault.Invalid, "signature block has %d signers, want one", n)
	}
	id := message.Content.Signers[0].ID
	certs, err := x509.ParseCertificates(message.Content.Certificates.Bytes)
	return block{id.Issuer.FullBytes, id.Serial, certs}, err
}

// signerOf finds the certificate of who signed a PKCS #7 message, as the library
// found it when it verified the signature.
func signerOf(der []byte) (*x509.Certificate, error) {
	message, err := parseBlock(der)
	if err != nil {
		return nil, err
	}
	for _, c := range message.certs {
		if bytes.Equal(message.issuer, c.RawIssuer) && message.serial.Cmp(c.SerialNumber) == 0 {
			return c, nil
		}
	}
	return nil, errors.New("signature block lacks the signer's certificate")
}

// checkHeaders walks over the two headers of an rpm (signature and metadata):
// what they say they hold must fit in them, and all of it once.
func checkHeaders(rpm []byte) error {
	const lead = 96
	rest := rpm[min(lead, len(rpm)):]
	for range 2 {
		size, err := checkHeader(rest)
		if err != nil {
			return err
		}
		rest = rest[min((size+7)/8*8, len(rest)):]
	}
	return nil
}

// widths are the bytes of an item by the type of its index entry; strings end
// with a NUL.
func widths() []int { return []int{0, 1, 1, 2, 4, 8, 0, 1, 0, 0} }

// checkHeader returns the size of the header that data begins with.
func checkHeader(data []byte) (int, error) {
	const intro, record = 16, 16
	if len(data) < intro {
		return 0, errors.New("package ends within a header")
	}
	entries := int(binary.BigEndian.Uint32(data[8:]))
	length := int(binary.BigEndian.Uint32(data[12:]))
	size := intro + entries*record + length
	if size > len(data) {
		return 0, errors.New("package ends within a header")
	}
	store := data[size-length : size]
	left := 2 * len(store) // some regions are told twice
	for i := range entries {
		at := data[intro+i*record:]
		kind, offset, items := binary.BigEndian.Uint32(at[4:]), binary.BigEndian.Uint32(at[8:]), binary.BigEndian.Uint32(at[12:])
		if int(kind) >= len(widths()) || int(offset) > len(store) {
			return 0, errors.New("header of the package points out of itself")
		}
		if left -= itemBytes(store[offset:], int(kind), int(items)); left < 0 {
			return 0, errors.New("header of the package holds more than it has room for")
		}
	}
	return size, nil
}

// itemBytes counts the bytes of an entry's items in the store; more than there
// are count, too.
func itemBytes(store []byte, kind, items int) int {
	if width := widths()[kind]; width > 0 || kind == 0 {
		return width * items
	}
	bytesOf := items // each string has at least its end
	for range items {
		end := bytes.IndexByte(store, 0)
		if end < 0 {
			return bytesOf + len(store)
		}
		bytesOf += end
		store = store[end+1:]
	}
	return bytesOf
}
