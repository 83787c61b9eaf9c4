package kinds

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"

	"github.com/sigstore/rekor/pkg/types/helm"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
)

// Bounds of what is logged as it was sent, and of what is small by its nature.
const (
	maxSignature  = 64 << 10
	maxProvenance = 1 << 20
)

// checkRekord checks the key; the library has no policy of its own.
func checkRekord(s spec, permitted entry.Algorithms) error {
	material := s.bytes("signature", "publicKey", "content")
	if len(s.bytes("signature", "content")) > maxSignature {
		return fault.Newf(fault.Invalid, "signature is longer than %d bytes", maxSignature)
	}
	switch format := s.at("signature", "format"); format {
	case "x509":
		return permitted.PermitKey(material)
	case "pgp":
		return checkPGP(material)
	case "ssh":
		if err := checkSSH(material); err != nil {
			return err
		}
		return checkSSHSignature(s.bytes("signature", "content"))
	case "minisign":
		return nil // Ed25519, and nothing else
	default:
		return fault.New(fault.Invalid, "spec.signature.format is none of pgp, minisign, x509 and ssh")
	}
}

// checkHelm refuses a provenance of several files: the library logs the digest of
// one of them, whichever comes up.
func checkHelm(s spec, _ entry.Algorithms) error {
	provenance := s.bytes("chart", "provenance", "content")
	if len(provenance) > maxProvenance {
		return fault.Newf(fault.Invalid, "provenance is longer than %d bytes", maxProvenance)
	}
	if err := checkPGP(s.bytes("publicKey", "content")); err != nil {
		return err
	}
	var p helm.Provenance
	if err := p.Unmarshal(bytes.NewReader(provenance)); err != nil {
		return err
	}
	if n := len(p.SumCollection.Files); n != 1 {
		return fault.Newf(fault.Invalid, "provenance names %d files, want the one chart", n)
	}
	return nil
}

func checkRPM(s spec, _ entry.Algorithms) error {
	if err := checkPGP(s.bytes("publicKey", "content")); err != nil {
		return err
	}
	return checkHeaders(s.bytes("package", "content"))
}

func checkAlpine(s spec, permitted entry.Algorithms) error {
	if err := permitted.PermitKey(s.bytes("publicKey", "content")); err != nil {
		return err
	}
	return checkAPK(s.bytes("package", "content"))
}

func checkJAR(s spec, _ entry.Algorithms) error {
	return checkArchive(s.bytes("archive", "content"))
}

func checkCOSE(s spec, permitted entry.Algorithms) error {
	if _, ok := s.at("data").(map[string]any); !ok {
		return fault.New(fault.Invalid, "spec.data is missing")
	}
	return permitted.PermitKey(s.bytes("publicKey"))
}

// maxMetadataSignatures bounds those of TUF metadata: for each the library reads
// all of the metadata again.
const maxMetadataSignatures = 16

// checkTUF bounds a root and the metadata that it vouches for. What does not parse
// is left to the library to refuse.
func checkTUF(s spec, _ entry.Algorithms) error {
	for _, part := range []string{"root", "metadata"} {
		metadata, err := metadataOf(s.at(part, "content"))
		if err != nil {
			return err
		}
		if err := checkSignatures(metadata); err != nil {
			return err
		}
		if err := checkMetadataKeys(metadata); err != nil {
			return err
		}
	}
	return nil
}

// metadataOf returns TUF metadata, which is an object or one in base64.
func metadataOf(content any) (spec, error) {
	switch c := content.(type) {
	case map[string]any:
		text, err := json.Marshal(c)
		if err == nil && len(text) > maxMetadata {
			err = fault.Newf(fault.Invalid, "metadata is longer than %d bytes", maxMetadata)
		}
		return c, err
	case string:
		text, err := base64.StdEncoding.DecodeString(c)
		if err != nil {
			return nil, fault.New(fault.Invalid, "metadata is not standard padded base64")
		}
		if len(text) > maxMetadata {
			return nil, fault.Newf(fault.Invalid, "metadata is longer than %d bytes", maxMetadata)
		}
		return decode(text)
	default:
		return nil, fault.New(fault.Invalid, "metadata is missing")
	}
}

func checkSignatures(metadata spec) error {
	signatures, _ := metadata["signatures"].([]any)
	if len(signatures) > maxMetadataSignatures {
		return fault.Newf(fault.Invalid, "metadata has %d signatures, at most %d are verified", len(signatures), maxMetadataSignatures)
	}
	return nil
}

// checkMetadataKeys refuses a key that takes long to verify with.
func checkMetadataKeys(metadata spec) error {
	keys, _ := metadata.at("signed", "keys").(map[string]any)
	for _, k := range keys {
		key, _ := k.(map[string]any)
		text, _ := spec(key).at("keyval", "public").(string)
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			continue // Ed25519 in hex, or for the library to refuse
		}
		if pub, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if err := checkSize(pub); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkSize refuses RSA that takes long to verify with.
func checkSize(pub any) error {
	if k, ok := pub.(*rsa.PublicKey); ok && k.N.BitLen() > maxKeyBits {
		return fault.Newf(fault.Invalid, "public key is RSA of %d bits, at most %d are verified", k.N.BitLen(), maxKeyBits)
	}
	return nil
}
