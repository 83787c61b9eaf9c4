package config_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigstack/internal/config"
)

const good = `version: 1
profile: serve
url: http://sigstack.corp.example:8080
listen: 127.0.0.1:8080
ca:
  key: ca
  chain: keys/ca.chain.pem
  issuers:
    - url: https://login.corp.example
      type: email
      ca_cert: keys/login-ca.pem
      skip_email_verification: true
    - url: https://token.actions.githubusercontent.com
      type: github-workflow
    - url: https://id.corp.example
      type: uri
      subject_domain: https://corp.example
ctlog: {key: ctlog, tree_id: 77}
tlog: {key: rekor, tree_id: 88}
tsa: {key: tsa, chain: keys/tsa.chain.pem}
oidc:
  secret: oidc
  users:
    - {email: ann@corp.example, name: Ann, id: u1, password_hash: $2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE}
  connectors:
    - type: github
      id: gh
      name: GitHub
      config: {clientID: c}
      secrets: {clientSecret: keys/github-secret}
    - type: oidc
      id: ci
      name: CI
      config: {issuer: "https://ci.example", clientID: ours}
      token_exchange: {only: true}
tuf: {snapshot_key: tuf-snapshot, timestamp_key: tuf-timestamp}
`

func TestParseFillsDefaults(t *testing.T) {
	c, err := config.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.MetricsListen != "127.0.0.1:0" || c.CTLog.Prefix != "ctlog" || c.CA.Issuers[0].ClientID != "sigstore" {
		t.Errorf("defaults: %q %q %q", c.MetricsListen, c.CTLog.Prefix, c.CA.Issuers[0].ClientID)
	}
	if got := c.OIDC.Connectors[1].TokenExchange.Audiences; !slices.Equal(got, []string{"ours"}) {
		t.Errorf("audiences of an exchange: %q, want the connector's clientID", got)
	}
	if c.Host() != "sigstack.corp.example" || c.OperatorName() != "sigstack.corp.example" {
		t.Errorf("host %q, operator %q", c.Host(), c.OperatorName())
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	c, err := config.Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse(out)
	if err != nil {
		t.Fatalf("own output refused: %v\n%s", err, out)
	}
	out2, err := again.Marshal()
	if err != nil || !bytes.Equal(out, out2) {
		t.Errorf("second marshalling differs: %v\n%s\n%s", err, out, out2)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"unknown key", "version: 1", "version: 1\nports: 3", "line 2: ports: not known"},
		{"version", "version: 1", "version: 2", "version: 2 is not known"},
		{"profile", "profile: serve", "profile: prod", `profile: "prod"`},
		{"url path", "example:8080\n", "example:8080/x\n", "url:"},
		{"url final slash", "example:8080\n", "example:8080/\n", "url:"},
		{"url scheme", "http://sig", "ftp://sig", "url:"},
		{"listen port", "listen: 127.0.0.1:8080", "listen: 127.0.0.1:80800", "listen:"},
		{"listen", "listen: 127.0.0.1:8080", "listen: nowhere", "listen:"},
		{"up off loopback", "profile: serve\nurl: http://sigstack.corp.example:8080\nlisten: 127.0.0.1", "profile: up\nurl: http://sigstack.corp.example:8080\nlisten: 0.0.0.0", "loopback"},
		{"metrics off loopback", "version: 1", "version: 1\nmetrics_listen: 0.0.0.0:1", "metrics_listen"},
		{"issuer type", "type: email", "type: emial", "ca.issuers[0].type"},
		{"uri without domain", "      subject_domain: https://corp.example\n", "", "ca.issuers[2].subject_domain"},
		{"issuer twice", "https://id.corp.example", "https://login.corp.example", "listed twice"},
		{"key name", "{key: rekor", "{key: ../rekor", "tlog.key"},
		{"kind of entry", "tree_id: 88", "tree_id: 88, kinds: [dsse, hashedrekord, rekort]", `tlog.kinds[2]: "rekort" is not a known kind of entry, did you mean rekord?`},
		{"kind unlike any", "tree_id: 88", "tree_id: 88, kinds: [dsse, hashedrekord, zzzzzzzz]", `tlog.kinds[2]: "zzzzzzzz" is not a known kind of entry: want some of alpine, cose`},
		{"kind twice", "tree_id: 88", "tree_id: 88, kinds: [dsse, hashedrekord, dsse]", "tlog.kinds[2]: dsse is listed twice"},
		{"kind that clients need", "tree_id: 88", "tree_id: 88, kinds: [dsse]", "tlog.kinds: hashedrekord is missing"},
		{"operation", "tree_id: 88", "tree_id: 88, disabled_operations: [searchindex]", "did you mean searchIndex?"},
		{"attestation limit", "tree_id: 88", "tree_id: 88, attestations: true, attestation_limit: 9000000", "tlog.attestation_limit: 9000000 bytes"},
		{"limit of nothing", "tree_id: 88", "tree_id: 88, attestation_limit: 10", "tlog.attestation_limit: attestations are not stored"},
		{"tree id", "tree_id: 88", "tree_id: 0", "tlog.tree_id"},
		{"ca without ctlog", "ctlog: {key: ctlog, tree_id: 77}\n", "", "needs the ctlog section"},
		{"password grant", "oidc:\n", "oidc:\n  password_grant: true\n", "password_grant"},
		{"oidc without secret", "  secret: oidc\n", "", "oidc.secret"},
		{"plain password", "$2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE", "hunter2", "not a bcrypt hash"},
		{"issuer's authorities outside", "ca_cert: keys", "ca_cert: ../keys", `ca.issuers[0].ca_cert: "../keys/login-ca.pem" leads out`},
		{"skip without email", "type: email\n", "type: github-workflow\n", "ca.issuers[0].skip_email_verification"},
		{"own issuer with authorities", "https://login.corp.example", "http://sigstack.corp.example:8080/dex", "ca.issuers[0].ca_cert: the built-in issuer"},
		{"connector without name", "      name: GitHub\n", "", "oidc.connectors[0].name: missing"},
		{"connector without id", "      id: gh\n", "", "oidc.connectors[0].id: missing"},
		{"inline secret", "{clientID: c}", "{clientID: c, ClientSecret: s}", "say secrets: {ClientSecret: keys/gh-ClientSecret}"},
		{"secret twice", "{clientID: c}", "{clientID: c, clientsecret: s}", "oidc.connectors[0].secrets.clientSecret: config has it too"},
		{"secret outside", "keys/github-secret", "../github-secret", "oidc.connectors[0].secrets.clientSecret"},
		{"secret without file", "keys/github-secret", `""`, "name the file"},
		{"mock in earnest", "type: github\n      id", "type: mockCallback\n      id", "logs in anybody"},
		{"exchange of the wrong type", "type: oidc", "type: gitlab", "cannot tell whom a token was made for"},
		{"exchange for nobody", ", clientID: ours", "", "oidc.connectors[1].token_exchange.audiences: name"},
		{"exchange for the empty audience", "only: true", `only: true, audiences: [""]`, "one is empty"},
		{"cheap hash", "$2a$10$", "$2a$04$", "not a bcrypt hash of cost 10 to 16"},
		{"user twice", "  users:\n", "  users:\n    - {email: Ann@corp.example, name: Ann, id: u2, password_hash: $2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE}\n", `oidc.users[1].email: "ann@corp.example" is taken`},
		{"user's id twice", "  users:\n", "  users:\n    - {email: bob@corp.example, name: Bob, id: u1, password_hash: $2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE}\n", `oidc.users[1].id: "u1" is taken`},
		{"connector twice", "id: ci", "id: gh", `oidc.connectors[1].id: "gh" is taken`},
		{"connector of the users' id", "id: ci", "id: local", `oidc.connectors[1].id: "local" is taken`},
		{"demo user in earnest", "ann@corp.example", "Demo@sigstack.local", "oidc.users[0].email: demo@sigstack.local is the demo user"},
		{"issuer over plain http", "https://login.corp.example", "http://login.corp.example", "ca.issuers[0].url: \"http://login.corp.example\" is plain http"},
		{"two documents", "version: 1", "version: 1\n---\nversion: 1", "more than one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := strings.Replace(good, tt.old, tt.new, 1)
			if in == good {
				t.Fatal("the case changes nothing")
			}
			_, err := config.Parse([]byte(in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestInlineSecretOfATest: nothing in a test stack is worth a file of its own.
func TestInlineSecretOfATest(t *testing.T) {
	in := strings.Replace(good, "profile: serve", "profile: up", 1)
	in = strings.Replace(in, "secrets: {clientSecret: keys/github-secret}", "", 1)
	in = strings.Replace(in, "{clientID: c}", "{clientID: c, clientSecret: s}", 1)
	if _, err := config.Parse([]byte(in)); err != nil {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"http://localhost:8080", "https://sigstack.corp.example", "http://127.0.0.2:1", "http://[::1]:65535",
	} {
		if err := config.CheckURL(good); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	for _, bad := range []string{
		"", "localhost:8080", "ftp://host", "HTTP://host", "http://", "http://:80", "http://a b",
		"http://host/", "http://host/x", "http://host?", "http://host?q", "http://host#", "http://host#f",
		"http://me@host", "http://host:", "http://host:0", "http://host:99999", "http://host:http",
	} {
		if err := config.CheckURL(bad); err == nil || !strings.Contains(err.Error(), strconv.Quote(bad)) {
			t.Errorf("%q: got %v, want a refusal that quotes it", bad, err)
		}
	}
}

func TestIssuerValidate(t *testing.T) {
	good := config.Issuer{URL: "https://ci.example", ClientID: "sigstore", Type: "email"}
	if err := good.Validate(); err != nil {
		t.Errorf("refused: %v", err)
	}
	err := config.Issuer{URL: "ci.example", Type: "uri"}.Validate()
	if err == nil || !strings.Contains(err.Error(), `url: "ci.example"`) || !strings.Contains(err.Error(), "subject_domain: missing") {
		t.Errorf("got %v, want both problems", err)
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	_, err := config.Parse([]byte("version: 9\nprofile: x\nurl: y\nlisten: z\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"version:", "profile:", "url:", "listen:", "no service"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in:\n%v", want, err)
		}
	}
}
