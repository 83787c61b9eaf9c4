package stack_test

import (
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// checked returns what `config check` says of dir, a line each, without the lines'
// numbers; those must be there.
func checked(t *testing.T, dir string) []string {
	t.Helper()
	f, err := config.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	stack.Check(f, dir, time.Now())
	var out []string
	for _, p := range f.Problems {
		if p.Line < 1 || p.Field == "" && !p.Warning {
			t.Errorf("no place: %+v", p)
		}
		p.Line = 0
		out = append(out, p.In(""))
	}
	return out
}

// copyOf copies a data directory, because init takes its time.
func copyOf(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"keys/*", "offline/*", "demo-user"} { // CopyFS gives 0666
		names, err := filepath.Glob(filepath.Join(to, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Chmod(name, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// TestCheck works on copies of one directory that init made, with TLS of its own.
func TestCheck(t *testing.T) {
	served := initDir(t, stack.InitConfig{
		Profile: config.ProfileServe, URL: "https://stack.test", Passphrase: []byte("pass"), OfflinePassphrase: []byte("other"),
	})
	t.Run("nothing", func(t *testing.T) { checkFindsNothing(t, served) })
	t.Run("files", func(t *testing.T) { checkFiles(t, served) })
	t.Run("everything at once", func(t *testing.T) { checkFindsEverything(t, served) })
	t.Run("testing does not leak", func(t *testing.T) { testingDoesNotLeak(t, served) })
	t.Run("warnings at the start", func(t *testing.T) { startWarns(t, served) })
}

// checkFindsNothing: what init makes is in order, but that root keys are still
// beside it; once they are gone there is nothing left to say.
func checkFindsNothing(t *testing.T, served string) {
	dir := copyOf(t, served)
	if got := checked(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "warning: ") || !strings.Contains(got[0], "still holds root keys") {
		t.Errorf("got %q, want the warning of the root keys only", got)
	}
	if err := os.RemoveAll(filepath.Join(dir, "offline")); err != nil {
		t.Fatal(err)
	}
	if got := checked(t, dir); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

// checkFiles: each file that the configuration names is looked at.
func checkFiles(t *testing.T, served string) {
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name, content string, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			_ = os.Remove(path) // it need not be there
			writeSecret(t, path, content, mode)
		}
	}
	conf := func(change func(*config.Config)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, dir, change) }
	}
	connector := func(settings map[string]any, secrets map[string]string) func(*testing.T, string) {
		return conf(func(c *config.Config) {
			c.OIDC.Connectors = []config.Connector{{Type: "github", ID: "gh", Name: "GitHub", Config: settings, Secrets: secrets}}
		})
	}
	tests := []struct {
		name   string
		change func(*testing.T, string)
		want   string
	}{
		{"no key", remove("keys/rekor.key"), "tlog.key: there is no key rekor in "},
		{"key of another name", conf(func(c *config.Config) { c.TSA.Key = "tsa2" }), "tsa.key: there is no key tsa2 in "},
		{"key for others", func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "keys/rekor.key"), 0o640); err != nil {
				t.Fatal(err)
			}
		}, "tlog.key: key rekor: read "},
		{"no PEM", write("keys/rekor.key", "x", 0o600), "tlog.key: key rekor: file is not one PEM block"},
		{"reference to nothing", func(t *testing.T, dir string) {
			remove("keys/rekor.key")(t, dir)
			write("keys/rekor.ref", "x", 0o600)(t, dir)
		}, "tlog.key: key rekor: "},
		{"no secret", remove("keys/oidc.secret"), "oidc.secret: there is no secret oidc in "},
		{"secret for others", func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "keys/oidc.secret"), 0o604); err != nil {
				t.Fatal(err)
			}
		}, "oidc.secret: "},
		{"no chain", remove("keys/ca.chain.pem"), "ca.chain: read certificates: "},
		{"another chain", func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, "keys/ca.chain.pem"))
			if err != nil {
				t.Fatal(err)
			}
			write("keys/tsa.chain.pem", string(data), 0o644)(t, dir)
		}, "tsa.chain: keys/tsa.chain.pem: "},
		{"chain of another key", func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, "keys/rekor.key"))
			if err != nil {
				t.Fatal(err)
			}
			write("keys/ca.key", string(data), 0o600)(t, dir)
		}, "ca.chain: keys/ca.chain.pem: "},
		{"chain upside down", func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, "keys/ca.chain.pem"))
			if err != nil {
				t.Fatal(err)
			}
			first, rest := pem.Decode(data)
			write("keys/ca.chain.pem", string(rest)+string(pem.EncodeToMemory(first)), 0o644)(t, dir)
		}, "ca.chain: keys/ca.chain.pem: "},
		{"no chain of TLS", remove("keys/tls-ca.chain.pem"), "tls.internal_ca.chain: read certificates: "},
		{"no client CA", conf(func(c *config.Config) { c.TLS.ClientCA = "keys/clients.pem" }), "tls.client_ca: read certificates: "},
		{"no certificate", conf(func(c *config.Config) {
			c.TLS = &config.TLS{Files: &config.TLSFiles{Certificate: "/nowhere/tls.crt", Key: "/nowhere/tls.key"}}
		}), "tls.files.certificate: open /nowhere/tls.crt: no such file or directory"},
		{"no certificate's key", conf(func(c *config.Config) {
			c.TLS = &config.TLS{Files: &config.TLSFiles{Certificate: "keys/ca.chain.pem", Key: "/nowhere/tls.key"}}
		}), "tls.files.key: open /nowhere/tls.key: no such file or directory"},
		{"certificate and key apart", conf(func(c *config.Config) {
			c.TLS = &config.TLS{Files: &config.TLSFiles{Certificate: "keys/ca.chain.pem", Key: "keys/rekor.key"}}
		}), "tls.files: "},
		{"no authorities of an issuer", conf(func(c *config.Config) {
			c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: "https://ci.example", ClientID: "sigstore", Type: "email", CACert: "keys/ci.pem"})
		}), "ca.issuers[1].ca_cert: read certificates: "},
		{"no secret of a connector", connector(map[string]any{"clientID": "c"}, map[string]string{"clientSecret": "keys/gh"}), "oidc.connectors[0].secrets.clientSecret: read secret: "},
		{"no file of a connector", connector(map[string]any{"clientID": "c", "rootCA": "keys/gh.pem"}, nil), "oidc.connectors[0].config.rootCA: open "},
		{"unknown setting of a connector", connector(map[string]any{"clientID": "c", "orgz": 1}, nil), "oidc.connectors[0].config.orgz: not known; docs/connectors.md has a sample of type github"},
		{"wrong type in a connector", connector(map[string]any{"clientID": "c", "loadAllGroups": "yes"}, nil), "oidc.connectors[0].config.loadAllGroups: want true or false, not text"},
		{"missing setting of a connector", connector(map[string]any{"clientSecretFile": "x"}, nil), "oidc.connectors[0].config.clientID: missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyOf(t, served)
			tt.change(t, dir)
			got := checked(t, dir)
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, tt.want) }) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}

