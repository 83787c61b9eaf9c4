package signing_test

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sigstack/internal/signing"
)

// unsignedToken is a token for audience, by nobody: finding one verifies nothing.
func unsignedToken(t *testing.T, audience any) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"sub": "job", "aud": audience})
	if err != nil {
		t.Fatal(err)
	}
	return "eyJhbGciOiJFUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
}

// standInForGitHub answers like the token endpoint of a job of GitHub Actions; it is
// not GitHub's, and its tokens are not signed.
func standInForGitHub(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL + "/token/0?api-version=2.0"
}

const bearer = "the-bearer-of-a-job"

func giveToken(t *testing.T, audience any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+bearer || r.URL.Query().Get("api-version") != "2.0" || r.URL.Query().Get("audience") != "sigstore" {
			http.Error(w, "you sent "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": unsignedToken(t, audience)})
	}
}

// environment is that of a process, as os.Getenv reads it.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

func inGitHub(url, token string) environment {
	return environment{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": token}
}

func find(t *testing.T, e environment, tokenFile string) (*signing.Ambient, error) {
	t.Helper()
	if tokenFile == "" {
		tokenFile = filepath.Join(t.TempDir(), "none")
	}
	return signing.CI{Getenv: e.get, TokenFile: tokenFile}.Find()
}

func writeToken(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "oidc-token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCIFindsTokens(t *testing.T) {
	ours := unsignedToken(t, "sigstore")
	github := inGitHub(standInForGitHub(t, giveToken(t, "sigstore")), bearer)
	agent := environment{"SPIFFE_ENDPOINT_SOCKET": "unix://" + startAgent(t, ours)}
	join := func(parts ...environment) environment {
		all := environment{}
		for _, part := range parts {
			for name, value := range part {
				all[name] = value
			}
		}
		return all
	}
	for _, tt := range []struct {
		name      string
		env       environment
		projected string
		where     string
	}{
		{"variable", join(github, environment{"SIGSTORE_ID_TOKEN": ours + "\n"}), "", "the variable SIGSTORE_ID_TOKEN"},
		{"GitLab", environment{"GITLAB_CI": "true", "SIGSTORE_ID_TOKEN": ours}, "", "the variable SIGSTORE_ID_TOKEN of GitLab CI"},
		{"file that is named", join(github, environment{"SIGSTACK_ID_TOKEN_FILE": writeToken(t, ours)}), "", "the file "},
		{"GitHub", join(github, agent), writeToken(t, "no token"), `GitHub Actions, for "sigstore"`},
		{"projected", agent, writeToken(t, ours), "the file "},
		{"projected in GitHub without permission", environment{"GITHUB_ACTIONS": "true"}, writeToken(t, ours), "the file "},
		{"SPIFFE", agent, "", "the SPIFFE agent at /"},
		{"several audiences", environment{}, writeToken(t, unsignedToken(t, []string{"other", "sigstore"})), "the file "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := find(t, tt.env, tt.projected)
			if err != nil || found == nil {
				t.Fatalf("got %v, %v, want a token", found, err)
			}
			if !strings.HasPrefix(found.Where, tt.where) {
				t.Errorf("where: got %q, want %q", found.Where, tt.where)
			}
			token, err := found.Token(t.Context())
			if err != nil || strings.Count(token, ".") != 2 || strings.TrimSpace(token) != token {
				t.Errorf("got token of %d bytes and %v", len(token), err)
			}
		})
	}
	if found, err := find(t, environment{"CI": "true"}, ""); found != nil || err != nil {
		t.Errorf("where there is none: got %v, %v", found, err)
	}
}

// TestCIFindRefuses: what is set up wrongly is an error before anybody is asked.
func TestCIFindRefuses(t *testing.T) {
	for _, tt := range []struct {
		name      string
		env       environment
		projected string
		want      string
	}{
		{"GitHub without permission", environment{"GITHUB_ACTIONS": "true"}, "", "permissions: id-token: write"},
		{"GitHub without bearer", inGitHub("https://example.com/", ""), "", "permissions: id-token: write"},
		{"GitHub in the clear", inGitHub("http://example.com/token", bearer), "", "is not https"},
		{"GitHub at a host that only looks like ours", inGitHub("http://localhost.example.com/token", bearer), "", "is not https"},
		{"GitHub at a file", inGitHub("file:///etc/passwd", bearer), "", "holds no URL"},
		{"GitHub nowhere", inGitHub("token", bearer), "", "holds no URL"},
		{"GitLab without id_tokens", environment{"GITLAB_CI": "true"}, "", "id_tokens: SIGSTORE_ID_TOKEN: aud: sigstore"},
		{"file that is not there", environment{"SIGSTACK_ID_TOKEN_FILE": "/nonexistent"}, "", "SIGSTACK_ID_TOKEN_FILE"},
		{"projected where no directory is", environment{}, writeToken(t, "no directory") + "/oidc-token", "not a directory"},
		{"SPIFFE over TCP", environment{"SPIFFE_ENDPOINT_SOCKET": "tcp://127.0.0.1:80"}, "", "want unix:///PATH"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := find(t, tt.env, tt.projected)
			if found != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want an error with %q", found, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), bearer) {
				t.Errorf("the error %q holds the bearer token", err)
			}
		})
	}
}

