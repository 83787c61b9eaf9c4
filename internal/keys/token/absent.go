//go:build !pkcs11 || !cgo

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
)

// Supported says whether this program can use tokens.
const Supported = false

// ErrUnsupported says how to get a program that can use tokens.
var ErrUnsupported = errors.New("this sigstack is the static one, which cannot load a token's library: " +
	"use one built with `make build-pkcs11`, which needs a C compiler")

// Key is a key in a token.
type Key struct{}

// Open returns ErrUnsupported.
func Open(URI) (*Key, error) { return nil, ErrUnsupported }

// Public returns ErrUnsupported.
func (*Key) Public() (*ecdsa.PublicKey, error) { return nil, ErrUnsupported }

// Create returns ErrUnsupported.
func (*Key) Create(elliptic.Curve) (*ecdsa.PublicKey, error) { return nil, ErrUnsupported }

// Sign returns ErrUnsupported.
func (*Key) Sign([]byte) ([]byte, error) { return nil, ErrUnsupported }
