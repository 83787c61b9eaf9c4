package kinds

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"

	"sigstack/internal/fault"
	"sigstack/services/tlog/entry"
)

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
