package trust

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"

	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
)

const (
	signingConfigMediaType = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
	clientConfigMediaType  = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
)

// SigningConfig renders signing_config.v0.2.json (contract trust-material §2),
// newest services first. The same material always gives the same bytes. It
// fails when Validate does.
func (m Material) SigningConfig() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	doc, err := raw(m.signingConfig())
	if err != nil {
		return nil, err
	}
	return indent(doc)
}

func (m Material) signingConfig() *trustpb.SigningConfig {
	pb := &trustpb.SigningConfig{
		MediaType:     signingConfigMediaType,
		CaUrls:        m.services(m.CAServices),
		OidcUrls:      m.services(m.OIDCServices),
		RekorTlogUrls: m.services(m.TLogServices),
		TsaUrls:       m.services(m.TSAServices),
	}
	// ANY is the one selector that works everywhere: one client refuses others,
	// and EXACT counts operators, of which a stack has one.
	if len(pb.RekorTlogUrls) > 0 {
		pb.RekorTlogConfig = &trustpb.ServiceConfiguration{Selector: trustpb.ServiceSelector_ANY}
	}
	if len(pb.TsaUrls) > 0 {
		pb.TsaConfig = &trustpb.ServiceConfiguration{Selector: trustpb.ServiceSelector_ANY}
	}
	return pb
}

func (m Material) services(list []Service) []*trustpb.Service {
	list = slices.SortedFunc(slices.Values(list), func(a, b Service) int {
		return cmp.Or(
			b.Window.Start.Compare(a.Window.Start),
			cmp.Compare(b.APIVersion, a.APIVersion),
			cmp.Compare(a.URL, b.URL))
	})
	var out []*trustpb.Service
	for _, s := range list {
		out = append(out, &trustpb.Service{
			Url:             s.URL,
			MajorApiVersion: s.APIVersion,
			ValidFor:        timeRange(s.Window),
			Operator:        m.Operator,
		})
	}
	return out
}

// ClientTrustConfig renders both files as one (contract trust-material §3).
func (m Material) ClientTrustConfig() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	root, err := m.root()
	if err != nil {
		return nil, err
	}
	rootDoc, err1 := root.doc()
	config, err2 := raw(m.signingConfig())
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return indent(struct {
		MediaType     string          `json:"mediaType"`
		TrustedRoot   any             `json:"trustedRoot"`
		SigningConfig json.RawMessage `json:"signingConfig"`
	}{clientConfigMediaType, rootDoc, config})
}
