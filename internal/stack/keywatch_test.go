package stack_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

// placed makes a test stack whose named keys live in the service.
func placed(t *testing.T, service *kmstest.Service, names ...string) (dir string, opts stack.Options) {
	t.Helper()
	elsewhere := stack.InitKeys{URIs: map[string]string{}, Create: true, Devices: keys.Devices{PluginDir: service.Plugins}}
	for _, name := range names {
		elsewhere.URIs[name] = "fake://" + name
	}
	dir = initDir(t, stack.InitConfig{Profile: config.ProfileUp, Keys: elsewhere})
	opts = options(dir, config.ProfileUp)
	opts.KMSPlugins = service.Plugins
	return dir, opts
}

// eventually waits for what the stack's own ticks bring about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestKeysAwayAndBack: when keys are away signing stops with 503, the services
// that need them are down by name, and nobody has to do anything when they are
// back.
func TestKeysAwayAndBack(t *testing.T) {
	service := kmstest.New(t)
	dir, opts := placed(t, service, "ca", "tsa", "tuf-snapshot")
	r := start(t, opts)
	sign := signer(t, dir, r)
	if err := sign(); err != nil {
		t.Fatalf("before: %v", err)
	}

	service.Stop(t)
	if err := sign(); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "key ca is unavailable; try again later") {
		t.Errorf("CA's key away: got %v, want 503 and a sentence that names the key", err)
	}
	if code, body := stamp(t, r); code != http.StatusServiceUnavailable || !strings.Contains(body, "key tsa is unavailable; try again later") {
		t.Errorf("timestamp key away: got %d %s, want 503 and a sentence that names the key", code, body)
	}
	eventually(t, "readiness names the keys", func() bool {
		code, rep := r.report(t)
		return code == http.StatusServiceUnavailable && rep.Services["ca"] == httpd.ServiceStatus{Status: httpd.Down, Detail: "key ca is unavailable"} &&
			rep.Services["tsa"].Detail == "key tsa is unavailable" && rep.Services["tlog"].Status == httpd.OK
	})

	service.Start(t)
	eventually(t, "readiness is back", func() bool {
		code, rep := r.report(t)
		return code == http.StatusOK && rep.Services["ca"].Status == httpd.OK
	})
	if err := sign(); err != nil {
		t.Errorf("when they are back: %v", err)
	}
	if code, body := stamp(t, r); code != http.StatusCreated {
		t.Errorf("timestamp when they are back: got %d %s", code, body)
	}
	end(t, r)
}

// end stops a stack.
func end(t *testing.T, r running) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// TestKeysAwayAtStart: a stack starts without its keys, is not ready, and gets
// ready when they come.
func TestKeysAwayAtStart(t *testing.T) {
	service := kmstest.New(t)
	_, opts := placed(t, service, "ca")
	service.Stop(t)
	var once bool
	opts.Log = slog.New(onMessage("start check failed", func() {
		if !once {
			once = true
			service.Start(t)
		}
	}))
	end(t, start(t, opts))
	if !once {
		t.Error("the stack was ready without its key")
	}
}

// signer returns a func that signs as a client does, in the process, with a new
// certificate each time.
func signer(t *testing.T, dir string, r running) func() error {
	t.Helper()
	client := &http.Client{Transport: httpd.InProcess{Handler: r.Handler()}}
	l := stack.Layout{Dir: dir}
	kit, err := signing.LoadKit(l.Client())
	if err != nil {
		t.Fatal(err)
	}
	email, password, err := l.DemoPassword()
	if err != nil {
		t.Fatal(err)
	}
	token, err := signing.OIDC{Issuer: r.URL() + "/dex", HTTP: client}.Password(t.Context(), email, password)
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		session, err := signing.NewSession(signing.SessionConfig{
			Kit: kit, HTTP: client, Now: time.Now, Log: slog.New(slog.DiscardHandler), Token: signing.StaticToken(token),
		})
		if err != nil {
			return err
		}
		_, err = session.SignDigest(t.Context(), sha256.Sum256([]byte(rand.Text())))
		return err
	}
}

// stamp asks for a timestamp.
func stamp(t *testing.T, r running) (int, string) {
	t.Helper()
	body := `{"artifactHash":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","hashAlgorithm":"sha256"}`
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/timestamp", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, req)
	return rec.Code, rec.Body.String()
}

func TestInitKeysRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		uris map[string]string
		want string
	}{
		"no such key":   {map[string]string{"tls-ca": "fake://a"}, "this stack has none of that name"},
		"not a URI":     {map[string]string{"ca": "a"}, "want SCHEME://KEY"},
		"one for two":   {map[string]string{"ca": "fake://a", "tsa": "fake://a"}, "keys ca and tsa have one URI"},
		"PIN in it":     {map[string]string{"ca": "pkcs11:token=a;object=b?module-path=/x&pin-value=4711"}, "put it into a file"},
		"no such thing": {map[string]string{"": "fake://a"}, "this stack has none"},
	} {
		cfg := testInit(t.TempDir())
		cfg.Keys.URIs = tt.uris
		if err := stack.Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: got %v, want %q and no PIN", name, err, tt.want)
		}
	}
}
