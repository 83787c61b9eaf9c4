package config_test

import (
	"strings"
	"testing"

	"sigstack/internal/config"
)

func TestSigningAlgorithms(t *testing.T) {
	for _, tt := range []struct{ names, want string }{ // "" accepts
		{"[]", ""},
		{"[" + strings.Join(config.SigningAlgorithms, ", ") + "]", ""},
		{"[ed25519, ed25519]", "ca.signing_algorithms[1]: ed25519 is listed twice"},
		{"[ecdsa-sha2-256-nistp257]", "ca.signing_algorithms[0]: "},
	} {
		_, err := config.Parse([]byte(withIssuers("serve", "    - {url: https://ci.example, type: email}\n  signing_algorithms: "+tt.names+"\n")))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.names, err, tt.want)
		}
	}
}