// TestCITokenRefused: what is given is no token for us. Nothing of it is told.
func TestCITokenRefused(t *testing.T) {
	github := func(answer http.HandlerFunc) environment { return inGitHub(standInForGitHub(t, answer), bearer) }
	say := func(text string) environment {
		return github(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
	}
	theirs := unsignedToken(t, "sts.amazonaws.com")
	for _, tt := range []struct {
		name      string
		env       environment
		projected string
		want      string
	}{
		{"GitHub, another audience", github(giveToken(t, "sts.amazonaws.com")), "", `it is for ["sts.amazonaws.com"], want "sigstore"`},
		{"GitHub, another bearer", inGitHub(standInForGitHub(t, giveToken(t, "sigstore")), "wrong-"+bearer), "", "answered 401: Unauthorized; check that the job has"},
		{"GitHub, no JSON", say("<html>" + theirs), "", "it holds no token"},
		{"GitHub, no value", say(`{"count":0}`), "", "it holds no token"},
		{"GitHub, an endless answer", say(strings.Repeat("x", 5<<20)), "", "more than"},
		{"GitHub, a huge token", say(`{"value":"` + strings.Repeat("x", 70<<10) + `"}`), "", "it holds no token"},
		{"GitHub, no JWT", say(`{"value":"secret-secret"}`), "", "it is not a JWT"},
		{"GitHub, elsewhere", github(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusFound)
		}), "", "answered 302"},
		{"projected, another audience", environment{}, writeToken(t, theirs), "it is for"},
		{"projected, no audience", environment{}, writeToken(t, unsignedToken(t, nil)), "it is for"},
		{"projected, an audience of another type", environment{}, writeToken(t, unsignedToken(t, 7)), "with an audience"},
		{"projected, empty", environment{}, writeToken(t, ""), "want 1 to"},
		{"projected, not base64", environment{}, writeToken(t, "eyJ.!secret-secret!.c2ln"), "not base64url"},
		{"SPIFFE, another audience", environment{"SPIFFE_ENDPOINT_SOCKET": startAgent(t, theirs)}, "", "it is for"},
		{"SPIFFE, no identity", environment{"SPIFFE_ENDPOINT_SOCKET": startAgent(t, "")}, "", "no identity issued"},
		{"SPIFFE, nobody there", environment{"SPIFFE_ENDPOINT_SOCKET": "/nonexistent/agent.sock"}, "", "check that it runs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := find(t, tt.env, tt.projected)
			if err != nil {
				t.Fatal(err)
			}
			token, err := found.Token(t.Context())
			if err == nil {
				t.Fatalf("got a token of %d bytes, want an error with %q", len(token), tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q", err, tt.want)
			}
			for _, secret := range []string{bearer, theirs, "secret-secret"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error %q holds a secret", err)
				}
			}
		})
	}
}

