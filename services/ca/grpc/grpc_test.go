package grpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
	"sigstack/services/ca/catest"
	"sigstack/services/ca/grpc/grpctest"
	"sigstack/services/ca/sct"
)

const email = "alice@example.com"

type object = map[string]any

// token is a good one but for changes.
func (f *fixture) token(t *testing.T, changes object) string {
	t.Helper()
	claims := object{"email": email, "email_verified": true}
	maps.Copy(claims, changes)
	return f.issuer.Token(t, claims)
}

// proven is a request that proves key by a signature over challenge.
func proven(t *testing.T, key *ecdsa.PrivateKey, challenge string) object {
	t.Helper()
	digest := sha256.Sum256([]byte(challenge))
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return object{"publicKeyRequest": object{
		"publicKey": object{"algorithm": "ECDSA", "content": string(pki.PublicKeyPEM(spki))}, "proofOfPossession": proof,
	}}
}

func encode(t *testing.T, request object) []byte {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// create asks the gRPC face, with metadata if there is any.
func create(t *testing.T, conn *grpc.ClientConn, request object, md ...string) (*dynamicpb.Message, error) {
	t.Helper()
	in := grpctest.FromJSON(t, "CreateSigningCertificateRequest", encode(t, request))
	ctx := metadata.AppendToOutgoingContext(t.Context(), md...)
	return grpctest.Call(ctx, t, conn, "CreateSigningCertificate", in, "SigningCertificate")
}

// TestCreate: by TLS and in plaintext, with the token in each of its places.
func TestCreate(t *testing.T) {
	f := newFixture(t)
	good, bad := f.token(t, nil), f.token(t, object{"aud": "other"})
	body := proven(t, catest.NewKey(t), email)
	withToken := maps.Clone(body)
	withToken["credentials"] = object{"oidcIdentityToken": good}
	for _, secure := range []bool{false, true} {
		conn := f.dial(t, secure)
		for _, tt := range []struct {
			name    string
			request object
			md      []string
		}{
			{"in the body", withToken, nil},
			{"in the body before the metadata", withToken, []string{"authorization", "Bearer " + bad}},
			{"authorization", body, []string{"authorization", "Bearer " + good}},
			{"authorization before oidcidentitytoken", body, []string{"authorization", "Bearer " + good, "oidcidentitytoken", bad}},
			{"oidcidentitytoken", body, []string{"oidcidentitytoken", good}},
		} {
			answer, err := create(t, conn, tt.request, tt.md...)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			chain := grpctest.Certificates(answer)
			if len(chain) != 3 || strings.TrimSpace(chain[0]) != chain[0] {
				t.Fatalf("%s: chain %q, want three trimmed certificates", tt.name, chain)
			}
			leaf, err := pki.ParseCertificatesPEM([]byte(chain[0]))
			if err != nil || leaf[0].EmailAddresses[0] != email {
				t.Errorf("%s: leaf %v, %v, want one of %s", tt.name, leaf, err, email)
			}
		}
		if _, err := create(t, conn, body, "oidcidentitytoken", good, "oidcidentitytoken", good); status.Code(err) != codes.InvalidArgument {
			t.Errorf("two tokens: %v, want %v", err, codes.InvalidArgument)
		}
	}
}

// TestRefusalsAreThoseOfHTTP: the same request gets the same code and sentence
// from both faces.
func TestRefusalsAreThoseOfHTTP(t *testing.T) {
	f := newFixture(t)
	conn := f.dial(t, true)
	key := catest.NewKey(t)
	good, body := f.token(t, nil), proven(t, key, email)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	failing := func(err error) *sct.Submit {
		submit := sct.Submit(func(context.Context, [][]byte) ([]byte, error) { return nil, err })
		return &submit
	}
	for _, tt := range []struct {
		name, token string
		request     object
		log         *sct.Submit
		code        codes.Code
		phrase      string
	}{
		{"no token", "", body, nil, codes.InvalidArgument, "error processing the identity token"},
		{"expired", f.token(t, object{"exp": f.now.Unix() - 1}), body, nil, codes.InvalidArgument, "error processing the identity token"},
		{"wrong audience", f.token(t, object{"aud": "other"}), body, nil, codes.InvalidArgument, "error processing the identity token"},
		{"no token at all", "a.b", body, nil, codes.InvalidArgument, "error processing the identity token"},
		{"unverified email", f.token(t, object{"email_verified": false}), body, nil, codes.InvalidArgument, "error processing the identity token"},
		{"no key", good, object{}, nil, codes.InvalidArgument, "public key supplied in the request could not be parsed"},
		{"key is text", good, object{"publicKeyRequest": object{"publicKey": object{"content": "hello"}}}, nil, codes.InvalidArgument, "public key supplied in the request could not be parsed"},
		{"weak key", good, proven(t, p224, email), nil, codes.InvalidArgument, "is insecure"},
		{"proof of another text", good, proven(t, key, "bob@example.com"), nil, codes.InvalidArgument, "signature supplied in the request could not be verified"},
		{"no CSR", good, object{"certificateSigningRequest": []byte("hello")}, nil, codes.InvalidArgument, "certificate signing request could not be parsed"},
		{"log is down", good, body, failing(fault.New(fault.Unavailable, "down")), codes.Unavailable, "Error entering certificate in CTL"},
		{"log is broken", good, body, failing(errors.New("broken")), codes.Internal, "Error entering certificate in CTL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.submit.Store(tt.log)
			var md []string
			if tt.token != "" {
				md = []string{"authorization", "Bearer " + tt.token}
			}
			_, err := create(t, conn, tt.request, md...)
			var http struct {
				Code    codes.Code
				Message string
			}
			w := f.post(t, tt.token, encode(t, tt.request))
			if err := json.Unmarshal(w.Body.Bytes(), &http); err != nil {
				t.Fatal(err)
			}
			got := status.Convert(err)
			if got.Code() != tt.code || !strings.Contains(got.Message(), tt.phrase) {
				t.Errorf("status %v %q, want %v with %q", got.Code(), got.Message(), tt.code, tt.phrase)
			}
			if got.Code() != http.Code || got.Message() != http.Message {
				t.Errorf("status %v %q, but %v %q by HTTP", got.Code(), got.Message(), http.Code, http.Message)
			}
		})
	}
}

