package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/pki"
)

// TestWeakRSA: each modulus has the right size and one weakness.
func TestWeakRSA(t *testing.T) {
	good := newRSA(t, 2048)
	tests := []struct {
		name string
		n    *big.Int
		e    int
		want string // "" for accepted
	}{
		{"good", good.N, rsaExponent, ""},
		{"good, 3072 bits", product(t, 1536), rsaExponent, ""},
		{"good, 4096 bits", fourPrimes(t), rsaExponent, ""},
		{"1024 bits", newRSA(t, 1024).N, rsaExponent, "1024 bits is not allowed"},
		{"2056 bits", product(t, 1028), rsaExponent, "2056 bits is not allowed"},
		{"exponent 3", good.N, 3, "exponent 3 is not allowed"},
		{"even", odd(t, 2), rsaExponent, "small factor"},
		{"multiple of 751", odd(t, 751), rsaExponent, "small factor"},
		{"close factors", closeFactors(t), rsaExponent, "close to each other"},
		{"square", square(t), rsaExponent, "close to each other"},
		{"broken generator", rocaModulus(t), rsaExponent, "CVE-2017-15361"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := checkKey(&rsa.PublicKey{N: tt.n, E: tt.e})
			if tt.want == "" && err != nil {
				t.Errorf("error = %v, want none", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestMaybeSquare(t *testing.T) {
	squares := map[int64]bool{}
	for i := range int64(64) {
		squares[i*i%64] = true
	}
	for i := range int64(64) {
		if got := maybeSquare(big.NewInt(i + 640)); got != squares[i] {
			t.Errorf("maybeSquare(%d) = %v, want %v", i+640, got, squares[i])
		}
	}
}

func primeOf(t *testing.T, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func product(t *testing.T, bits int) *big.Int {
	t.Helper()
	return new(big.Int).Mul(primeOf(t, bits), primeOf(t, bits))
}

// fourPrimes is a 4096-bit number of four primes, found sooner than one of two.
func fourPrimes(t *testing.T) *big.Int {
	t.Helper()
	for {
		if n := new(big.Int).Mul(product(t, 1024), product(t, 1024)); n.BitLen() == 4096 {
			return n
		}
	}
}

// odd returns a 2048-bit number whose smallest factor is p.
func odd(t *testing.T, p int64) *big.Int {
	t.Helper()
	factor := big.NewInt(p)
	for {
		n := new(big.Int).Mul(primeOf(t, 1024), primeOf(t, 1025-factor.BitLen()))
		if n.Mul(n, factor); n.BitLen() == 2048 {
			return n
		}
	}
}

func closeFactors(t *testing.T) *big.Int {
	t.Helper()
	p := primeOf(t, 1024)
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(20) {
		q.Add(q, big.NewInt(2))
	}
	return p.Mul(p, q)
}

func square(t *testing.T) *big.Int {
	t.Helper()
	p := primeOf(t, 1024)
	return p.Mul(p, p)
}

// rocaModulus makes a modulus as the broken generator did: both factors are
// k*M + (65537^a mod M), M the product of the first 126 primes.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	count := 0
	for p := range primes(1000) {
		if count++; count <= 126 {
			m.Mul(m, big.NewInt(p))
		}
	}
	for {
		n := new(big.Int).Mul(rocaPrime(t, m), rocaPrime(t, m))
		if n.BitLen() == 2048 {
			return n
		}
	}
}

func rocaPrime(t *testing.T, m *big.Int) *big.Int {
	t.Helper()
	limit := new(big.Int).Lsh(big.NewInt(1), uint(1024-m.BitLen()))
	for {
		a, err := rand.Int(rand.Reader, m)
		if err != nil {
			t.Fatal(err)
		}
		k, err := rand.Int(rand.Reader, limit)
		if err != nil {
			t.Fatal(err)
		}
		p := new(big.Int).Exp(big.NewInt(rsaExponent), a, m)
		p.Add(p, k.Mul(k, m))
		if p.BitLen() == 1024 && p.ProbablyPrime(20) {
			return p
		}
	}
}

// TestAlgorithms pins the allow-list to the contract's names.
func TestAlgorithms(t *testing.T) {
	rsaKey := func(bits int) crypto.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), E: rsaExponent}
	}
	curve := func(c elliptic.Curve) crypto.PublicKey { return &ecdsa.PublicKey{Curve: c} }
	tests := []struct {
		key  crypto.PublicKey
		hash crypto.Hash
		name string
		ok   bool
	}{
		{curve(elliptic.P256()), crypto.SHA256, "ecdsa-sha2-256-nistp256", true},
		{curve(elliptic.P384()), crypto.SHA384, "ecdsa-sha2-384-nistp384", true},
		{curve(elliptic.P521()), crypto.SHA512, "ecdsa-sha2-512-nistp521", true},
		{curve(elliptic.P384()), crypto.SHA256, "ecdsa-sha2-256-nistp384", false},
		{curve(elliptic.P521()), crypto.SHA256, "ecdsa-sha2-256-nistp521", false},
		{rsaKey(2048), crypto.SHA256, "rsa-sign-pkcs1-2048-sha256", true},
		{rsaKey(3072), crypto.SHA256, "rsa-sign-pkcs1-3072-sha256", true},
		{rsaKey(4096), crypto.SHA256, "rsa-sign-pkcs1-4096-sha256", true},
		{rsaKey(4096), crypto.SHA512, "rsa-sign-pkcs1-4096-sha512", false},
		{ed25519.PublicKey{}, 0, "ed25519", true},
	}
	list, err := newAllowList(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if got, ok := algorithmName(tt.key, tt.hash), list.permit(tt.key, tt.hash); got != tt.name || ok != tt.ok {
			t.Errorf("%s permitted %v, want %s permitted %v", got, ok, tt.name, tt.ok)
		}
	}
}

// pssBody is a request whose proof is RSA-PSS, as the enum's name suggests and
// the contract forbids.
func pssBody(t *testing.T, key *rsa.PrivateKey) object {
	t.Helper()
	digest := sha256.Sum256([]byte(email))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return merged(keyBody(publicPEM(t, key.Public())), nil, "proofOfPossession", signature)
}

// offCurve is a public key whose point lies beside its curve.
func offCurve(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der := spkiOf(t, key)
	der[len(der)-1] ^= 1
	return string(pki.PublicKeyPEM(der))
}

// swappedKey is a CSR of key in which the public key is another's.
func swappedKey(t *testing.T, key, other crypto.Signer) object {
	t.Helper()
	return changedCSR(t, key, func(der []byte) []byte {
		return bytes.Replace(der, spkiOf(t, key), spkiOf(t, other), 1)
	})
}

// badSubject is a CSR whose subject is an IA5String with bytes outside ASCII, as
// old Python clients sent it. x509 cannot parse it.
func badSubject(t *testing.T, key crypto.Signer) object {
	t.Helper()
	subject := []byte{0x30, 0x10, 0x31, 0x0e, 0x30, 0x0c, 0x06, 0x03, 0x55, 0x04, 0x03, 0x16, 0x05, 'a', 0xff, 0xfe, 'b', 'c'}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificateRequest(der); err == nil {
		t.Fatal("x509 parses the request: the case shows nothing")
	}
	return csrPEMBody("CERTIFICATE REQUEST", der)
}

// TestParseCSRDER: each request is good but for one thing too many.
func TestParseCSRDER(t *testing.T) {
	spki := spkiOf(t, newECDSA(t, elliptic.P256()))
	null := []byte{0x05, 0x00}
	tests := []struct {
		name              string
		version           int64
		inInfo, inRequest []byte
		ok                bool
	}{
		{name: "good", ok: true},
		{name: "version 2", version: 1},
		{name: "more information", inInfo: null},
		{name: "more in the request", inRequest: null},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b cryptobyte.Builder
			b.AddASN1(cbasn1.SEQUENCE, func(request *cryptobyte.Builder) {
				request.AddASN1(cbasn1.SEQUENCE, func(info *cryptobyte.Builder) {
					info.AddASN1Int64(tt.version)
					info.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
					info.AddBytes(spki)
					info.AddBytes(tt.inInfo)
				})
				request.AddASN1(cbasn1.SEQUENCE, func(algorithm *cryptobyte.Builder) {
					algorithm.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
				})
				request.AddASN1BitString([]byte("signature"))
				request.AddBytes(tt.inRequest)
			})
			got, err := parseCSRDER(b.BytesOrPanic())
			if (err == nil) != tt.ok {
				t.Fatalf("error = %v, want success %v", err, tt.ok)
			}
			if tt.ok && (!bytes.Equal(got.spki, spki) || string(got.signature) != "signature") {
				t.Errorf("parsed %+v", got)
			}
		})
	}
}

// TestBase64 holds the decoder to protobuf's rules.
func TestBase64(t *testing.T) {
	tests := []struct {
		text, want string
		ok         bool
	}{
		{"+/8=", "\xfb\xff", true},
		{"-_8=", "\xfb\xff", true},
		{"+/8", "\xfb\xff", true},
		{"-_8", "\xfb\xff", true},
		{"", "", true},
		{"+_8=", "", false},
		{"!", "", false},
		{"eA=", "", false},
	}
	for _, tt := range tests {
		text, err := json.Marshal(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		var d fields
		got := d.bytes(message{"x": text}, "x")
		if (d.err == nil) != tt.ok || tt.ok && string(got) != tt.want {
			t.Errorf("bytes(%q) = %x, %v, want %x and success %v", tt.text, got, d.err, tt.want, tt.ok)
		}
	}
}
