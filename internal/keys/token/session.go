//go:build pkcs11 && cgo

package token

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/miekg/pkcs11"

	"sigstack/internal/fault"
)

// session is an open session, logged in.
type session struct {
	*pkcs11.Ctx
	handle pkcs11.SessionHandle
	key    pkcs11.ObjectHandle // the private key; 0 until it is looked for
	epoch  uint64
}

// States of a session in which the user is logged in (PKCS#11 §5.6).
const (
	stateROUser = 1
	stateRWUser = 3
)

// openSession opens a session of the token that u names. The caller is inside
// the module.
func (m *module) openSession(u URI, flags uint) (*session, error) {
	slot, info, err := m.find(u)
	if err != nil {
		return nil, err
	}
	handle, err := m.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|flags)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	s := &session{Ctx: m.ctx, handle: handle, epoch: m.epoch}
	if err := m.logIn(s, u, info); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends the session. That it fails means that the session is gone already.
func (s *session) close() { _ = s.CloseSession(s.handle) }

// find returns the one slot whose token is u's.
func (m *module) find(u URI) (slot uint, info pkcs11.TokenInfo, err error) {
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return 0, info, fmt.Errorf("list slots: %w", err)
	}
	found := 0
	for _, s := range slots {
		have, err := m.ctx.GetTokenInfo(s)
		if err != nil || !u.matches(have) {
			continue // a slot that cannot be asked has no token that could be used
		}
		slot, info = s, have
		found++
	}
	switch found {
	case 1:
		return slot, info, nil
	case 0:
		return 0, info, fault.New(fault.Unavailable, "token "+u.tokenName()+" is not there")
	default:
		return 0, info, fmt.Errorf("%d tokens are %s: add serial=NUMBER to the URI", found, u.tokenName())
	}
}

func (u URI) tokenName() string {
	if u.Token != "" {
		return fmt.Sprintf("%q", u.Token)
	}
	return fmt.Sprintf("with serial number %q", u.Serial)
}

func (u URI) matches(t pkcs11.TokenInfo) bool {
	for _, f := range []struct{ want, have string }{
		{u.Token, t.Label}, {u.Serial, t.SerialNumber}, {u.Manufacturer, t.ManufacturerID}, {u.Model, t.Model},
	} {
		if f.want != "" && f.want != f.have {
			return false
		}
	}
	return t.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0
}

// logIn makes s a user's session. A PIN that the token refused once is not tried
// again until its file holds another: tokens lock themselves after a few.
func (m *module) logIn(s *session, u URI, info pkcs11.TokenInfo) error {
	if info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 {
		return nil
	}
	m.login.Lock()
	defer m.login.Unlock()
	state, err := s.GetSessionInfo(s.handle)
	if err != nil {
		return fmt.Errorf("ask for the session's state: %w", err)
	}
	if state.State == stateROUser || state.State == stateRWUser {
		return nil // by another session: a login is the token's
	}
	pin, err := u.pin()
	if err != nil {
		return err
	}
	sum, token := sha256.Sum256([]byte(pin)), info.SerialNumber+"\x00"+info.Label
	if m.refused[token] == sum {
		return errors.New("the token refused this PIN before: correct " + u.PINFile)
	}
	if info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0 {
		return errors.New("the token has one try left before it locks the PIN: log in once by its own tool")
	}
	switch err := s.Login(s.handle, pkcs11.CKU_USER, pin); {
	case err == nil || errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)):
		delete(m.refused, token)
		return nil
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)):
		m.refused[token] = sum
		return fmt.Errorf("log in: %w: correct %s", err, u.PINFile)
	default:
		return fmt.Errorf("log in: %w", err)
	}
}

// maxPIN bounds a file with a PIN, in bytes.
const maxPIN = 256

// pin reads the first line of the PIN's file, which others must not read.
func (u URI) pin() (string, error) {
	if u.PINFile == "" {
		return "", errors.New("the token wants a PIN: put it into a file and add pin-source=file:/PATH to the URI")
	}
	f, err := os.Open(u.PINFile)
	if err != nil {
		return "", fmt.Errorf("read PIN: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read PIN: %w", err)
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o027 != 0 {
		return "", fmt.Errorf("read PIN: %s has mode %04o, so others may read or replace it: chmod 600 %s", u.PINFile, mode.Perm(), u.PINFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPIN))
	if err != nil {
		return "", fmt.Errorf("read PIN: %w", err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return "", fmt.Errorf("read PIN: first line of %s is empty", u.PINFile)
	}
	return string(line), nil
}
