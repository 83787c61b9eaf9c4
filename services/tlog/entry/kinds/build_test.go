package kinds_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
	"github.com/veraison/go-cose"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/openpgp"           //nolint:staticcheck // makes what the library reads
	"golang.org/x/crypto/openpgp/armor"     //nolint:staticcheck // the same
	"golang.org/x/crypto/openpgp/clearsign" //nolint:staticcheck // the same
	"golang.org/x/crypto/openpgp/packet"    //nolint:staticcheck // the same
	"golang.org/x/crypto/ssh"

	"sigstack/services/tlog/tlogtest"
)

type object = tlogtest.Object

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func propose(kind string, spec object) object {
	return object{"apiVersion": "0.0.1", "kind": kind, "spec": spec}
}

func rekordOf(format string, artifact, sig, key []byte) object {
	return propose("rekord", object{
		"data":      object{"content": b64(artifact)},
		"signature": object{"format": format, "content": b64(sig), "publicKey": object{"content": b64(key)}},
	})
}

// certified returns a key with its own certificate, DER.
func certified(tb testing.TB, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "signer"}, EmailAddresses: []string{"Signer@example.test"},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(tb)
	return must(x509.ParseCertificate(der))(tb)
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	return must(rsa.GenerateKey(rand.Reader, bits))(tb)
}

func ecKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(tb)
}

func x509Rekord(tb testing.TB, key crypto.Signer, material, artifact []byte) object {
	tb.Helper()
	digest := sha256.Sum256(artifact)
	return rekordOf("x509", artifact, must(key.Sign(rand.Reader, digest[:], crypto.SHA256))(tb), material)
}

// pgpEntity makes an RSA key with these e-mail addresses.
func pgpEntity(tb testing.TB, emails ...string) *openpgp.Entity {
	tb.Helper()
	config := &packet.Config{RSABits: 2048}
	e := must(openpgp.NewEntity("Name", "", emails[0], config))(tb)
	for _, email := range emails[1:] {
		other := must(openpgp.NewEntity("Name", "", email, config))(tb)
		for name, id := range other.Identities {
			if err := id.SelfSignature.SignUserId(name, e.PrimaryKey, e.PrivateKey, config); err != nil {
				tb.Fatal(err)
			}
			id.SelfSignature.IssuerKeyId = &e.PrimaryKey.KeyId
			e.Identities[name] = id
		}
	}
	for _, id := range e.Identities {
		id.SelfSignature.IssuerKeyId = &e.PrimaryKey.KeyId
		if err := id.SelfSignature.SignUserId(id.UserId.Id, e.PrimaryKey, e.PrivateKey, config); err != nil {
			tb.Fatal(err)
		}
	}
	for _, sub := range e.Subkeys {
		if err := sub.Sig.SignKey(sub.PublicKey, e.PrivateKey, config); err != nil {
			tb.Fatal(err)
		}
	}
	return e
}

func pgpPublic(tb testing.TB, e *openpgp.Entity) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := e.Serialize(&out); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func armored(tb testing.TB, kind string, data []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := must(armor.Encode(&out, kind, nil))(tb)
	must(w.Write(data))(tb)
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func pgpSign(tb testing.TB, e *openpgp.Entity, data []byte) []byte {
	tb.Helper()
	var sig bytes.Buffer
	if err := openpgp.DetachSign(&sig, e, bytes.NewReader(data), nil); err != nil {
		tb.Fatal(err)
	}
	return sig.Bytes()
}

// minisign makes a signature file and a key file, with the data hashed before or
// not.
func minisign(tb testing.TB, data []byte, hashed bool) (sig, key []byte) {
	tb.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	id, algorithm := []byte("12345678"), []byte("Ed")
	if hashed {
		digest := blake2b.Sum512(data)
		data, algorithm = digest[:], []byte("ED")
	}
	raw := ed25519.Sign(private, data)
	const comment = "timestamp:1\tfile:x"
	global := ed25519.Sign(private, append(slices.Clone(raw), comment...))
	sig = fmt.Appendf(nil, "untrusted comment: signature\n%s\ntrusted comment: %s\n%s\n", b64(slices.Concat(algorithm, id, raw)), comment, b64(global))
	return sig, fmt.Appendf(nil, "untrusted comment: minisign public key\n%s\n", b64(slices.Concat([]byte("Ed"), id, pub)))
}

// sshSign makes a signature as ssh-keygen -Y sign does (PROTOCOL.sshsig), and the
// line of the key.
func sshSign(tb testing.TB, key crypto.Signer, data []byte) (sig, line []byte) {
	tb.Helper()
	return sshSignWith(tb, key, data, ssh.KeyAlgoRSASHA512)
}

// sshSignWith is sshSign with that algorithm, if the key is RSA.
func sshSignWith(tb testing.TB, key crypto.Signer, data []byte, forRSA string) (sig, line []byte) {
	tb.Helper()
	signer := must(ssh.NewSignerFromSigner(key))(tb)
	digest := sha512.Sum512(data)
	message := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{"file", "", "sha512", digest[:]})...)
	algorithm := signer.PublicKey().Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = forRSA
	}
	algorithmSigner, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		tb.Fatal("signer takes no algorithm")
	}
	made := must(algorithmSigner.SignWithAlgorithm(rand.Reader, message, algorithm))(tb)
	blob := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{1, signer.PublicKey().Marshal(), "file", "", "sha512", ssh.Marshal(made)})...)
	line = bytes.TrimSuffix(ssh.MarshalAuthorizedKey(signer.PublicKey()), []byte("\n"))
	return pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}), append(line, " builder@example.test\n"...)
}

