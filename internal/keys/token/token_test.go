//go:build pkcs11 && cgo

package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/keys/softhsmtest"
	"sigstack/internal/keys/token"
)

func open(tb testing.TB, uri string) *token.Key {
	tb.Helper()
	u, err := token.ParseURI(uri)
	if err != nil {
		tb.Fatal(err)
	}
	k, err := token.Open(u)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// newKey makes a key in the token. A process sees a token that was made after
// its library was initialised only when that happens again, which may take two
// tries.
func newKey(tb testing.TB, uri string, curve elliptic.Curve) (*token.Key, *ecdsa.PublicKey) {
	tb.Helper()
	k := open(tb, uri)
	until(tb, "the token is found", func() bool {
		_, err := k.Public()
		return fault.KindOf(err) == fault.NotFound
	})
	pub, err := k.Create(curve)
	if err != nil {
		tb.Fatal(err)
	}
	return k, pub
}

// until waits for what somebody else's clock decides.
func until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(45 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 45 s: %s", what)
		}
	}
}

func digest() []byte {
	d := make([]byte, 32)
	_, _ = rand.Read(d)
	return d
}

func sign(k *token.Key, pub *ecdsa.PublicKey) error {
	d := digest()
	sig, err := k.Sign(d)
	if err == nil && !ecdsa.VerifyASN1(pub, d, sig) {
		err = fault.New(fault.Internal, "signature does not verify")
	}
	return err
}

func TestSign(t *testing.T) {
	hsm := softhsmtest.New(t, "signs")
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		k, made := newKey(t, hsm.URI(curve.Params().Name), curve)
		if err := sign(k, made); err != nil {
			t.Errorf("%s: %v", curve.Params().Name, err)
		}
		if again, err := open(t, hsm.URI(curve.Params().Name)).Public(); err != nil || !made.Equal(again) {
			t.Errorf("%s: public half read back as %v, %v; want %v", curve.Params().Name, again, err, made)
		}
	}
	if _, err := open(t, hsm.URI("k521")).Create(elliptic.P521()); err == nil || !strings.Contains(err.Error(), "want P-256 or P-384") {
		t.Errorf("P-521: got %v", err)
	}
}