// TestReadingIsAsByHTTP: protobuf's JSON of the answers is what the HTTP face
// says.
func TestReadingIsAsByHTTP(t *testing.T) {
	f := newFixture(t)
	conn := f.dial(t, false)
	for _, tt := range []struct{ method, request, answer, path string }{
		{"GetTrustBundle", "GetTrustBundleRequest", "TrustBundle", "/api/v2/trustBundle"},
		{"GetConfiguration", "GetConfigurationRequest", "Configuration", "/api/v2/configuration"},
	} {
		got, err := grpctest.Call(t.Context(), t, conn, tt.method, grpctest.New(t, tt.request), tt.answer)
		if err != nil {
			t.Fatal(err)
		}
		if want := grpctest.FromJSON(t, tt.answer, f.get(t, tt.path)); !proto.Equal(got, want) || proto.Size(want) == 0 {
			t.Errorf("%s: %v, want %v", tt.method, got, want)
		}
	}
}

func TestLimitOfAMessage(t *testing.T) {
	f := newFixture(t)
	conn := f.dial(t, true)
	request := func(size int) object {
		return object{"publicKeyRequest": object{"publicKey": object{"content": strings.Repeat("x", size)}}}
	}
	if _, err := create(t, conn, request(4<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("over 4 MiB: %v, want %v", err, codes.ResourceExhausted)
	}
	if _, err := create(t, conn, request(4<<20-100)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("under 4 MiB: %v, want %v", err, codes.InvalidArgument)
	}
}

// TestCanceledCall: the authority notices, and so does the log that it waits for.
func TestCanceledCall(t *testing.T) {
	f := newFixture(t)
	conn := f.dial(t, true)
	asked, noticed := make(chan struct{}), make(chan error, 1)
	submit := sct.Submit(func(ctx context.Context, _ [][]byte) ([]byte, error) {
		close(asked)
		<-ctx.Done()
		noticed <- ctx.Err()
		return nil, ctx.Err()
	})
	f.submit.Store(&submit)
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "oidcidentitytoken", f.token(t, nil)))
	go func() {
		<-asked
		cancel()
	}()
	in := grpctest.FromJSON(t, "CreateSigningCertificateRequest", encode(t, proven(t, catest.NewKey(t), email)))
	_, err := grpctest.Call(ctx, t, conn, "CreateSigningCertificate", in, "SigningCertificate")
	if status.Code(err) != codes.Canceled {
		t.Errorf("error %v, want %v", err, codes.Canceled)
	}
	select {
	case err := <-noticed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the log's context ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the log goes on")
	}
}

// TestNothingElseIsServed: neither reflection nor older services.
func TestNothingElseIsServed(t *testing.T) {
	f := newFixture(t)
	conn := f.dial(t, true)
	in, out := grpctest.New(t, "GetTrustBundleRequest"), grpctest.New(t, "TrustBundle")
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
		"/dev.sigstore.fulcio.v1beta.CA/GetRootCertificate", grpctest.Method("Missing"),
	} {
		if err := conn.Invoke(t.Context(), method, in, out); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v, want %v", method, err, codes.Unimplemented)
		}
	}
}