// provenance is what helm package --sign makes.
func provenance(tb testing.TB, e *openpgp.Entity, files string) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := must(clearsign.Encode(&out, e.PrivateKey, nil))(tb)
	fmt.Fprintf(w, "apiVersion: v2\nname: chart\nversion: 0.1.0\n\n...\nfiles:\n%s", files)
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func helmOf(prov, key []byte) object {
	return propose("helm", object{
		"publicKey": object{"content": b64(key)}, "chart": object{"provenance": object{"content": b64(prov)}},
	})
}

func chartFile() string {
	return "  chart-0.1.0.tgz: sha256:" + hex.EncodeToString(make([]byte, 32)) + "\n"
}

type tarFile struct {
	name string
	data []byte
}

// tgz makes one part of an apk; its archive has no end, so that the parts are one.
func tgz(tb testing.TB, files ...tarFile) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644}); err != nil {
			tb.Fatal(err)
		}
		must(w.Write(f.data))(tb)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func apk(tb testing.TB, key *rsa.PrivateKey, info string) []byte {
	tb.Helper()
	data := tgz(tb, tarFile{"file", []byte("content")})
	digest := sha256.Sum256(data)
	control := tgz(tb, tarFile{".PKGINFO", fmt.Appendf(nil, "pkgname = pkg\n%sdatahash = %x\n", info, digest)})
	sum := sha1.Sum(control)
	sig := must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA1, sum[:]))(tb)
	return slices.Concat(tgz(tb, tarFile{".SIGN.RSA.builder.pub", sig}), control, data)
}

func alpineOf(pkg, key []byte) object {
	return propose("alpine", object{"package": object{"content": b64(pkg)}, "publicKey": object{"content": b64(key)}})
}

// rpmHeader makes a header of an rpm.
func rpmHeader(entries []rpmEntry) []byte {
	var index, store []byte
	for _, e := range entries {
		for _, v := range []uint32{e.tag, e.kind, uint32(len(store)), e.count} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		store = append(store, e.data...)
	}
	out := []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}
	out = binary.BigEndian.AppendUint32(out, uint32(len(entries)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(store)))
	return slices.Concat(out, index, store)
}

type rpmEntry struct {
	tag, kind, count uint32
	data             []byte
}

func rpmLead() []byte {
	lead := make([]byte, 96)
	copy(lead, []byte{0xed, 0xab, 0xee, 0xdb, 3, 0, 0, 0, 0, 1})
	copy(lead[10:], "pkg-1-1")
	lead[77], lead[79] = 1, 5
	return lead
}

func rpm(tb testing.TB, e *openpgp.Entity) []byte {
	tb.Helper()
	text := func(tag uint32, s string) rpmEntry { return rpmEntry{tag, 6, 1, append([]byte(s), 0)} }
	meta := rpmHeader([]rpmEntry{text(1000, "pkg"), text(1001, "1"), text(1002, "2"), text(1022, "x86_64")})
	body := append(meta, "payload"...)
	sum := sha1.Sum(meta)
	sig := pgpSign(tb, e, body)
	head := rpmHeader([]rpmEntry{{1002, 7, uint32(len(sig)), sig}, {1012, 7, uint32(len(sum)), sum[:]}})
	return slices.Concat(rpmLead(), head, make([]byte, (8-len(head)%8)%8), body)
}

