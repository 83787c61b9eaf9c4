package trust

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sigstack/internal/pki"
)

// rootMediaType is the one string that every client accepts, although the schema
// text asks for another (contract trust-material §1).
const rootMediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

// KnownLog is a log as a trusted root lists it.
type KnownLog struct {
	BaseURL   string
	ID        [sha256.Size]byte
	PublicKey []byte // DER SPKI
	Window    Window
}

// Root is a trusted root as a file holds it, in the order of the file. It lacks
// what the format lacks: which protocol a log speaks.
type Root struct {
	TLogs, CTLogs []KnownLog
	CAs, TSAs     []Authority
}

// TrustedRoot renders trusted_root.json (contract trust-material §1). The same
// material always gives the same bytes. It fails when Validate does.
func (m Material) TrustedRoot() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	root, err := m.root()
	if err != nil {
		return nil, err
	}
	return root.JSON()
}

// root sorts by start, but v1 logs come first: one client takes the first URL for
// that of a v1 log.
func (m Material) root() (Root, error) {
	tlogs, err := known(m.TLogs)
	if err != nil {
		return Root{}, err
	}
	ctlogs, err := known(m.CTLogs)
	if err != nil {
		return Root{}, err
	}
	return Root{TLogs: tlogs, CTLogs: ctlogs, CAs: oldestFirst(m.CAs), TSAs: oldestFirst(m.TSAs)}, nil
}

func known(logs []Log) ([]KnownLog, error) {
	logs = slices.SortedFunc(slices.Values(logs), func(a, b Log) int {
		return cmp.Or(
			cmp.Compare(a.APIVersion, b.APIVersion),
			a.Window.Start.Compare(b.Window.Start),
			cmp.Compare(a.BaseURL, b.BaseURL),
			bytes.Compare(a.PublicKey, b.PublicKey))
	})
	out := make([]KnownLog, 0, len(logs))
	for _, l := range logs {
		id, err := l.ID()
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", l.BaseURL, err)
		}
		out = append(out, KnownLog{BaseURL: l.BaseURL, ID: id, PublicKey: l.PublicKey, Window: l.Window})
	}
	return out, nil
}

func oldestFirst(as []Authority) []Authority {
	return slices.SortedFunc(slices.Values(as), func(a, b Authority) int {
		return cmp.Or(
			a.Window.Start.Compare(b.Window.Start),
			cmp.Compare(a.URI, b.URI),
			bytes.Compare(a.Chain[0].Raw, b.Chain[0].Raw))
	})
}

// rootDoc fixes the order and presence of the members.
type rootDoc struct {
	MediaType string            `json:"mediaType"`
	TLogs     []json.RawMessage `json:"tlogs"`
	CAs       []json.RawMessage `json:"certificateAuthorities"`
	CTLogs    []json.RawMessage `json:"ctlogs"`
	TSAs      []json.RawMessage `json:"timestampAuthorities"`
}

// JSON renders the root in its own order.
func (r Root) JSON() ([]byte, error) {
	doc, err := r.doc()
	if err != nil {
		return nil, err
	}
	return indent(doc)
}

func (r Root) doc() (rootDoc, error) {
	pb, err := r.proto()
	if err != nil {
		return rootDoc{}, err
	}
	tlogs, err1 := rawList(pb.Tlogs)
	cas, err2 := rawList(pb.CertificateAuthorities)
	ctlogs, err3 := rawList(pb.Ctlogs)
	tsas, err4 := rawList(pb.TimestampAuthorities)
	return rootDoc{pb.MediaType, tlogs, cas, ctlogs, tsas}, errors.Join(err1, err2, err3, err4)
}

func (r Root) proto() (*trustpb.TrustedRoot, error) {
	pb := &trustpb.TrustedRoot{MediaType: rootMediaType}
	var err1, err2 error
	pb.Tlogs, err1 = logsProto(r.TLogs)
	pb.Ctlogs, err2 = logsProto(r.CTLogs)
	for _, a := range r.CAs {
		pb.CertificateAuthorities = append(pb.CertificateAuthorities, authorityProto(a))
	}
	for _, a := range r.TSAs {
		pb.TimestampAuthorities = append(pb.TimestampAuthorities, authorityProto(a))
	}
	return pb, errors.Join(err1, err2)
}

func logsProto(logs []KnownLog) ([]*trustpb.TransparencyLogInstance, error) {
	var out []*trustpb.TransparencyLogInstance
	for _, l := range logs {
		details, err := keyDetails(l.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", l.BaseURL, err)
		}
		// No checkpointKeyId and no operator: both break clients.
		out = append(out, &trustpb.TransparencyLogInstance{
			BaseUrl:       l.BaseURL,
			HashAlgorithm: commonpb.HashAlgorithm_SHA2_256,
			PublicKey: &commonpb.PublicKey{
				RawBytes:   l.PublicKey,
				KeyDetails: details,
				ValidFor:   timeRange(l.Window),
			},
			LogId: &commonpb.LogId{KeyId: l.ID[:]},
		})
	}
	return out, nil
}

