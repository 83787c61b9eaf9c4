package stack

import (
	"net/http"

	"sigstack/internal/httpd"
	cagrpc "sigstack/services/ca/grpc"
)

// Limits of request bodies in bytes, as the services have them: a test compares.
const (
	maxCertificateRequest = 4 << 20
	maxCall               = maxCertificateRequest + 5 // with its frame
	maxCTChain            = 500 << 10
	maxEntry              = 8 << 20
	maxSearch             = 128 << 10
	maxTimestampRequest   = 64 << 10
	maxLogin              = 256 << 10
)

// passedOn are the routes of the services that the front passes on to the
// processes that have them; ctPrefix is the path of the CT log.
func passedOn(ctPrefix string) []httpd.Route {
	const get, post = http.MethodGet, http.MethodPost
	const log = "/api/v1/log"
	ct := ctPrefix + "/ct/v1/"
	return []httpd.Route{
		{Service: "ca", Method: post, Path: "/api/v2/signingCert", MaxBody: maxCertificateRequest},
		{Service: "ca", Method: get, Path: "/api/v2/trustBundle"},
		{Service: "ca", Method: get, Path: "/api/v2/configuration"},
		{Service: "ca", Method: post, Path: "/api/v1/signingCert", MaxBody: maxCertificateRequest},
		{Service: "ca", Method: get, Path: "/api/v1/rootCert"},
		{Service: "ca", Method: post, Path: "/" + cagrpc.Service + "/CreateSigningCertificate", MaxBody: maxCall},
		{Service: "ca", Method: post, Path: "/" + cagrpc.Service + "/GetTrustBundle", MaxBody: maxCall},
		{Service: "ca", Method: post, Path: "/" + cagrpc.Service + "/GetConfiguration", MaxBody: maxCall},

		{Service: "ctlog", Method: post, Path: ct + "add-chain", MaxBody: maxCTChain},
		{Service: "ctlog", Method: post, Path: ct + "add-pre-chain", MaxBody: maxCTChain},
		{Service: "ctlog", Method: get, Path: ct + "get-sth"},
		{Service: "ctlog", Method: get, Path: ct + "get-sth-consistency"},
		{Service: "ctlog", Method: get, Path: ct + "get-proof-by-hash"},
		{Service: "ctlog", Method: get, Path: ct + "get-entries"},
		{Service: "ctlog", Method: get, Path: ct + "get-roots"},
		{Service: "ctlog", Method: get, Path: ct + "get-entry-and-proof"},

		{Service: "tlog", Method: post, Path: log + "/entries", MaxBody: maxEntry},
		{Service: "tlog", Method: get, Path: log + "/entries"},
		{Service: "tlog", Method: get, Path: log + "/entries/{id}"},
		{Service: "tlog", Method: post, Path: log + "/entries/retrieve", MaxBody: maxEntry},
		{Service: "tlog", Method: post, Path: "/api/v1/index/retrieve", MaxBody: maxSearch},
		{Service: "tlog", Method: get, Path: log},
		{Service: "tlog", Method: get, Path: log + "/proof"},
		{Service: "tlog", Method: get, Path: log + "/publicKey"},

		{Service: "tsa", Method: post, Path: "/api/v1/timestamp", MaxBody: maxTimestampRequest},
		{Service: "tsa", Method: get, Path: "/api/v1/timestamp/certchain"},

		{Service: "oidc", Method: get, Path: "/dex"},
		{Service: "oidc", Method: get, Path: "/dex/", MaxBody: maxLogin, Tree: true},
		{Service: "oidc", Method: post, Path: "/dex/", MaxBody: maxLogin, Tree: true},
	}
}
