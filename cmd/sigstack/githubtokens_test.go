package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// githubTokens puts the script into a job of GitHub Actions that may ask for tokens:
// githubtokens FILE. The endpoint is a stand-in for GitHub's, which gives the token in
// FILE to whoever asks for one for sigstore.
func githubTokens(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: githubtokens file")
	}
	path := ts.MkAbs(args[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := os.ReadFile(path)
		if err != nil || r.Header.Get("Authorization") != "Bearer bearer-of-the-job" || r.URL.Query().Get("audience") != "sigstore" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": strings.TrimSpace(string(token))})
	}))
	ts.Defer(server.Close)
	ts.Setenv("GITHUB_ACTIONS", "true")
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", server.URL+"/?api-version=2.0")
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job")
}
