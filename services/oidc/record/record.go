// Package record puts on record who logs in at the issuer, who fails to, and each
// token that is signed, before any of it is answered. It stands around Dex: its
// signer, its storage and its handler; how records are kept is the audit's.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dexidp/dex/server/signer"
	"github.com/dexidp/dex/storage"

	"sigstack/internal/audit"
)

// service is the issuer's name in records.
const service = "oidc"

// Recorder puts what Dex does on record. Every field is required.
type Recorder struct {
	// Issuer is the URL of the issuer, Path its path.
	Issuer, Path string
	// Local is the id of the connector of local passwords, which the password grant
	// asks too.
	Local string
	// Record puts an event on record and returns once it is on disk. After an error
	// the event must not be answered.
	Record func(context.Context, audit.Event) error
	// Requests are the logins under way.
	Requests interface {
		GetAuthRequest(ctx context.Context, id string) (storage.AuthRequest, error)
	}
	// Accounts are those of Local, as they are written, by their name in lower case.
	Accounts map[string]string

	seen accounts
}

// Signer returns s, but no token leaves it that is not on record.
func (r *Recorder) Signer(s signer.Signer) signer.Signer { return recordedSigner{s, r} }

type recordedSigner struct {
	signer.Signer
	recorder *Recorder
}

// claims are those of a token that are worth a record. Its hashes of other tokens
// are left out.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expiry    int64    `json:"exp"`
	ID        string   `json:"jti"`
	Email     string   `json:"email"`
	Verified  bool     `json:"email_verified"`
	Federated struct {
		ConnectorID string `json:"connector_id"`
	} `json:"federated_claims"`
}

// audience is a string or an array of them (RFC 7519 §4.1.3).
type audience []string

// UnmarshalJSON takes both.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// Sign signs payload and returns the token once it is on record.
func (s recordedSigner) Sign(ctx context.Context, payload []byte) (string, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return "", fmt.Errorf("read claims: %w", err)
	}
	token, err := s.Signer.Sign(ctx, payload)
	if err != nil {
		return "", errors.Join(s.recorder.Record(ctx, c.event(ctx, audit.Failed)), err)
	}
	if err := s.recorder.recordGrant(ctx, &c); err != nil {
		return "", err
	}
	if err := s.recorder.Record(ctx, c.event(ctx, audit.OK)); err != nil {
		return "", err
	}
	return token, nil
}

// event is that of a token: who it is for is the e-mail address, if it has one,
// since that is what certificates name.
func (c *claims) event(ctx context.Context, outcome audit.Outcome) audit.Event {
	e := audit.Event{
		Action: audit.ActionToken, Outcome: outcome, Service: service, Issuer: c.Issuer, Subject: c.Email,
		Detail: map[string]string{
			"sub": c.Subject, "audience": strings.Join(c.Audience, " "), "token_id": c.ID,
			"connector": c.Federated.ConnectorID, "expires": time.Unix(c.Expiry, 0).UTC().Format(time.RFC3339),
		},
	}
	if e.Subject == "" {
		e.Subject = c.Subject
	}
	if asked := attemptOf(ctx); asked != nil {
		e.Detail["grant"] = asked.grant
		if e.Detail["connector"] == "" {
			e.Detail["connector"] = asked.connector
		}
	}
	return e
}

// recordGrant records the login that a grant is by itself, at its first token: no
// login page, and no stored request, comes before it.
func (r *Recorder) recordGrant(ctx context.Context, c *claims) error {
	asked := attemptOf(ctx)
	if asked == nil || !asked.logsIn() || asked.recorded {
		return nil
	}
	asked.recorded = true
	e := c.event(ctx, audit.OK)
	e.Action = audit.ActionLogin
	e.Detail = map[string]string{"connector": asked.connector, "grant": asked.grant, "sub": c.Subject}
	return r.Record(ctx, e)
}

// Storage returns s, but no login under way becomes one that is done without a
// record of it.
func (r *Recorder) Storage(s storage.Storage) storage.Storage { return recordedStorage{s, r} }

type recordedStorage struct {
	storage.Storage
	recorder *Recorder
}

// UpdateAuthRequest implements storage.Storage.
func (s recordedStorage) UpdateAuthRequest(ctx context.Context, id string, updater func(storage.AuthRequest) (storage.AuthRequest, error)) error {
	return s.Storage.UpdateAuthRequest(ctx, id, func(old storage.AuthRequest) (storage.AuthRequest, error) {
		done, err := updater(old)
		if err != nil || old.LoggedIn || !done.LoggedIn {
			return done, err
		}
		if err := s.recorder.Record(ctx, s.recorder.login(&done)); err != nil {
			return done, err
		}
		s.recorder.remember(attemptOf(ctx))
		return done, nil
	})
}

// login is the event of a login that is done.
func (r *Recorder) login(req *storage.AuthRequest) audit.Event {
	e := audit.Event{
		Action: audit.ActionLogin, Outcome: audit.OK, Service: service, Issuer: r.Issuer, Subject: req.Claims.Email,
		Detail: map[string]string{"connector": req.ConnectorID, "user_id": req.Claims.UserID, "client": req.ClientID},
	}
	if e.Subject == "" {
		e.Subject = req.Claims.UserID
	}
	return e
}
