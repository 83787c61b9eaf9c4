package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"sigstack/internal/config"
	"sigstack/services/oidc"
)

// maxSecret bounds the file of a connector's secret, in bytes.
const maxSecret = 64 << 10

// connectors returns the configured ones with what read returns for the file of
// each secret. Errors are joined, one for each secret that cannot be had.
func (l Layout) connectors(configured []config.Connector, read func(path string) (string, error)) ([]oidc.Connector, error) {
	var out []oidc.Connector
	var errs []error
	for _, c := range configured {
		settings := maps.Clone(c.Config)
		if settings == nil {
			settings = map[string]any{}
		}
		for _, field := range slices.Sorted(maps.Keys(c.Secrets)) {
			secret, err := read(c.Secrets[field])
			if err != nil {
				errs = append(errs, fmt.Errorf("connector %q: secrets.%s: %w", c.ID, field, err))
			}
			settings[field] = secret
		}
		l.resolve(settings)
		raw, err := json.Marshal(settings)
		if err != nil {
			errs = append(errs, fmt.Errorf("connector %q: config: %w", c.ID, err))
			continue
		}
		conn := oidc.Connector{ID: c.ID, Type: c.Type, Name: c.Name, Config: raw}
		if x := c.TokenExchange; x != nil {
			conn.Exchange = &oidc.Exchange{Audiences: x.Audiences, Only: x.Only}
		}
		out = append(out, conn)
	}
	return out, errors.Join(errs...)
}

// pathFields are the fields of connectors that name a file, in lower case.
var pathFields = []string{"ca", "clientassertion", "clientcert", "clientkey", "keytabpath", "rootca", "serviceaccountfilepath"}

// resolve makes relative paths in a connector's settings those below the data
// directory, as everywhere in the configuration.
func (l Layout) resolve(settings map[string]any) {
	for key, value := range settings {
		switch value := value.(type) {
		case string:
			if value != "" && slices.Contains(pathFields, strings.ToLower(key)) {
				settings[key] = l.path(value)
			}
		case []any:
			if strings.EqualFold(key, "rootCAs") {
				settings[key] = l.resolveList(value)
			}
		case map[string]any:
			value = maps.Clone(value)
			l.resolve(value)
			settings[key] = value
		}
	}
}

// resolveList: a list of authorities may hold certificates instead of paths.
func (l Layout) resolveList(list []any) []any {
	out := slices.Clone(list)
	for i, item := range out {
		name, ok := item.(string)
		if !ok || strings.Contains(name, "-----BEGIN") {
			continue
		}
		if found, err := exists(l.path(name)); found && err == nil {
			out[i] = l.path(name)
		}
	}
	return out
}

// secret reads the file of a secret, which nobody but its owner may read. One
// newline at its end is the editor's.
func (l Layout) secret(path string) (string, error) {
	path = l.path(path)
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return "", fmt.Errorf("read secret: %s is not a regular file", path)
	case mode.Perm()&0o077 != 0:
		return "", fmt.Errorf("read secret: %s can be read by others (mode %04o): chmod 600 it, and change the secret if it was seen", path, mode.Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(secret) == 0 || len(data) > maxSecret {
		return "", fmt.Errorf("read secret: %s holds %d bytes, want 1 to %d", path, len(data), maxSecret)
	}
	return string(secret), nil
}
