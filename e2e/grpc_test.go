package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sigstack/e2e/e2etest"
	"sigstack/services/ca/grpc/grpctest"
)

// dialGRPC is a client that knows the stack's URL and, over TLS, its kit: it comes
// to the port that everybody comes to.
func dialGRPC(t *testing.T, s *e2etest.Stack) *grpc.ClientConn {
	t.Helper()
	scheme, address, _ := strings.Cut(s.URL, "://")
	transport := insecure.NewCredentials()
	if scheme == "https" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(s.Kit("tls-ca.crt.pem"), ""); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// csrRequest is a request for a certificate by a CSR, as protobuf's JSON.
func csrRequest(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	body, err := json.Marshal(map[string]any{"certificateSigningRequest": csr})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestGRPC: a gRPC client gets from the stack's one port what clients of HTTP get.
func TestGRPC(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	conn := dialGRPC(t, s)
	bundle, err := grpctest.Call(t.Context(), t, conn, "GetTrustBundle", grpctest.New(t, "GetTrustBundleRequest"), "TrustBundle")
	if err != nil {
		t.Fatal(err)
	}
	code, body := e2etest.Get(t, s.URL+"/api/v2/trustBundle")
	if want := grpctest.FromJSON(t, "TrustBundle", body); code != 200 || !proto.Equal(bundle, want) {
		t.Errorf("trust bundle %v, want that of HTTP, %d %v", bundle, code, want)
	}

	in := grpctest.FromJSON(t, "CreateSigningCertificateRequest", csrRequest(t))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "oidcidentitytoken", s.Token(t))
	answer, err := grpctest.Call(ctx, t, conn, "CreateSigningCertificate", in, "SigningCertificate")
	if err != nil {
		t.Fatal(err)
	}
	chain := grpctest.Certificates(answer)
	tail := strings.Join(chain[1:], "\n") + "\n"
	if len(chain) != 3 || !strings.Contains(e2etest.ReadFile(t, s.Kit("fulcio.crt.pem")), tail) {
		t.Errorf("chain %q, want a leaf under the kit's authority", chain)
	}

	_, err = grpctest.Call(t.Context(), t, conn, "CreateSigningCertificate", in, "SigningCertificate")
	if got := status.Convert(err); got.Code() != codes.InvalidArgument || !strings.Contains(got.Message(), "error processing the identity token") {
		t.Errorf("without a token: %v, want %v and the contract's phrase", err, codes.InvalidArgument)
	}
	if details := status.Convert(err).Details(); len(details) != 2 {
		t.Errorf("without a token: details %v, want the cause and the request's id", details)
	} else if info, ok := details[0].(*errdetails.ErrorInfo); !ok || info.GetReason() != "TOKEN_MISSING" || info.GetDomain() != "sigstack" {
		t.Errorf("without a token: told %v, want TOKEN_MISSING", details[0])
	}
	large := grpctest.FromJSON(t, "CreateSigningCertificateRequest",
		[]byte(`{"credentials":{"oidcIdentityToken":"`+strings.Repeat("x", 4<<20)+`"}}`))
	if _, err := grpctest.Call(t.Context(), t, conn, "CreateSigningCertificate", large, "SigningCertificate"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("over 4 MiB: %v, want %v", err, codes.ResourceExhausted)
	}
	for _, service := range []string{"", "dev.sigstore.fulcio.v2.CA"} {
		got, err := health.NewHealthClient(conn).Check(t.Context(), &health.HealthCheckRequest{Service: service})
		if err != nil || got.GetStatus() != health.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v, want that it serves", service, got, err)
		}
	}
}
