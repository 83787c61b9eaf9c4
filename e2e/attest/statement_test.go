package attest

import (
	"crypto/sha512"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// TestStatements: cosign signs statements that two readers may understand otherwise,
// and sigstack refuses them. Those that cosign does not sign are in e2e/negatives.
func TestStatements(t *testing.T) {
	w := newWorld(t)
	const content = "what is stated about"
	own, others := sha512.Sum512([]byte(content)), sha512.Sum512([]byte("another"))
	sha256 := `"sha256":"` + sumOf(content) + `"`
	statement := func(subjects, more string) string {
		return `{"_type":"https://in-toto.io/Statement/v1","subject":[` + subjects + `],"predicateType":"https://example.com/review/v1","predicate":{}` + more + `}`
	}
	subject := func(digests string) string { return `{"name":"artifact","digest":{` + digests + `}}` }
	tests := []struct{ name, statement, refused string }{
		{"right", statement(subject(sha256), ""), ""},
		{"two digests of one file", statement(subject(sha256+`,"sha512":"`+hex.EncodeToString(own[:])+`"`), ""), ""},
		{"another file beside it", statement(subject(`"sha256":"`+sumOf("another")+`"`)+","+subject(sha256), ""), ""},
		{"two digests of two files", statement(subject(sha256+`,"sha512":"`+hex.EncodeToString(others[:])+`"`), ""), "has the artifact's sha256, but sha512 of something else"},
		{"in the second subject", statement(subject(`"sha256":"`+sumOf("another")+`"`)+","+subject(sha256+`,"sha512":"`+hex.EncodeToString(others[:])+`"`), ""), "sha512 of something else"},
		{"a digest too short", statement(subject(sha256+`,"sha512":"00"`), ""), "has 2 digits, want 128"},
		{"a digest in upper case", statement(subject(sha256+`,"sha512":"`+strings.ToUpper(hex.EncodeToString(own[:]))+`"`), ""), "not lower-case hex"},
		{"another file", statement(subject(`"sha256":"`+sumOf("another")+`"`), ""), "none of its 1 subjects has sha256"},
		{"SHA-512 alone", statement(subject(`"sha512":"`+hex.EncodeToString(own[:])+`"`), ""), ""},
		{"SHA-512 of another file", statement(subject(`"sha512":"`+hex.EncodeToString(others[:])+`"`), ""), "none of its 1 subjects has sha256"},
		{"weak digests alone", statement(subject(`"sha1":"00","md5":"00"`), ""), "none of its 1 subjects has sha256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := w.file(t, "artifact", content)
			bundle := filepath.Join(filepath.Dir(file), "bundle.json")
			r := e2etest.Run(t, w.env(t, builder), e2etest.Client(t, "cosign-v3"), "attest-blob", "--yes",
				"--signing-config", w.Kit("signing_config.v0.2.json"), "--trusted-root", w.Kit("trusted_root.json"),
				"--statement", w.file(t, "statement.json", tt.statement), "--bundle", bundle)
			if r.Code != 0 {
				t.Fatalf("cosign does not sign it: %s", r.Stderr)
			}
			args := append(w.by(builder), "--type", "https://example.com/review/v1", "--bundle", bundle, file)
			got := w.run(t, nil, "verify-attestation", args...)
			if tt.refused != "" {
				wantRefused(t, got, tt.refused)
				return
			}
			wantPassed(t, got, "verified attestation")
		})
	}
}
