package trust

import (
	"errors"
	"fmt"

	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// ConfigService is a service as a signing config lists it.
type ConfigService struct {
	URL        string
	APIVersion uint32
	Window     Window
	Operator   string
}

// Config is a signing config as a file holds it, in the order of the file. Both
// selectors are ANY wherever there is something to select.
type Config struct {
	CAs, OIDC, TLogs, TSAs []ConfigService
}

// ParseSigningConfig reads a file that SigningConfig made, here or in another
// stack (contract trust-material §2). It is as strict as ParseTrustedRoot.
func ParseSigningConfig(data []byte) (Config, error) {
	pb := &trustpb.SigningConfig{}
	if err := protojson.Unmarshal(data, pb); err != nil {
		return Config{}, fmt.Errorf("parse signing config: %w", err)
	}
	c, err := configFrom(pb)
	if err != nil {
		return Config{}, fmt.Errorf("parse signing config: %w", err)
	}
	if again := c.proto(); !proto.Equal(pb, again) {
		return Config{}, errors.New("parse signing config: holds values outside the format")
	}
	return c, nil
}

func configFrom(pb *trustpb.SigningConfig) (c Config, err error) {
	if got := pb.GetMediaType(); got != signingConfigMediaType {
		return Config{}, fmt.Errorf("media type is %q, want %q", got, signingConfigMediaType)
	}
	for _, l := range []struct {
		into *[]ConfigService
		from []*trustpb.Service
	}{{&c.CAs, pb.GetCaUrls()}, {&c.OIDC, pb.GetOidcUrls()}, {&c.TLogs, pb.GetRekorTlogUrls()}, {&c.TSAs, pb.GetTsaUrls()}} {
		if *l.into, err = servicesFrom(l.from); err != nil {
			return Config{}, err
		}
	}
	for _, s := range []struct {
		name string
		list []ConfigService
		by   *trustpb.ServiceConfiguration
	}{{"rekorTlogConfig", c.TLogs, pb.GetRekorTlogConfig()}, {"tsaConfig", c.TSAs, pb.GetTsaConfig()}} {
		// GetSelector of a missing configuration is UNDEFINED.
		if got := s.by.GetSelector(); len(s.list) > 0 && got != trustpb.ServiceSelector_ANY {
			return Config{}, fmt.Errorf("selector of %s is %s, want ANY: other selectors fail in some clients", s.name, got)
		}
	}
	return c, nil
}

func servicesFrom(pbs []*trustpb.Service) ([]ConfigService, error) {
	var out []ConfigService
	for _, pb := range pbs {
		w, err := window(pb.GetValidFor())
		if err != nil {
			return nil, fmt.Errorf("service %q: %w", pb.GetUrl(), err)
		}
		out = append(out, ConfigService{URL: pb.GetUrl(), APIVersion: pb.GetMajorApiVersion(), Window: w, Operator: pb.GetOperator()})
	}
	return out, nil
}

func (c Config) proto() *trustpb.SigningConfig {
	pb := &trustpb.SigningConfig{
		MediaType: signingConfigMediaType,
		CaUrls:    each(c.CAs, ConfigService.proto), OidcUrls: each(c.OIDC, ConfigService.proto),
		RekorTlogUrls: each(c.TLogs, ConfigService.proto), TsaUrls: each(c.TSAs, ConfigService.proto),
	}
	if len(c.TLogs) > 0 {
		pb.RekorTlogConfig = &trustpb.ServiceConfiguration{Selector: trustpb.ServiceSelector_ANY}
	}
	if len(c.TSAs) > 0 {
		pb.TsaConfig = &trustpb.ServiceConfiguration{Selector: trustpb.ServiceSelector_ANY}
	}
	return pb
}

func (s ConfigService) proto() *trustpb.Service {
	return &trustpb.Service{Url: s.URL, MajorApiVersion: s.APIVersion, ValidFor: timeRange(s.Window), Operator: s.Operator}
}
