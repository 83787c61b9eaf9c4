package tsa

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"

	"github.com/digitorus/timestamp"
	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/fault"
)

// maxJSON bounds a JSON request in bytes: its nonce decodes at quadratic cost.
const maxJSON = 1024

// query is one request, whatever form it came in.
type query struct {
	hash         crypto.Hash
	digest       []byte
	policy       string   // dotted; "": any
	nonce        *big.Int // nil: none. Any size and sign
	certificates bool     // embed certificates in the token
	extensions   int      // how many; none is understood
}

// check refuses what this authority does not issue. The error is fault.Invalid.
func (q query) check(policy string) error {
	switch q.hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return fault.New(fault.Invalid, "hash algorithm is not accepted: use SHA-256, SHA-384 or SHA-512")
	}
	if len(q.digest) != q.hash.Size() {
		return fault.Newf(fault.Invalid, "digest is %d bytes long, %s has %d", len(q.digest), q.hash, q.hash.Size())
	}
	if q.policy != "" && q.policy != policy {
		return fault.Newf(fault.Invalid, "policy is not accepted: this authority issues under %s", policy)
	}
	if q.extensions != 0 {
		return fault.New(fault.Invalid, "request extensions are not accepted")
	}
	return nil
}

// parseDER reads a TimeStampReq (RFC 3161 §2.4.1). The error is fault.Invalid.
func parseDER(der []byte) (query, error) {
	if !wholeRequest(der) {
		return query{}, fault.New(fault.Invalid, "body is not a DER TimeStampReq of version 1")
	}
	req, err := timestamp.ParseRequest(der)
	if err != nil {
		// The library words a ParseError for the requester; asn1's are for us.
		var worded timestamp.ParseError
		if errors.As(err, &worded) {
			return query{}, fault.New(fault.Invalid, worded.Error())
		}
		return query{}, fault.Wrap(fault.Invalid, err, "body is not a DER TimeStampReq")
	}
	q := query{
		hash:         req.HashAlgorithm,
		digest:       req.HashedMessage,
		nonce:        req.Nonce,
		certificates: req.Certificates,
		extensions:   len(req.Extensions),
	}
	if len(req.TSAPolicyOID) != 0 {
		q.policy = req.TSAPolicyOID.String()
	}
	return q, nil
}

// wholeRequest reports whether der is one SEQUENCE of version 1 holding the
// fields of a TimeStampReq and nothing else. The library neither reads the
// version nor minds what follows the fields it knows.
func wholeRequest(der []byte) bool {
	input := cryptobyte.String(der)
	var seq cryptobyte.String
	var version int
	if !input.ReadASN1(&seq, tag.SEQUENCE) || !input.Empty() ||
		!seq.ReadASN1Integer(&version) || version != 1 ||
		!seq.SkipASN1(tag.SEQUENCE) {
		return false
	}
	for _, optional := range []tag.Tag{
		tag.OBJECT_IDENTIFIER, tag.INTEGER, tag.BOOLEAN, explicit0, // extensions
	} {
		if !seq.SkipOptionalASN1(optional) {
			return false
		}
	}
	return seq.Empty()
}

// jsonQuery is the JSON form that sigstore-js sends.
type jsonQuery struct {
	ArtifactHash  []byte   `json:"artifactHash"` // base64 in the text
	HashAlgorithm string   `json:"hashAlgorithm"`
	Certificates  bool     `json:"certificates"`
	Nonce         *big.Int `json:"nonce"`
	PolicyOID     string   `json:"tsaPolicyOID"`
}

// parseJSON reads the JSON form. The error is fault.TooLarge past maxJSON, else
// fault.Invalid.
func parseJSON(body []byte) (query, error) {
	if len(body) > maxJSON {
		return query{}, fault.Newf(fault.TooLarge, "JSON request is over the limit of %d bytes", maxJSON)
	}
	var req jsonQuery
	if err := json.Unmarshal(body, &req); err != nil {
		var corrupt base64.CorruptInputError
		if errors.As(err, &corrupt) {
			return query{}, fault.New(fault.Invalid, "artifactHash is not base64")
		}
		return query{}, fault.Wrap(fault.Invalid, err, "body is not a JSON timestamp request")
	}
	return query{
		hash:         hashNamed(req.HashAlgorithm),
		digest:       req.ArtifactHash,
		policy:       req.PolicyOID,
		nonce:        req.Nonce,
		certificates: req.Certificates,
	}, nil
}

// hashNamed returns the hash with a name of the JSON form, in any case; 0 for
// names that are not accepted.
func hashNamed(name string) crypto.Hash {
	switch strings.ToLower(name) {
	case "sha256":
		return crypto.SHA256
	case "sha384":
		return crypto.SHA384
	case "sha512":
		return crypto.SHA512
	default:
		return 0
	}
}
