package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// shape checks that an answer is a refusal as the contract words it: its status,
// its content type, its body, and want in its message.
type shape func(a answer, status int, want string) error

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// grpcError is the CA's form (contract: ca.md §9).
func grpcError(code int) shape {
	return func(a answer, status int, want string) error {
		var got struct {
			Code    *int      `json:"code"`
			Message *string   `json:"message"`
			Details *[]detail `json:"details"`
		}
		if err := decodeError(a, status, &got); err != nil {
			return err
		}
		if got.Code == nil || got.Message == nil || got.Details == nil || *got.Code != code {
			return fmt.Errorf("body %s, want code %d, a message and details", a.body, code)
		}
		for _, d := range *got.Details {
			if err := d.check(a); err != nil {
				return err
			}
		}
		return worded(a, *got.Message, want)
	}
}

// detail is what programs are told of an error: its cause, or the request's id
// (googleapis: google/rpc/error_details.proto).
type detail struct {
	Type      string            `json:"@type"`
	Reason    string            `json:"reason"`
	Domain    string            `json:"domain"`
	Metadata  map[string]string `json:"metadata"`
	RequestID string            `json:"requestId"`
}

var reasonForm = regexp.MustCompile(`^[A-Z][A-Z_]{2,62}$`)

func (d detail) check(a answer) error {
	switch d.Type {
	case "type.googleapis.com/google.rpc.ErrorInfo":
		if reasonForm.MatchString(d.Reason) && d.Domain == "sigstack" && d.RequestID == "" {
			return nil
		}
	case "type.googleapis.com/google.rpc.RequestInfo":
		if d.Reason == "" && d.RequestID != "" && d.RequestID == a.header.Get("X-Request-Id") {
			return nil
		}
	}
	return fmt.Errorf("body %s: detail %+v is neither a cause nor the request's id", a.body, d)
}

// restError is the form of all else that is ours (contracts: rekor-v1.md §1,
// tsa-and-others.md). Schema failures are 422 with a code of their own.
func restError(a answer, status int, want string) error {
	var got struct {
		Code    *int    `json:"code"`
		Message *string `json:"message"`
	}
	if err := decodeError(a, status, &got); err != nil {
		return err
	}
	if got.Code == nil || got.Message == nil {
		return fmt.Errorf("body %s, want a code and a message", a.body)
	}
	schema := status == http.StatusUnprocessableEntity && *got.Code >= 601 && *got.Code <= 606
	if *got.Code != status && !schema {
		return fmt.Errorf("body %s, want code %d", a.body, status)
	}
	return worded(a, *got.Message, want)
}

// decodeError demands a status and one JSON object of the members that v has.
func decodeError(a answer, status int, v any) error {
	if a.status != status {
		return fmt.Errorf("answer %d %.200q, want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		return fmt.Errorf("content type %q, want application/json", got)
	}
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("body %.200q: %w", a.body, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("body %.200q goes on after its object", a.body)
	}
	return nil
}

// textError is ctfe's form: a sentence.
func textError(a answer, status int, want string) error {
	if a.status != status {
		return fmt.Errorf("answer %d %.200q, want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		return fmt.Errorf("content type %q, want plain text", got)
	}
	// Its causes are Go's own sentences, such as "json: cannot unmarshal".
	return free(a, string(a.body), want, stacks)
}

// oauthError is RFC 6749's object (§5.2).
func oauthError(a answer, status int, want string) error {
	var got struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := decodeError(a, status, &got); err != nil {
		return err
	}
	if got.Error == "" {
		return fmt.Errorf("body %s, want an error", a.body)
	}
	return worded(a, got.Error+": "+got.Description, want)
}

// pageError is a page for people.
func pageError(a answer, status int, want string) error {
	if a.status != status {
		return fmt.Errorf("answer %d %.300q, want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		return fmt.Errorf("content type %q, want HTML", got)
	}
	return worded(a, string(a.body), want)
}

// noBody is Rekor's 404 of an entry (contract: rekor-v1.md §1).
func noBody(a answer, status int, _ string) error {
	if a.status != status || len(a.body) != 0 {
		return fmt.Errorf("answer %d %.200q, want %d without a body", a.status, a.body, status)
	}
	return nil
}

// granted is for oddities that mean nothing to a route.
func granted(a answer, status int, want string) error {
	if a.status != status || status >= 400 {
		return fmt.Errorf("answer %d %.200q, want %d", a.status, a.body, status)
	}
	return worded(a, string(a.body), want)
}

// Signs that an answer tells of our insides: stacks and paths, and in our own
// words also Go's types, packages and addresses.
var (
	stacks = regexp.MustCompile(`\.go\b|goroutine |panic|runtime error|sigstack/|/tmp/|/root/|/home/|map\[|0x[0-9a-f]{6}`)
	types  = regexp.MustCompile(`Go (value|struct)|\b(json|base64|asn1|strconv|url|os|pebble|storage): |` +
		`\b(ca|tlog|tsa|tuf|oidc|entry|rekorv1|ctlog|fault|httpd|big|http)\.[A-Za-z]`)
)

// worded checks a message: want is in it and nothing of our insides.
func worded(a answer, message, want string) error {
	return free(a, message, want, stacks, types)
}

func free(a answer, message, want string, leaks ...*regexp.Regexp) error {
	if !strings.Contains(message, want) {
		return fmt.Errorf("answer %d says %.300q, want %q in it", a.status, message, want)
	}
	for _, leak := range leaks {
		if found := leak.Find(a.body); found != nil && a.status >= 400 {
			return fmt.Errorf("answer %d %.300q tells of our insides: %q", a.status, a.body, found)
		}
	}
	return nil
}