// authorityProto describes the authority by its anchor, the last of the chain.
func authorityProto(a Authority) *trustpb.CertificateAuthority {
	subject := &commonpb.DistinguishedName{}
	chain := &commonpb.X509CertificateChain{}
	for _, c := range a.Chain {
		subject.CommonName = c.Subject.CommonName
		subject.Organization = ""
		if len(c.Subject.Organization) > 0 {
			subject.Organization = c.Subject.Organization[0]
		}
		chain.Certificates = append(chain.Certificates, &commonpb.X509Certificate{RawBytes: c.Raw})
	}
	return &trustpb.CertificateAuthority{Subject: subject, Uri: a.URI, CertChain: chain, ValidFor: timeRange(a.Window)}
}

// ParseTrustedRoot reads a file that TrustedRoot made, here or in another stack.
// It is strict: unknown or missing members, values that TrustedRoot would not
// write and log IDs that do not fit their keys are errors. White space is free.
func ParseTrustedRoot(data []byte) (Root, error) {
	pb := &trustpb.TrustedRoot{}
	if err := protojson.Unmarshal(data, pb); err != nil {
		return Root{}, fmt.Errorf("parse trusted root: %w", err)
	}
	if got := pb.GetMediaType(); got != rootMediaType {
		return Root{}, fmt.Errorf("parse trusted root: media type is %q, want %q", got, rootMediaType)
	}
	root, err := fromProto(pb)
	if err != nil {
		return Root{}, fmt.Errorf("parse trusted root: %w", err)
	}
	again, err := root.proto()
	if err != nil {
		return Root{}, fmt.Errorf("parse trusted root: %w", err)
	}
	if !proto.Equal(pb, again) {
		return Root{}, fmt.Errorf("parse trusted root: holds values outside the format")
	}
	return root, nil
}

func fromProto(pb *trustpb.TrustedRoot) (r Root, err error) {
	if r.TLogs, err = logsFrom(pb.GetTlogs()); err != nil {
		return Root{}, err
	}
	if r.CTLogs, err = logsFrom(pb.GetCtlogs()); err != nil {
		return Root{}, err
	}
	if r.CAs, err = authoritiesFrom(pb.GetCertificateAuthorities()); err != nil {
		return Root{}, err
	}
	if r.TSAs, err = authoritiesFrom(pb.GetTimestampAuthorities()); err != nil {
		return Root{}, err
	}
	return r, nil
}

func logsFrom(pbs []*trustpb.TransparencyLogInstance) ([]KnownLog, error) {
	var out []KnownLog
	for _, pb := range pbs {
		l := KnownLog{BaseURL: pb.GetBaseUrl(), PublicKey: pb.GetPublicKey().GetRawBytes()}
		copy(l.ID[:], pb.GetLogId().GetKeyId())
		if err := l.checkID(); err != nil {
			return nil, fmt.Errorf("log %q: %w", l.BaseURL, err)
		}
		var err error
		if l.Window, err = window(pb.GetPublicKey().GetValidFor()); err != nil {
			return nil, fmt.Errorf("log %q: %w", l.BaseURL, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// checkID accepts the IDs of both protocols, since the file does not tell them
// apart.
func (l KnownLog) checkID() error {
	host, err := hostOf(l.BaseURL)
	if err != nil {
		return err
	}
	key, err := parseKey(l.PublicKey)
	if err != nil {
		return err
	}
	ed, ok := key.(ed25519.PublicKey)
	if l.ID != pki.LogID(l.PublicKey) && (!ok || l.ID != noteID(host, ed)) {
		return fmt.Errorf("log ID does not fit the key")
	}
	return nil
}

func authoritiesFrom(pbs []*trustpb.CertificateAuthority) ([]Authority, error) {
	var out []Authority
	for _, pb := range pbs {
		a := Authority{URI: pb.GetUri()}
		for _, c := range pb.GetCertChain().GetCertificates() {
			cert, err := x509.ParseCertificate(c.GetRawBytes())
			if err != nil {
				return nil, fmt.Errorf("authority %q: parse certificate: %w", a.URI, err)
			}
			a.Chain = append(a.Chain, cert)
		}
		if len(a.Chain) == 0 {
			return nil, fmt.Errorf("authority %q: no certificates", a.URI)
		}
		var err error
		if a.Window, err = window(pb.GetValidFor()); err != nil {
			return nil, fmt.Errorf("authority %q: %w", a.URI, err)
		}
		out = append(out, a)
	}
	return out, nil
}
