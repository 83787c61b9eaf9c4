package oci

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sigstack/internal/signing"
)

// ReferenceError says that a string is not a reference to an image.
type ReferenceError struct {
	Ref string
	Err error
}

// Error names the reference and the reason.
func (e *ReferenceError) Error() string {
	return fmt.Sprintf("%q is not an image reference (REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:HEX): %v", e.Ref, e.Err)
}

// Unwrap returns the reason.
func (e *ReferenceError) Unwrap() error { return e.Err }

// UnreachableError says that a registry gave no usable answer.
type UnreachableError struct {
	Registry string
	Err      error
}

// Error names the registry and the reason.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("registry %s cannot be reached: %v", e.Registry, e.Err)
}

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

// UnsignedError says that a registry holds nothing to verify an image by.
type UnsignedError struct {
	Image string   // repository@digest
	What  string   // "signature", or "attestation of type X"
	Other []string // predicate types that it has, by what nobody has verified
	At    Looked
}

// Error says where it was looked for, what there is instead, and how a copy may have
// lost it.
func (e *UnsignedError) Error() string {
	s := fmt.Sprintf("refused: %s has no %s, neither by tag nor among its referrers", e.Image, e.What)
	s += printableTypes("; it has ", e.Other)
	if e.At.Tag == "" {
		return s
	}
	return s + fmt.Sprintf(" (%s); %s", e.At, e.At.lost())
}

// Limits on what an error tells.
const (
	maxReasons = 5   // refusals or types
	maxType    = 200 // bytes of a type
)

// RefusedError says that no signature or attestation of an image passed.
type RefusedError struct {
	Image   string // repository@digest
	What    string // "signature", or "attestation of type X"
	Found   int    // how many were judged
	Cut     string // why some were not looked at; empty if all were
	Reasons []error
	At      Looked
}

// Error names the image, the number found, why each was refused, the trust root, and
// the style that is missing altogether.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("refused: no %s of %s passed; found %d", e.What, e.Image, e.Found)
	if e.Cut != "" {
		s += " (" + e.Cut + ")"
	}
	trustRoot := ""
	for i, err := range e.Reasons {
		if i == maxReasons {
			s += fmt.Sprintf("; and %d more", len(e.Reasons)-i)
			break
		}
		separator := map[bool]string{true: ": ", false: "; "}[i == 0]
		reason := err.Error()
		var refused *signing.RefusedError
		if errors.As(err, &refused) { // its own text would name the root each time
			trustRoot = refused.TrustRoot
			reason = (&signing.RefusedError{Check: refused.Check, Err: refused.Err}).Error()
			reason = strings.TrimPrefix(reason, "refused: ")
		}
		s += separator + reason
	}
	if trustRoot != "" {
		s += " (trust root " + trustRoot + ")"
	}
	if lost := e.At.lost(); lost != "" && e.Cut == "" {
		s += fmt.Sprintf(" (%s; %s)", e.At, lost)
	}
	return s
}

// Unwrap returns the reasons.
func (e *RefusedError) Unwrap() []error { return e.Reasons }

// explain turns a failed exchange with a registry into a sentence: unreachable,
// or what the registry said and what to do about it.
func explain(registry string, err error) error {
	var answered *transport.Error
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &answered):
		return explainAnswer(registry, answered)
	case errors.Is(err, errPlainHTTP) || isNetwork(err):
		return &UnreachableError{registry, err}
	}
	return err
}

func explainAnswer(registry string, err *transport.Error) error {
	switch err.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests:
		return &UnreachableError{registry, err}
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("registry %s refuses: %w; log in with docker login or crane auth login", registry, err)
	}
	return fmt.Errorf("registry %s: %w", registry, err)
}

func isNetwork(err error) bool {
	var network net.Error
	var request *url.Error
	return errors.As(err, &network) || errors.As(err, &request)
}

// notFound reports whether err is a registry's 404.
func notFound(err error) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound
}
