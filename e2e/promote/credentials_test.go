package promote

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

const (
	user     = "releaser"
	password = "a password of these registries"
)

// TestCredentials: where both registries demand a password, docker's configuration has
// it, or a helper that it names; without one nothing is copied.
func TestCredentials(t *testing.T) {
	e2etest.KeepSecret(password)
	t.Parallel()
	s := newSite(t)
	registries(t, func(t *testing.T, inner string) {
		app := e2etest.PushImage(t, inner, "staging/app")
		s.sign(t, staging, app)
		// A registry makes addresses of uploads from the name it is called by.
		from, to := e2etest.PasswordRegistry(t, inner, user, password), e2etest.PasswordRegistry(t, e2etest.PlainRegistry(t), user, password)
		list := s.list(t, map[string]string{from + "/staging/app:v1": digestOf(app)})
		for name, test := range map[string]struct {
			env  []string
			code int
		}{
			"no login":       {nil, 1},
			"wrong password": {[]string{configWith(t, map[string]string{from: password, to: "guess"})}, 1},
			"config":         {[]string{configWith(t, map[string]string{from: password, to: password})}, 0},
			"helper":         {helper(t, from, to), 0},
		} {
			place := to + "/" + strings.ReplaceAll(name, " ", "-")
			r := e2etest.Run(t, append(test.env, s.tokenEnv(t, production)), e2etest.Sigstack(t), s.promoteArgs(list, place)...)
			if r.Code != test.code || test.code != 0 && !strings.Contains(r.Stderr, "docker login") {
				t.Errorf("%s: exit %d, want %d\n%s%s", name, r.Code, test.code, r.Stdout, r.Stderr)
			}
			if test.code != 0 {
				continue
			}
			args := append([]string{"verify", "--client", s.Kit("")}, s.by(production)...)
			e2etest.MustRun(t, test.env, e2etest.Sigstack(t), append(args, "oci://"+place+"/app:v1")...)
		}
	})
}

// configWith makes docker's configuration with a password for each registry.
func configWith(t *testing.T, passwords map[string]string) string {
	t.Helper()
	auths := map[string]any{}
	for registry, password := range passwords {
		auths[registry] = map[string]string{"username": user, "password": password}
	}
	return dockerConfig(t, map[string]any{"auths": auths})
}

// helper makes a credential helper, and a configuration that names it for both registries
// and holds no password.
func helper(t *testing.T, registries ...string) []string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$1\" = get ] || exit 1\nread -r host\nprintf '{\"ServerURL\":\"%s\",\"Username\":\"" + user + "\",\"Secret\":\"" + password + "\"}' \"$host\"\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-e2e"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	helpers := map[string]string{}
	for _, registry := range registries {
		helpers[registry] = "e2e"
	}
	return []string{dockerConfig(t, map[string]any{"credHelpers": helpers}), "PATH=" + dir + ":" + os.Getenv("PATH")}
}

func dockerConfig(t *testing.T, config map[string]any) string {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e2etest.WriteFile(t, dir, "config.json", string(text))
	return "DOCKER_CONFIG=" + dir
}
