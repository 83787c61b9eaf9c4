package oidc

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dexidp/dex/server/oauth2"
)

// checkExchange refuses what Dex would take too easily when it trades a token of
// another provider (RFC 8693): its oidc connector checks signature, issuer and
// times, but not whom the token was made for, so that one for any other service
// would do. Reading aud before the signature is checked is sound: Dex checks the
// very same bytes afterwards.
func checkExchange(connectors map[string]Exchange, form url.Values) *oauth2.Error {
	if form.Get("grant_type") != oauth2.GrantTypeTokenExchange || len(connectors) == 0 {
		return nil // Dex has no such grant then
	}
	x, ok := connectors[form.Get("connector_id")]
	switch {
	case !ok:
		return refuseExchange("connector_id names no connector that exchanges tokens")
	case form.Get("subject_token_type") != oauth2.TokenTypeID:
		// An access token names no audience that we could check.
		return refuseExchange("subject_token_type must be " + oauth2.TokenTypeID)
	case form.Get("actor_token") != "" || form.Get("resource") != "" || form.Get("audience") != "":
		return refuseExchange("actor_token, resource and audience are not supported: the new token is for the client that asks")
	}
	for _, scope := range strings.Fields(form.Get("scope")) {
		// Dex does not look at an exchange's scopes; others ask for more clients.
		if !slices.Contains([]string{"openid", "email", "profile", "groups"}, scope) {
			return &oauth2.Error{Type: "invalid_scope", Description: "an exchange has the scopes openid, email, profile and groups", Status: http.StatusBadRequest}
		}
	}
	if !slices.ContainsFunc(audiences(form.Get("subject_token")), func(aud string) bool { return slices.Contains(x.Audiences, aud) }) {
		return refuseExchange("subject_token is for another audience")
	}
	return nil
}

func refuseExchange(why string) *oauth2.Error {
	return &oauth2.Error{Type: oauth2.InvalidRequest, Description: why, Status: http.StatusBadRequest}
}

// audiences returns the "aud" of a JWT, a string or an array (RFC 7519 §4.1.3),
// and nothing for what is no JWT.
func audiences(token string) []string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims map[string]json.RawMessage // a struct's field would take "AUD" too
	if json.Unmarshal(payload, &claims) != nil {
		return nil
	}
	var one *string // null is none, where a string would be left empty
	if json.Unmarshal(claims["aud"], &one) == nil && one != nil {
		return []string{*one}
	}
	var many []*string
	if json.Unmarshal(claims["aud"], &many) != nil {
		return nil
	}
	var found []string
	for _, aud := range many {
		if aud != nil {
			found = append(found, *aud)
		}
	}
	return found
}