func rpmOf(pkg, key []byte) object {
	return propose("rpm", object{"package": object{"content": b64(pkg)}, "publicKey": object{"content": b64(key)}})
}

// jar makes a signed archive: files of META-INF besides the usual three come
// first. The signature's certificates are the signer's and then more.
func jar(tb testing.TB, key crypto.Signer, certs []*x509.Certificate, first ...tarFile) []byte {
	tb.Helper()
	content := []byte("class")
	digest := sha256.Sum256(content)
	manifest := fmt.Appendf(nil, "Manifest-Version: 1.0\r\n\r\nName: A.class\r\nSHA-256-Digest: %s\r\n\r\n", b64(digest[:]))
	sum := sha256.Sum256(manifest)
	sf := fmt.Appendf(nil, "Signature-Version: 1.0\r\nSHA-256-Digest-Manifest: %s\r\n\r\n", b64(sum[:]))
	block := signedData(tb, sf, key, certs)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range append(first, tarFile{"META-INF/MANIFEST.MF", manifest}, tarFile{"META-INF/A.SF", sf}, tarFile{"META-INF/A.RSA", block}, tarFile{"A.class", content}) {
		must(must(w.Create(f.name))(tb).Write(f.data))(tb)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// signedData makes a detached PKCS #7 signature by the last of certs' key, with
// the certificates in this order.
func signedData(tb testing.TB, data []byte, key crypto.Signer, certs []*x509.Certificate) []byte {
	tb.Helper()
	s := must(pkcs7.NewSignedData(data))(tb)
	s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	for _, other := range certs[:len(certs)-1] {
		s.AddCertificate(other)
	}
	if err := s.AddSigner(certs[len(certs)-1], key, pkcs7.SignerInfoConfig{}); err != nil {
		tb.Fatal(err)
	}
	s.Detach()
	return must(s.Finish())(tb)
}

func jarOf(archive []byte) object {
	return propose("jar", object{"archive": object{"content": b64(archive)}})
}

func coseOf(tb testing.TB, key *ecdsa.PrivateKey, contentType string, payload, aad []byte) object {
	tb.Helper()
	message := cose.NewSign1Message()
	message.Headers.Protected.SetAlgorithm(cose.AlgorithmES256)
	message.Headers.Protected[cose.HeaderLabelContentType] = contentType
	message.Payload = payload
	if err := message.Sign(rand.Reader, aad, must(cose.NewSigner(cose.AlgorithmES256, key))(tb)); err != nil {
		tb.Fatal(err)
	}
	data := object{}
	if aad != nil {
		data["aad"] = b64(aad)
	}
	return propose("cose", object{
		"message": b64(must(message.MarshalCBOR())(tb)), "publicKey": b64(tlogtest.SignerOf(tb, key).Material), "data": data,
	})
}

func tsr(tb testing.TB) []byte {
	tb.Helper()
	key := rsaKey(tb, 2048)
	stamp := timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: make([]byte, 32), Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Policy: []int{1, 2, 3}, SerialNumber: big.NewInt(1), AddTSACertificate: true,
	}
	return must(stamp.CreateResponseWithOpts(certified(tb, key), key, crypto.SHA256))(tb)
}

// tufPair makes a root and a targets file that it vouches for.
func tufPair(tb testing.TB, expires string) (root, targets object) {
	tb.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key := object{"keytype": "ed25519", "scheme": "ed25519", "keyval": object{"public": hex.EncodeToString(pub)}}
	id := sha256.Sum256(must(json.Marshal(key))(tb))
	keyID := hex.EncodeToString(id[:])
	sign := func(signed object) object {
		return object{"signed": signed, "signatures": []any{object{
			"keyid": keyID, "sig": hex.EncodeToString(ed25519.Sign(private, must(json.Marshal(signed))(tb))),
		}}}
	}
	roles := object{}
	for _, name := range []string{"root", "targets", "snapshot", "timestamp"} {
		roles[name] = object{"keyids": []string{keyID}, "threshold": 1}
	}
	root = sign(object{
		"_type": "root", "spec_version": "1.0", "version": 1, "expires": expires, "consistent_snapshot": true,
		"keys": object{keyID: key}, "roles": roles,
	})
	return root, sign(object{"_type": "targets", "spec_version": "1.0", "version": 3, "expires": expires, "targets": object{}})
}

func tufOf(root, metadata any) object {
	return propose("tuf", object{"root": object{"content": root}, "metadata": object{"content": metadata}})
}
