//go:build pkcs11 && cgo

package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
	"golang.org/x/sync/semaphore"

	"sigstack/internal/fault"
)

// Supported says whether this program can use tokens.
const Supported = true

// Bounds of the use of one key.
const (
	maxSessions = 4                // open at a time: some tokens allow 16 in all
	callTimeout = 10 * time.Second // for one signature, waiting included
)

// Key is a key in a token. It holds a few sessions open, opens them again when
// they are lost, and is safe for concurrent use.
type Key struct {
	uri     URI
	module  *module
	permits *semaphore.Weighted // one for each session

	mu      sync.Mutex
	idle    []*session // guarded by mu
	worked  bool       // guarded by mu: a call went well once, so the key exists
	failing bool       // guarded by mu: the last call did not
	beside  uint64     // guarded by mu: successes in other tokens when that began
}

// Open loads the library that u names. The token is not asked yet. Errors of the
// methods are fault.Unavailable while the token is away or its library fails,
// fault.NotFound when it has no such key, and unclassified when somebody has to
// mend something, such as a wrong PIN.
func Open(u URI) (*Key, error) {
	m, err := loadModule(u.Module)
	if err != nil {
		return nil, err
	}
	return &Key{uri: u, module: m, permits: semaphore.NewWeighted(maxSessions)}, nil
}

// Public returns the public half as the token has it.
func (k *Key) Public() (pub *ecdsa.PublicKey, err error) {
	return call(k, true, func(s *session) (*ecdsa.PublicKey, error) { return s.public(k.uri) })
}

// Create makes the key. The caller has seen that there is none.
func (k *Key) Create(curve elliptic.Curve) (*ecdsa.PublicKey, error) {
	return call(k, false, func(*session) (*ecdsa.PublicKey, error) {
		s, err := k.module.openSession(k.uri, pkcs11.CKF_RW_SESSION)
		if err != nil {
			return nil, err
		}
		defer s.close()
		return s.create(k.uri, curve)
	})
}

// Sign returns an ECDSA signature of digest as DER.
func (k *Key) Sign(digest []byte) ([]byte, error) {
	return call(k, true, func(s *session) ([]byte, error) { return s.sign(k.uri, digest) })
}

// call runs f in a session, and again in a new one when the first was lost. A
// call into C cannot be ended: one that hangs is left behind when time is up, and
// keeps its permit, so that at most maxSessions of them pile up.
func call[T any](k *Key, again bool, f func(*session) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := k.permits.Acquire(ctx, 1); err != nil {
		return *new(T), fault.Wrap(fault.Unavailable, err, "the token is busy")
	}
	done := make(chan answer, 1)
	go func() {
		defer k.permits.Release(1)
		var a answer
		a.err = k.retry(ctx, again, func(s *session) (err error) {
			a.value, err = f(s)
			return err
		})
		done <- a
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		return *new(T), fault.Newf(fault.Unavailable, "the token did not answer within %v", callTimeout)
	}
}

// retry runs f in a session that is open, then in a new one, then after another
// initialisation of the library, as long as its error may be of a lost session.
func (k *Key) retry(ctx context.Context, again bool, f func(*session) error) error {
	epoch, err := k.module.generation(ctx)
	if err != nil {
		return err
	}
	err = k.try(ctx, f)
	if !again || !lost(err) {
		return classify(err)
	}
	k.dropIdle(ctx)
	if err = k.try(ctx, f); !lost(err) || fault.KindOf(err) == fault.NotFound {
		return classify(err) // a key that was never there is no reason to disturb others
	}
	if k.module.restart(ctx, epoch, k.othersWork()) != nil {
		return classify(err) // what the token said tells more
	}
	return classify(k.try(ctx, f))
}

// othersWork reports whether something was done in other tokens since this key
// began to fail.
func (k *Key) othersWork() bool {
	now := k.module.successesBeside(k.uri.tokenName())
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.failing {
		k.failing, k.beside = true, now
	}
	return now != k.beside
}

func (k *Key) try(ctx context.Context, f func(*session) error) error {
	leave, err := k.module.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s, err := k.take()
	if err != nil {
		return err
	}
	if err = f(s); err != nil {
		s.close()
	} else {
		k.module.succeeded(k.uri.tokenName())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.idle, k.worked, k.failing = append(k.idle, s), true, false
	}
	if k.worked && fault.KindOf(err) == fault.NotFound {
		err = fault.Wrap(fault.Unavailable, err, "the key is not there any more")
	}
	return err
}

// take returns an idle session or a new one. The caller is inside the module.
func (k *Key) take() (*session, error) {
	k.mu.Lock()
	for len(k.idle) > 0 {
		last := len(k.idle) - 1
		s := k.idle[last]
		k.idle = k.idle[:last]
		if s.epoch == k.module.epoch {
			k.mu.Unlock()
			return s, nil
		}
	}
	k.mu.Unlock()
	return k.module.openSession(k.uri, 0)
}

// dropIdle closes the sessions at hand: when one is lost, the others are, too.
func (k *Key) dropIdle(ctx context.Context) {
	leave, err := k.module.enter(ctx)
	if err != nil {
		return // then they are gone anyway
	}
	defer leave()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.idle {
		if s.epoch == k.module.epoch {
			s.close()
		}
	}
	k.idle = nil
}

// permanent are the answers of a token that another session does not change.
var permanent = []pkcs11.Error{
	pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE,
	pkcs11.CKR_USER_PIN_NOT_INITIALIZED, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, pkcs11.CKR_KEY_TYPE_INCONSISTENT,
	pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_DATA_LEN_RANGE, pkcs11.CKR_FUNCTION_NOT_SUPPORTED,
}

// lost reports whether err may come from a session, token or library that is
// gone and may be back.
func lost(err error) bool {
	var answer pkcs11.Error
	if errors.As(err, &answer) {
		return !slices.Contains(permanent, answer)
	}
	kind := fault.KindOf(err)
	return err != nil && (kind == fault.Unavailable || kind == fault.NotFound)
}

// classify makes a token's answers what Open documents.
func classify(err error) error {
	var answer pkcs11.Error
	if lost(err) && errors.As(err, &answer) {
		return fault.Wrap(fault.Unavailable, err, "the token failed")
	}
	return err
}
