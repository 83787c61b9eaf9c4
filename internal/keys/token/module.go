//go:build pkcs11 && cgo

package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
	"golang.org/x/sync/semaphore"

	"sigstack/internal/fault"
)

// everything is all of a module's gate: nobody else is inside.
const everything = 1 << 20

// Pauses between restarts of a module: while nothing in it works, and while other
// keys do, whose sessions a restart closes.
const (
	restartPause = time.Second
	gentlePause  = 10 * time.Second
)

// module is a loaded library. Its state is the process's, by the standard: there
// is one C_Initialize for all keys in it.
type module struct {
	path string
	// gate is held, by one, while the library is called, and wholly while it is
	// being initialised again.
	gate *semaphore.Weighted

	// Guarded by gate: written by who holds all of it.
	ctx   *pkcs11.Ctx
	down  error  // why it is not initialised; nil: it is
	epoch uint64 // counts initialisations: sessions of earlier ones are gone

	counting  sync.Mutex
	successes map[string]uint64 // guarded by counting: calls, by token

	restarting sync.Mutex
	pause      *time.Timer // guarded by restarting: ends restartPause
	gentle     *time.Timer // guarded by restarting: ends gentlePause

	login   sync.Mutex
	refused map[string][sha256.Size]byte // guarded by login: the PIN that a token did not take
}

// modules are the loaded libraries by path. They are the process's, as a library
// that is initialised twice fails, and one that is finalised fails for everybody.
var modules = struct {
	sync.Mutex
	byPath map[string]*module
}{byPath: map[string]*module{}}

// loadModule returns the module at path, initialised.
func loadModule(path string) (*module, error) {
	modules.Lock()
	defer modules.Unlock()
	if m, ok := modules.byPath[path]; ok {
		return m, nil
	}
	ctx := pkcs11.New(path)
	if ctx == nil {
		return nil, fmt.Errorf("PKCS#11 library %s cannot be loaded: it is missing, unreadable or not for this machine", path)
	}
	if err := ctx.Initialize(); err != nil {
		ctx.Destroy()
		return nil, fmt.Errorf("initialise PKCS#11 library %s: %w", path, err)
	}
	m := &module{
		path: path, ctx: ctx, gate: semaphore.NewWeighted(everything),
		refused: map[string][sha256.Size]byte{}, successes: map[string]uint64{},
	}
	modules.byPath[path] = m
	return m, nil
}

// enter waits until the library may be called; leave ends that.
func (m *module) enter(ctx context.Context) (leave func(), err error) {
	if err := m.gate.Acquire(ctx, 1); err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the token's library is busy")
	}
	if m.down != nil {
		m.gate.Release(1)
		return nil, fault.Wrap(fault.Unavailable, m.down, "the token's library failed")
	}
	return func() { m.gate.Release(1) }, nil
}

// generation returns the number of the present initialisation.
func (m *module) generation(ctx context.Context) (uint64, error) {
	if err := m.gate.Acquire(ctx, 1); err != nil {
		return 0, fault.Wrap(fault.Unavailable, err, "the token's library is busy")
	}
	defer m.gate.Release(1)
	return m.epoch, nil
}

// errTooSoon says that a module was restarted a moment ago.
var errTooSoon = errors.New("restarted a moment ago")

// restart initialises the library again unless that has happened since epoch.
// It is the last resort when a token is away: some libraries never look again
// for one that they have lost. othersWork says that keys in another token do.
func (m *module) restart(ctx context.Context, epoch uint64, othersWork bool) error {
	m.restarting.Lock()
	defer m.restarting.Unlock()
	if now, err := m.generation(ctx); err != nil || now != epoch {
		return err
	}
	if !over(m.pause) || othersWork && !over(m.gentle) {
		return errTooSoon
	}
	if err := m.gate.Acquire(ctx, everything); err != nil {
		return fmt.Errorf("wait for calls of %s under way: %w", m.path, err)
	}
	defer m.gate.Release(everything)
	if m.down == nil {
		_ = m.ctx.Finalize() // it may be in any state; Initialize says whether it can go on
	}
	m.epoch++
	m.down = nil
	if err := m.ctx.Initialize(); err != nil {
		m.down = fmt.Errorf("initialise PKCS#11 library %s: %w", m.path, err)
	}
	m.pause, m.gentle = time.NewTimer(restartPause), time.NewTimer(gentlePause)
	return m.down
}

// succeeded counts a call.
func (m *module) succeeded(token string) {
	m.counting.Lock()
	defer m.counting.Unlock()
	m.successes[token]++
}

// successesBeside returns how many calls of keys in other tokens went well.
func (m *module) successesBeside(token string) (n uint64) {
	m.counting.Lock()
	defer m.counting.Unlock()
	for name, count := range m.successes {
		if name != token {
			n += count
		}
	}
	return n
}

// over reports whether a pause has ended, or never began.
func over(t *time.Timer) bool {
	if t == nil {
		return true
	}
	select {
	case <-t.C:
		t.Reset(0) // so that it is over for whoever asks next, too
		return true
	default:
		return false
	}
}
