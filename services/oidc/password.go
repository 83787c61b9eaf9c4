package oidc

import (
	"crypto/rand"
	"fmt"

	"golang.org/x/crypto/bcrypt"
)

// GeneratePassword returns a random password of at least 128 bits: 26 letters
// and digits, which need no quoting anywhere.
func GeneratePassword() string { return rand.Text() }

// HashPassword returns the bcrypt hash for User.PasswordHash, at the cost of 10
// (some 70 ms of CPU for each login). Passwords over 72 bytes are refused.
func HashPassword(password string) ([]byte, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}
