package token_test

import (
	"strings"
	"testing"

	"sigstack/internal/keys/token"
)

const lib = "?module-path=/usr/lib/x.so"

func TestParseURI(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want token.URI
		text string // canonical; "" is in itself
	}{
		{"pkcs11:token=sigstack;object=ca" + lib, token.URI{Token: "sigstack", Object: "ca", Module: "/usr/lib/x.so"}, ""},
		{
			"pkcs11:id=%01%0a;token=My%20token%3B1;type=private?pin-source=file:/run/pin&module-path=/usr/lib/x.so",
			token.URI{Token: "My token;1", ID: "\x01\n", Module: "/usr/lib/x.so", PINFile: "/run/pin"},
			"pkcs11:token=My%20token%3B1;id=%01%0A?module-path=/usr/lib/x.so&pin-source=file:/run/pin",
		},
		{
			"pkcs11:serial=77;object=ca" + lib + "&pin-source=file:///run/pin",
			token.URI{Serial: "77", Object: "ca", Module: "/usr/lib/x.so", PINFile: "/run/pin"},
			"pkcs11:serial=77;object=ca" + lib + "&pin-source=file:/run/pin",
		},
	} {
		got, err := token.ParseURI(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
		text := tt.text
		if text == "" {
			text = tt.in
		}
		if got.String() != text {
			t.Errorf("%s: written as %s, want %s", tt.in, got, text)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	good := "pkcs11:token=a;object=b" + lib
	for in, want := range map[string]string{
		"https://x":                                 "not a pkcs11: URI",
		"pkcs11:":                                   "has no value",
		"pkcs11:object=b" + lib:                     "names no token",
		"pkcs11:token=a" + lib:                      "names no key",
		"pkcs11:token=a;object=b":                   "names no library",
		"pkcs11:token=a;object=":                    "is empty",
		"pkcs11:token=a;token=c;object=b" + lib:     "twice",
		"pkcs11:token=a;object=b;colour=r" + lib:    "not known",
		"pkcs11:token=a;object=%zz" + lib:           "invalid URL escape",
		"pkcs11:token=a;object=b;type=public" + lib: "want private",
		"pkcs11:token=a;object=b?module-path=x.so":  "not an absolute path",
		"pkcs11:token=a;object=b?module-name=x":     "not known",
		good + "&pin-value=1234":                    "name that with pin-source=file:/PATH",
		good + "&pin-source=1234":                   "not an absolute path",
		good + "&pin-source=|cat%20pin":             "commands are not run",
		good + "&pin-source=file://host/pin":        "not an absolute path",
		good + "&pin-source=https://host/pin":       "not an absolute path",
	} {
		if _, err := token.ParseURI(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", in, err, want)
		}
	}
	if _, err := token.ParseURI(good + "&pin-value=secret1234"); err == nil || strings.Contains(err.Error(), "secret1234") {
		t.Errorf("a refused PIN is quoted: %v", err)
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=sigstack;object=ca?module-path=/usr/lib/x.so&pin-source=file:/run/pin")
	f.Add("pkcs11:serial=77;manufacturer=m;model=n;id=%00%ff;type=private?module-path=/a")
	f.Fuzz(func(t *testing.T, in string) {
		u, err := token.ParseURI(in)
		if err != nil {
			return
		}
		again, err := token.ParseURI(u.String())
		if err != nil || again != u {
			t.Fatalf("%q: %+v is written as %s and read back as %+v, %v", in, u, u, again, err)
		}
	})
}
