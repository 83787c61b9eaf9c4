package stack_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// examples are the blocks of docs/issuers.md, each a part of section ca.
func examples(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/issuers.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, block := range regexp.MustCompile(`(?m)(?:^ {4}.*\n|^\n)+`).FindAllString(string(page), -1) {
		if text := regexp.MustCompile(`(?m)^ {4}`).ReplaceAllString(block, "  "); strings.HasPrefix(strings.TrimSpace(text), "issuers:") {
			blocks = append(blocks, strings.TrimLeft(text, "\n"))
		}
	}
	return blocks
}

// TestIssuersPage: every example of the page is accepted, and each type has one.
func TestIssuersPage(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	authority, err := os.ReadFile(filepath.Join(dir, "keys/ca.chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"login-ca.pem": authority, "cluster-ca.pem": authority, "git-ca.pem": authority, "cluster-token": []byte("t"), "github.jwks.json": []byte(keySetText),
	} {
		write(t, filepath.Join(dir, "keys"), name, data)
	}
	blocks := examples(t)
	if len(blocks) != 3 {
		t.Fatalf("the page has %d examples of issuers, want 3", len(blocks))
	}
	var types []string
	for _, block := range blocks {
		conf := issuersConfig(t, block)
		issuers, problems := stack.Layout{Dir: dir}.IssuersOf(conf, filepath.Join(dir, "none"), filepath.Join(dir, "none"))
		if len(problems) > 0 || len(issuers) != len(conf.CA.Issuers) {
			t.Errorf("%v in\n%s", problems, block)
		}
		for _, i := range issuers {
			types = append(types, string(i.Type))
		}
	}
	for _, want := range config.IssuerTypes {
		if !slices.Contains(types, want) {
			t.Errorf("the page has no example of type %s", want)
		}
	}
}
