package grpc

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"sigstack/services/ca"
	"sigstack/services/ca/identity"
)

// fieldNumber is one of ca.proto's.
type fieldNumber = protowire.Number

// decodeRequest reads a CreateSigningCertificateRequest. The token is empty when
// the message has none. As protobuf has it, unknown fields are stepped over, of
// two values of a field the last counts, and two messages are merged. Errors are
// fault.Invalid.
func decodeRequest(message []byte) (ca.Request, error) {
	var req ca.Request
	err := eachField(message, func(n fieldNumber, value []byte) error {
		switch n {
		case 1:
			return decodeCredentials(value, &req)
		case 2: // the other arm of the oneof ends
			req.CSR = nil
			return decodeKeyRequest(value, &req)
		case 3:
			req.PublicKey, req.Proof, req.CSR = nil, nil, value
		}
		return nil
	})
	return req, err
}

func decodeCredentials(message []byte, req *ca.Request) error {
	return eachField(message, func(n fieldNumber, value []byte) error {
		if n != 1 {
			return nil
		}
		req.Token = string(value)
		return checkText(value)
	})
}

func decodeKeyRequest(message []byte, req *ca.Request) error {
	return eachField(message, func(n fieldNumber, value []byte) error {
		switch n {
		case 1:
			return decodePublicKey(value, req)
		case 2:
			req.Proof = value
		}
		return nil
	})
}

func decodePublicKey(message []byte, req *ca.Request) error {
	return eachField(message, func(n fieldNumber, value []byte) error {
		if n != 2 { // the algorithm is of no interest
			return nil
		}
		req.PublicKey = value
		return checkText(value)
	})
}

// eachField calls f for every field of a message whose value has a length, which
// all have that matter here. The others are stepped over, and so is a field of
// such a number with another type.
func eachField(message []byte, f func(n fieldNumber, value []byte) error) error {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 || number > protowire.MaxValidNumber {
			return malformed("bad field number")
		}
		message = message[tag:]
		size := protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return malformed("a field is cut short")
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message) // was consumed before
			if err := f(number, value); err != nil {
				return err
			}
		}
		message = message[size:]
	}
	return nil
}

// checkText holds a field of type string to be UTF-8.
func checkText(value []byte) error {
	if !utf8.Valid(value) {
		return malformed("text is not UTF-8")
	}
	return nil
}

// encodeCertificate makes a SigningCertificate with an embedded SCT. Its PEM is
// trimmed.
func encodeCertificate(chain []string) []byte {
	trimmed := make([]string, len(chain))
	for i, c := range chain {
		trimmed[i] = strings.TrimSpace(c)
	}
	return appendBytes(nil, 2, appendBytes(nil, 1, encodeChain(trimmed)))
}

func encodeTrustBundle(chains [][]string) (message []byte) {
	for _, chain := range chains {
		message = appendBytes(message, 1, encodeChain(chain))
	}
	return message
}

func encodeChain(certificates []string) (message []byte) {
	for _, c := range certificates {
		message = appendBytes(message, 1, []byte(c))
	}
	return message
}

func encodeConfiguration(issuers []identity.Issuer) (message []byte) {
	for _, i := range issuers {
		message = appendBytes(message, 1, encodeIssuer(i))
	}
	return message
}

func encodeIssuer(i identity.Issuer) (message []byte) {
	var arm fieldNumber = 1
	if i.Wildcard() {
		arm = 2
	}
	message = appendBytes(message, arm, []byte(i.URL))
	message = appendText(message, 3, i.ClientID)
	message = appendText(message, 4, i.ChallengeClaim())
	message = appendText(message, 5, i.SPIFFETrustDomain)
	message = appendText(message, 6, string(i.Type))
	message = appendText(message, 7, i.SubjectDomain)
	if i.SkipEmailVerification {
		message = protowire.AppendTag(message, 8, protowire.VarintType)
		message = protowire.AppendVarint(message, 1)
	}
	return message
}

func appendBytes(message []byte, n fieldNumber, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, n, protowire.BytesType), value)
}

// appendText leaves out an empty text, which is a field's absence.
func appendText(message []byte, n fieldNumber, value string) []byte {
	if value == "" {
		return message
	}
	return appendBytes(message, n, []byte(value))
}