// TestCIFileIsReadAnew: a token that was renewed is the one that the next certificate
// is asked for with.
func TestCIFileIsReadAnew(t *testing.T) {
	path := writeToken(t, unsignedToken(t, "sigstore"))
	found, err := find(t, environment{}, path)
	if err != nil {
		t.Fatal(err)
	}
	renewed := unsignedToken(t, []string{"sigstore"})
	for _, want := range []string{unsignedToken(t, "sigstore"), renewed} {
		got, err := found.Token(t.Context())
		if err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
		if err := os.WriteFile(path, []byte(renewed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzParseGitHubToken: a token comes out only as it went in, and nothing else.
func FuzzParseGitHubToken(f *testing.F) {
	f.Add([]byte(`{"count":1,"value":"a.b.c"}`))
	f.Add([]byte(`{"value":7}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, err := signing.ParseGitHubToken(body)
		if err != nil {
			if token != "" {
				t.Errorf("got a token of %d bytes with %v", len(token), err)
			}
			return
		}
		again, err := json.Marshal(map[string]string{"value": token})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := signing.ParseGitHubToken(again); err != nil || got != token {
			t.Errorf("token %q: got %q, %v when written again", token, got, err)
		}
	})
}

// FuzzParseSVIDs: a token that comes out is in the message, byte by byte.
func FuzzParseSVIDs(f *testing.F) {
	f.Add(svids("spiffe://corp/ci", "a.b.c"))
	f.Add(svids("", ""))
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, message []byte) {
		token, err := signing.ParseSVIDs(message)
		if (err == nil) != (token != "") || !strings.Contains(string(message), token) {
			t.Errorf("got %q, %v of %x", token, err, message)
		}
	})
}

// FuzzAudience: whoever is found to be an audience stands in the token.
func FuzzAudience(f *testing.F) {
	f.Add(`"sigstore"`)
	f.Add(`["a","sigstore"]`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, aud string) {
		payload := `{"aud":` + aud + `}`
		err := signing.CheckAudience("e30."+base64.RawURLEncoding.EncodeToString([]byte(payload))+".c2ln", "sigstore")
		var claims map[string]any
		if err == nil && (json.Unmarshal([]byte(payload), &claims) != nil || !strings.Contains(strings.ToLower(string(mustJSON(claims))), "sigstore")) {
			t.Errorf("%s is taken for one for sigstore", payload)
		}
	})
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // what was JSON just now
	}
	return data
}

// svids is a JWTSVIDResponse of one identity (SPIFFE Workload API), by hand.
func svids(id, token string) []byte {
	text := func(number byte, s string) []byte {
		n := len(s)
		return append([]byte{number<<3 | 2, byte(n)&0x7f | 0x80, byte(n >> 7)}, s...)
	}
	return text(1, string(append(text(1, id), text(2, token)...)))
}

// rawMessages is a codec of a server that handles messages as bytes.
type rawMessages struct{}

func (rawMessages) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawMessages) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (rawMessages) Name() string { return "proto" }

// startAgent runs a stand-in for a SPIFFE agent, which gives one token to every
// workload, or none if it is empty; it returns its socket.
func startAgent(t *testing.T, token string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a short path: sockets have 108 bytes for it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(rawMessages{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		header, _ := metadata.FromIncomingContext(stream.Context())
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		switch {
		case method != "/SpiffeWorkloadAPI/FetchJWTSVID" || string(request) != "\x0a\x08sigstore":
			return status.Errorf(codes.Unimplemented, "method %s of %q", method, request)
		case len(header.Get("workload.spiffe.io")) != 1:
			return status.Error(codes.InvalidArgument, "security header missing from request")
		case token == "":
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		answer := svids("spiffe://corp.example/ci", token)
		return stream.SendMsg(&answer)
	}))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return path
}
