package kinds

import (
	"bytes"

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
