package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// signers is how many of them there are: each is found by many entries.
const signers = 4096

// serialBytes is the length of a serial number.
const serialBytes = 16

// signer has a certificate, of which every entry gets a variant of its own: a
// serial number and an end of the signature that no other has. The certificate's
// own signature is then none; logs do not check it.
type signer struct {
	key    *ecdsa.PrivateKey
	der    []byte
	serial int // where the serial number is in der
}

func newSigners() ([]signer, error) {
	all := make([]signer, signers)
	for i := range all {
		var err error
		if all[i], err = newSigner(i); err != nil {
			return nil, fmt.Errorf("make signer: %w", err)
		}
	}
	return all, nil
}

// newSigner makes a certificate that is about as long as one of keyless signing.
func newSigner(i int) (signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signer{}, err
	}
	random := make([]byte, serialBytes+124) // a serial number, and what an SCT list takes
	if _, err := rand.Read(random); err != nil {
		return signer{}, err
	}
	random[0] = random[0]&0x3f | 0x40 // positive, and of full length
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(random[:serialBytes]),
		NotBefore:    time.Now(), NotAfter: time.Now().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{fmt.Sprintf("signer-%d@log.example", i)},
		ExtraExtensions: []pkix.Extension{
			{Id: []int{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: []byte("\x0c\x1bhttps://issuer.log.example/")},
			{Id: []int{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: random[serialBytes:]},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return signer{}, err
	}
	at := bytes.Index(der, random[:serialBytes])
	if at < 0 {
		return signer{}, errors.New("no serial number in the certificate")
	}
	return signer{key, der, at}, nil
}

// proposal is the body of a POST of a hashedrekord 0.0.1: a digest in hex, a
// signature in base64 and its certificate in base64 of PEM.
const proposal = `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},` +
	`"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`

// artifact is what entry i is a signature of.
func artifact(i uint64) []byte { return fmt.Appendf(nil, "prefilled artifact %d", i) }

// propose makes entry i.
func propose(all []signer, i uint64) ([]byte, error) {
	s := all[i%uint64(len(all))]
	digest := sha256.Sum256(artifact(i))
	signature, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	own := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
	der := bytes.Clone(s.der)
	copy(der[s.serial+1:s.serial+serialBytes], own[:])
	copy(der[len(der)-16:], own[16:])
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, proposal, digest, encode(signature), encode(certificate)), nil
}
