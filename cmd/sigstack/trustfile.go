package main

import (
	"bytes"
	"encoding/json"
	"strings"
)

// What a file of trust material is, in the words of the flags that want one.
const (
	aTrustedRoot   = "a trusted root (trusted_root.json)"
	aSigningConfig = "a signing config (signing_config.v0.2.json)"
	aTUFRoot       = "the root of a TUF repository (root.json)"
)

// kindOf tells trust material by its content, "" for what is none of it.
func kindOf(data []byte) string {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) {
		return "PEM, a certificate or key"
	}
	var file struct {
		MediaType string `json:"mediaType"`
		Signed    struct {
			Type string `json:"_type"`
		} `json:"signed"`
		TLogs       json.RawMessage `json:"tlogs"` // of files that name no media type
		Authorities json.RawMessage `json:"certificateAuthorities"`
	}
	if json.Unmarshal(data, &file) != nil {
		return ""
	}
	media := strings.TrimPrefix(file.MediaType, "application/vnd.dev.sigstore.")
	switch {
	case strings.HasPrefix(media, "trustedroot"):
		return aTrustedRoot
	case strings.HasPrefix(media, "signingconfig"):
		return aSigningConfig
	case strings.HasPrefix(media, "clienttrustconfig"):
		return "a client trust config (client_trust_config.json), which is both a trusted root and a signing config: name those two files instead"
	case strings.HasPrefix(media, "bundle"):
		return "a signature's bundle"
	case file.Signed.Type == "root":
		return aTUFRoot
	case file.Signed.Type != "":
		return "TUF metadata of the role " + file.Signed.Type
	case file.MediaType == "" && (file.TLogs != nil || file.Authorities != nil):
		return aTrustedRoot
	}
	return ""
}

// readTrust reads a file that flag names and that is of kind want. Another one of
// trust material is the user's mistake, said in words; what is none of them is left
// to who parses it.
func readTrust(flag, path, want string) ([]byte, error) {
	data, err := readGiven(path, maxTrustFile)
	if err != nil {
		return nil, err
	}
	if got := kindOf(data); got != "" && got != want {
		return nil, usagef("%s %s: want %s; this is %s", flag, shown(path), want, shown(got))
	}
	return data, nil
}