func TestSignsForManyAtOnce(t *testing.T) {
	hsm := softhsmtest.New(t, "many")
	k, pub := newKey(t, hsm.URI("k"), elliptic.P256())
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 10 {
				if err := sign(k, pub); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRefusals(t *testing.T) {
	hsm := softhsmtest.New(t, "refuses")
	for uri, want := range map[string]string{ // before anybody has logged in
		strings.Split(hsm.URI("k"), "&")[0]: "add pin-source",
		hsm.URI("k") + "x":                  "no such file",
	} {
		k := open(t, uri)
		var err error
		until(t, "the token is found", func() bool {
			_, err = k.Public()
			return fault.KindOf(err) != fault.Unavailable
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", uri, err, want)
		}
	}
	_, _ = newKey(t, hsm.URI("k"), elliptic.P256())
	twice := open(t, hsm.URI("twice"))
	for range 2 {
		if _, err := twice.Create(elliptic.P256()); err != nil && !strings.Contains(err.Error(), "more than one") {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, uri string
		kind      fault.Kind
		want      string
	}{
		{"no such key", hsm.URI("missing"), fault.NotFound, "no such key"},
		{"two such keys", hsm.URI("twice"), fault.Internal, "more than one such key"},
		{"no such token", strings.Replace(hsm.URI("k"), "token=refuses", "token=other", 1), fault.Unavailable, `token "other" is not there`},
	} {
		k := open(t, tt.uri)
		_, err := k.Public()
		if fault.KindOf(err) != tt.kind || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v of kind %d, want %q of kind %d", tt.name, err, fault.KindOf(err), tt.want, tt.kind)
		}
	}
	u, err := token.ParseURI(strings.Replace(hsm.URI("k"), hsm.Library, hsm.PINFile, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Open(u); err == nil || !strings.Contains(err.Error(), "cannot be loaded") {
		t.Errorf("a library that is none: got %v", err)
	}
}

// TestWrongPINIsTriedOnce: a few wrong ones lock a token.
func TestWrongPINIsTriedOnce(t *testing.T) {
	hsm := softhsmtest.New(t, "pins")
	write := func(pin string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(hsm.PINFile, []byte(pin+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(hsm.PINFile, mode); err != nil {
			t.Fatal(err)
		}
	}
	k := open(t, hsm.URI("k"))
	want := func(text string) {
		t.Helper()
		_, err := k.Public()
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "0000") {
			t.Errorf("got %v, want %q and not the PIN", err, text)
		}
	}
	write("00001111", 0o600)
	until(t, "the token is found", func() bool {
		_, err := k.Public()
		return fault.KindOf(err) != fault.Unavailable
	})
	want("refused this PIN before")
	want("refused this PIN before")
	write("00002222", 0o600)
	want("CKR_PIN_INCORRECT")
	want("refused this PIN before")
	write(softhsmtest.PIN, 0o604)
	want("others may read")
	write(softhsmtest.PIN, 0o600)
	if _, err := k.Create(elliptic.P256()); err != nil {
		t.Errorf("with the right PIN: %v", err)
	}
}

// TestHeals: signing stops while the token is away, in every way in which it can
// be, and goes on when it is back.
func TestHeals(t *testing.T) {
	hsm := softhsmtest.New(t, "heals")
	one, pubOne := newKey(t, hsm.URI("one"), elliptic.P256())
	two, pubTwo := newKey(t, hsm.URI("two"), elliptic.P256())
	for _, tt := range []struct {
		name       string
		away, back func(testing.TB)
	}{
		{"pulled", hsm.Pull, hsm.Back},
		{"library broken", hsm.Break, hsm.Mend},
		{"pulled again", hsm.Pull, hsm.Back},
	} {
		for _, k := range []*token.Key{one, two} {
			if pub := map[*token.Key]*ecdsa.PublicKey{one: pubOne, two: pubTwo}[k]; sign(k, pub) != nil {
				t.Fatalf("%s: no signature before", tt.name)
			}
		}
		tt.away(t)
		for range 3 {
			if err := sign(one, pubOne); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("%s: got %v of kind %d, want fault.Unavailable", tt.name, err, fault.KindOf(err))
			}
		}
		tt.back(t)
		until(t, tt.name+": signing goes on", func() bool { return sign(two, pubTwo) == nil && sign(one, pubOne) == nil })
	}
}

// TestATokenAwayLeavesOthersAlone: keys in another token of the same library go
// on, and their sessions are not closed again and again.
func TestATokenAwayLeavesOthersAlone(t *testing.T) {
	stays := softhsmtest.New(t, "stays-in")
	goes := stays.Beside(t, "goes")
	one, pubOne := newKey(t, stays.URI("one"), elliptic.P256())
	two, pubTwo := newKey(t, goes.URI("two"), elliptic.P256())
	goes.Pull(t)
	before, err := one.Generation()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * restartPause); time.Now().Before(end); {
		if err := sign(two, pubTwo); fault.KindOf(err) != fault.Unavailable {
			t.Fatalf("the token that is away: got %v, want fault.Unavailable", err)
		}
		if err := sign(one, pubOne); err != nil {
			t.Fatalf("the token that stays: %v", err)
		}
	}
	after, err := one.Generation()
	if err != nil || after > before+1 {
		t.Errorf("the library was initialised %d times in %v, %v; want once at most", after-before, 3*restartPause, err)
	}
	goes.Back(t)
	until(t, "the other token is back", func() bool { return sign(two, pubTwo) == nil })
}

// restartPause is a pause between restarts.
const restartPause = time.Second

// TestHealsUnderLoad: nobody signs wrongly or hangs while the token comes and goes.
func TestHealsUnderLoad(t *testing.T) {
	hsm := softhsmtest.New(t, "load")
	k, pub := newKey(t, hsm.URI("k"), elliptic.P256())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := sign(k, pub); err != nil && fault.KindOf(err) != fault.Unavailable {
					t.Errorf("got %v, want a signature or fault.Unavailable", err)
					return
				}
			}
		})
	}
	for range 3 {
		hsm.Pull(t)
		until(t, "signing stops", func() bool { return sign(k, pub) != nil })
		hsm.Back(t)
		until(t, "signing goes on", func() bool { return sign(k, pub) == nil })
	}
	close(stop)
	wg.Wait()
}

// TestKeyStaysInTheToken asks the token itself.
func TestKeyStaysInTheToken(t *testing.T) {
	hsm := softhsmtest.New(t, "stays")
	k, _ := newKey(t, hsm.URI("k"), elliptic.P256())
	sensitive, extractable, err := k.Protection()
	if err != nil || !sensitive || extractable {
		t.Errorf("sensitive %v, extractable %v, %v; want a key that never leaves", sensitive, extractable, err)
	}
}

func BenchmarkSign(b *testing.B) {
	hsm := softhsmtest.New(b, "bench")
	k, pub := newKey(b, hsm.URI("k"), elliptic.P256())
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if _, err := k.Sign(digest()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := sign(k, pub); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
