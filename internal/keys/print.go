package keys

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Whatever prints a Key, a Store or a signer of one, by whatever verb, prints
// names: what is below them would show private keys and the passphrase.

// Format prints the key's name.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key "+k.Name) }

// MarshalJSON encodes the key's name.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal("key " + k.Name) }

// LogValue logs the key's name.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.Name) }

// Format prints where the store is.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keys in "+s.dir) }

// MarshalJSON encodes where the store is.
func (s *Store) MarshalJSON() ([]byte, error) { return json.Marshal("keys in " + s.dir) }

// LogValue logs where the store is.
func (s *Store) LogValue() slog.Value { return slog.StringValue(s.dir) }

func (o opaque) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "a private key") }

func (o opaque) MarshalJSON() ([]byte, error) { return json.Marshal("a private key") }

func (o opaque) LogValue() slog.Value { return slog.StringValue("a private key") }