// checkFindsEverything: one thing that is wrong hides no other.
func checkFindsEverything(t *testing.T, served string) {
	dir := copyOf(t, served)
	data, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys/rekor.key", "keys/tsa.chain.pem", "keys/oidc.secret"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Replace(string(data), "version: 1\n", "version: one\nlisten2: x\n", 1)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(checked(t, dir), "\n")
	for _, want := range []string{"version: want a whole number", "listen2: not known", "tlog.key: there is no key", "tsa.chain: read", "oidc.secret: there is no secret"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// testingDoesNotLeak: nothing of a test stack gets into production by renaming
// its profile. Each case is an operator's directory with one thing of a test.
func testingDoesNotLeak(t *testing.T, served string) {
	up := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	take := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				data, err := os.ReadFile(filepath.Join(up, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	conf := func(change func(*config.Config)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, dir, change) }
	}
	const hash = "$2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
	tests := []struct {
		name   string
		change func(*testing.T, string)
		want   string
	}{
		{"demo user's password", take("demo-user"), "profile: "},
		{"plain key", take("keys/rekor.key"), "tlog.key: rekor is not encrypted"},
		{"plain secret", take("keys/oidc.secret"), "oidc.secret: oidc is not encrypted"},
		{"plain root key", take("offline/ca-root.key"), "offline: ca-root.key: not encrypted"},
		{"CA's chain", take("keys/ca.chain.pem"), `ca.chain: keys/ca.chain.pem has the certificate of a test stack, "sigstack TEST ONLY CA"`},
		{"timestamp chain", take("keys/tsa.chain.pem"), "tsa.chain: keys/tsa.chain.pem has the certificate of a test stack"},
		{"password grant", conf(func(c *config.Config) { c.OIDC.PasswordGrant = true }), "oidc.password_grant: only profile up"},
		{"demo user", conf(func(c *config.Config) {
			c.OIDC.Users = []config.User{{Email: stack.DemoUser, Name: "x", ID: "x", PasswordHash: hash}}
		}), "oidc.users[0].email: demo@sigstack.local is the demo user"},
		{"cheap password", conf(func(c *config.Config) {
			c.OIDC.Users = []config.User{{Email: "a@b", Name: "x", ID: "x", PasswordHash: strings.Replace(hash, "10", "04", 1)}}
		}), "oidc.users[0].password_hash: not a bcrypt hash of cost"},
		{"inline secret", conf(func(c *config.Config) {
			c.OIDC.Connectors = []config.Connector{{Type: "github", ID: "gh", Name: "G", Config: map[string]any{"clientID": "c", "clientSecret": "s"}}}
		}), "oidc.connectors[0].config.clientSecret: a secret does not belong"},
		{"connector for anybody", conf(func(c *config.Config) {
			c.OIDC.Connectors = []config.Connector{{Type: "mockCallback", ID: "m", Name: "M"}}
		}), "oidc.connectors[0].type: mockCallback logs in anybody"},
		{"plain issuer", conf(func(c *config.Config) {
			c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: "http://issuer.test", ClientID: "sigstore", Type: "email"})
		}), `ca.issuers[1].url: "http://issuer.test" is plain http`},
		{"all of it", func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(up)); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			data = []byte(strings.Replace(string(data), "profile: up", "profile: serve", 1))
			if err := os.WriteFile(filepath.Join(dir, "config.yaml"), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "ca.chain: keys/ca.chain.pem has the certificate of a test stack"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyOf(t, served)
			tt.change(t, dir)
			if got := checked(t, dir); !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, tt.want) && !strings.HasPrefix(line, "warning") }) {
				t.Errorf("config check says\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
			opts := options(dir, config.ProfileServe)
			opts.Passphrase, opts.Listen = []byte("pass"), "127.0.0.1:0"
			s, err := stack.Open(t.Context(), opts)
			if err == nil {
				_ = s.Close()
				t.Fatal("serve starts")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("serve says\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
	t.Run("nothing of it", func(t *testing.T) { // or the cases would be refused for something else
		opts := options(copyOf(t, served), config.ProfileServe)
		opts.Passphrase, opts.Listen = []byte("pass"), "127.0.0.1:0"
		s, err := stack.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// startWarns: what config check warns of is in the log of a start.
func startWarns(t *testing.T, served string) {
	dir := copyOf(t, served)
	edit(t, dir, func(c *config.Config) { c.CA.Issuers[0].SkipEmailVerification = true })
	var seen strings.Builder
	opts := options(dir, config.ProfileServe)
	opts.Passphrase, opts.Listen = []byte("pass"), "127.0.0.1:0"
	opts.Log = slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := seen.String(); !strings.Contains(got, "ca.issuers[0].skip_email_verification") || !strings.Contains(got, "still holds root keys") {
		t.Errorf("warned of %s", got)
	}
}
