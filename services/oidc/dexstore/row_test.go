package dexstore

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dexidp/dex/storage"
)

// FuzzDecodeRow: whatever is accepted as a row is stored unchanged from then on.
func FuzzDecodeRow(f *testing.F) {
	seed, err := encodeRow(storage.AuthRequest{
		ID: "r", State: "s\ufffd", Scopes: []string{"openid"}, HMACKey: []byte{1},
		Expiry: time.Unix(1700000000, 5).UTC(), Claims: storage.Claims{Email: "a@b.example", Groups: []string{}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"id":"lower","ID":"upper"}`))
	f.Add([]byte(`{"State":"\ud800","Scopes":null}`))
	f.Add([]byte("{\"State\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, row []byte) {
		v, err := decodeRow[storage.AuthRequest](row)
		if err != nil {
			return
		}
		again, err := encodeRow(v)
		if err != nil {
			t.Fatalf("a decoded row does not encode: %v", err)
		}
		v2, err := decodeRow[storage.AuthRequest](again)
		if err != nil {
			t.Fatalf("an encoded row does not decode: %v", err)
		}
		if !reflect.DeepEqual(v, v2) {
			t.Errorf("row changed on a round trip:\n%+v\n%+v", v, v2)
		}
		third, err := encodeRow(v2)
		if err != nil || !bytes.Equal(again, third) {
			t.Errorf("encoding is not stable: %v\n%s\n%s", err, again, third)
		}
	})
}

// FuzzEncodeRow: a string either reads back as it was or is refused.
func FuzzEncodeRow(f *testing.F) {
	for _, s := range []string{"", "plain", "\xff", `\ufffd`, "\ufffd", "\\\xff", `\\`, "\x00\u2028<"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		row, err := encodeRow(storage.DeviceToken{DeviceCode: s})
		if got, want := err == nil, utf8.ValidString(s); got != want {
			t.Fatalf("encodeRow(%q): accepted %t, want %t", s, got, want)
		}
		if err != nil {
			return
		}
		v, err := decodeRow[storage.DeviceToken](row)
		if err != nil || v.DeviceCode != s {
			t.Errorf("%q reads back as %q, %v", s, v.DeviceCode, err)
		}
	})
}

// FuzzRowKey: different ids have different keys, inside the table's bounds.
func FuzzRowKey(f *testing.F) {
	f.Add("a", "b/c", "a/b", "c")
	f.Add("", "", "", "/")
	f.Add("\xff", "%FF", "%FF", "\xff")
	f.Fuzz(func(t *testing.T, a1, a2, b1, b2 string) {
		a, b := rowKey("t", a1, a2), rowKey("t", b1, b2)
		if same := a1 == b1 && a2 == b2; bytes.Equal(a, b) != same {
			t.Errorf("keys of (%q, %q) and (%q, %q): equal %t, want %t", a1, a2, b1, b2, !same, same)
		}
		lower, upper := tableBounds("t")
		if bytes.Compare(a, lower) < 0 || bytes.Compare(a, upper) >= 0 {
			t.Errorf("key %q lies outside [%q, %q)", a, lower, upper)
		}
	})
}

// The names on disk are a promise to directories of earlier releases.
func TestRowOnDisk(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	if err := s.CreateOfflineSessions(t.Context(), storage.OfflineSessions{UserID: "u/1", ConnID: "local"}); err != nil {
		t.Fatal(err)
	}
	row, err := s.read([]byte("offline-session/u%2F1/local"))
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(row, &fields); err != nil || fields["UserID"] != "u/1" {
		t.Errorf("row = %s, %v; want JSON with UserID u/1", row, err)
	}
}
