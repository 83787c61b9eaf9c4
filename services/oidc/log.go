package oidc

import (
	"context"
	"log/slog"
	"strings"
)

// dexLog takes Dex's messages. It drops those of debug level, which hold upstream
// tokens, and turns errors that are a stranger's mistake into warnings: who
// watches the log for errors is not to be woken by a wrong password.
type dexLog struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h dexLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo && h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h dexLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == slog.LevelError && isStrangers(r) {
		r = r.Clone()
		r.Level = slog.LevelWarn
		if strings.ToLower(r.Message) == notOffered {
			r.Level = slog.LevelInfo
		}
		if !h.Handler.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h dexLog) WithAttrs(attrs []slog.Attr) slog.Handler { return dexLog{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h dexLog) WithGroup(name string) slog.Handler { return dexLog{h.Handler.WithGroup(name)} }

// strangers are the messages, in lower case, that anybody can cause by what they
// send. Another wording in a later Dex makes one an error again, never silent.
var strangers = map[string]bool{
	"auth request does not have an identity for approval":                                            true,
	"connector does not allow grant":                                                                 true,
	"connector does not allow requested grant type":                                                  true,
	"connector doesn't implement token exchange":                                                     true,
	"connector mismatch: callback triggered for different connector than authentication start":       true,
	"connector mismatch: password login triggered for different connector from authentication start": true,
	"connector not allowed for client":                                                               true,
	"could not parse device request body":                                                            true,
	"could not parse request body":                                                                   true,
	"device callback: auth code does not match the device request":                                   true,
	"expected password connector in handlepasswordlogin()":                                           true,
	"failed login attempt: invalid credentials.":                                                     true,
	"failed to authenticate":                                                                         true, // also: the user refused, at the provider
	"failed to guess token type":                                                                     true,
	"failed to parse arguments":                                                                      true,
	"failed to parse authorization request":                                                          true,
	"failed to parse connector":                                                                      true,
	"failed to verify id token":                                                                      true,
	"failed to verify subject token":                                                                 true,
	"flow dispatcher reached for auth request without an identity":                                   true,
	"invalid 'state' parameter provided":                                                             true,
	"invalid client_id provided":                                                                     true,
	"mismatched connector id in auth request":                                                        true,
	"oauth2 authorization error":                                                                     true,
	"oauth2 request mapped to saml connector":                                                        true,
	"refresh token claimed twice":                                                                    true,
	"refresh token expired":                                                                          true,
	"refresh token expired due to inactivity":                                                        true,
	"saml request mapped to oauth2 connector":                                                        true,
	"the post body can not be empty.":                                                                true,
	"the post body doesn't contain 'token' parameter.":                                               true,
	"trying to claim token for different client":                                                     true,
	"unable to parse http body, make sure to send a properly formatted form request body.":           true,
	"unknown token type":                                                                             true,
	"unregistered redirect_uri":                                                                      true,
	"unsupported grant type":                                                                         true,
	"unsupported method in device callback":                                                          true,
}

// notOffered is what honest clients cause that try one way after the other: they
// are answered, and there is nothing to warn of.
const notOffered = "unsupported grant type"

func isStrangers(r slog.Record) bool {
	message := strings.ToLower(r.Message)
	if strangers[message] {
		return true
	}
	// Asking for a connector that there is not is a mistake; one that does not
	// open is the operator's to know.
	return message == "failed to get connector" && attr(r, "err", "not found")
}

// attr reports whether the attribute's text ends so.
func attr(r slog.Record, key, end string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key && strings.HasSuffix(a.Value.String(), end)
		return !found
	})
	return found
}
