// Package grpc is the gRPC face of the certificate authority (contract: ca.md
// §1), on the listener of the HTTP one. It holds the messages' encoding; what a
// request means is package ca's, and how calls travel is httpd's.
package grpc

import (
	_ "embed" // for Schema
	"net/http"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/services/ca"
)

// Service is the name of the service on the wire.
const Service = "dev.sigstore.fulcio.v2.CA"

// Schema defines the service in the language of protobuf.
//
//go:embed ca.proto
var Schema string

// maxMessage is the receive limit of the contract's §2, in bytes.
const maxMessage = 4 << 20

// Mount adds the service's methods, beside those that authority mounts itself.
func Mount(authority *ca.Service, mux *httpd.Mux) {
	f := face{authority}
	g := mux.Group("ca", httpd.GRPCErrors)
	g.HandleGRPC(Service, "CreateSigningCertificate", maxMessage, f.create)
	public := g.As(httpd.Public)
	public.HandleGRPC(Service, "GetTrustBundle", maxMessage, empty(f.trustBundle))
	public.HandleGRPC(Service, "GetConfiguration", maxMessage, empty(f.configuration))
}

type face struct{ authority *ca.Service }

func (f face) create(r *http.Request, message []byte) ([]byte, error) {
	chain, err := f.authority.Certify(r.Context(), func() (ca.Request, error) {
		req, err := decodeRequest(message)
		if err == nil && req.Token == "" {
			req.Token = token(r.Header)
		}
		return req, err
	})
	if err != nil {
		return nil, err
	}
	return encodeCertificate(chain), nil
}

// token is that of a call's metadata: of authorization, else of
// oidcidentitytoken, which must be there exactly once.
func token(metadata http.Header) string {
	if bearer := httpd.BearerToken(metadata); bearer != "" {
		return bearer
	}
	if values := metadata.Values("Oidcidentitytoken"); len(values) == 1 {
		return values[0]
	}
	return ""
}

func (f face) trustBundle() []byte { return encodeTrustBundle(f.authority.Bundle()) }

func (f face) configuration() []byte { return encodeConfiguration(f.authority.Issuers()) }

// empty answers a request message that has no fields.
func empty(answer func() []byte) httpd.GRPCFunc {
	return func(_ *http.Request, message []byte) ([]byte, error) {
		if err := eachField(message, func(fieldNumber, []byte) error { return nil }); err != nil {
			return nil, err
		}
		return answer(), nil
	}
}

// malformed is the error for a message that is none.
func malformed(why string) error {
	return fault.New(fault.Invalid, "request message is malformed: "+why)
}
