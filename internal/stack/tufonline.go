package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	tufroot "sigstack/tuf-root"
)

// Paths of the acts on the keys of TUF's snapshot and timestamp.
const (
	AdminTUFOnline    = "/v1/tuf/online"     // POST: TUFOnline, the next keys, made if they are not there
	AdminTUFOnlineUse = "/v1/tuf/online/use" // POST: TUFOnline, those of config.yaml, which sign from now on
)

// TUFOnline are keys of the roles that the process signs.
type TUFOnline struct {
	Snapshot     string `json:"snapshot"` // names in keys/
	Timestamp    string `json:"timestamp"`
	SnapshotPEM  string `json:"snapshot_pem"` // public halves
	TimestampPEM string `json:"timestamp_pem"`
}

// Details are for the audit record.
func (o TUFOnline) Details() map[string]string {
	return map[string]string{"snapshot_key": o.Snapshot, "timestamp_key": o.Timestamp}
}

// handleOnlineActs adds the acts on online keys.
func (s *Stack) handleOnlineActs(a *admin.Server) {
	a.Handle(http.MethodPost, AdminTUFOnline, "tuf-online-keys", func(context.Context, *http.Request) (any, error) { return s.nextOnline() })
	a.Handle(http.MethodPost, AdminTUFOnlineUse, "tuf-online-use", func(ctx context.Context, _ *http.Request) (any, error) { return s.useOnline(ctx) })
}

func (s *Stack) mayOnline() error {
	if err := s.mayTUF(); err != nil {
		return err
	}
	if s.repo == nil {
		return fault.New(fault.Conflict, "the first root is not published yet")
	}
	return nil
}

// nextOnline makes the keys after those that sign, or takes those that are there: of an
// interrupted try, or because an operator put them there. Nothing trusts them yet.
func (s *Stack) nextOnline() (TUFOnline, error) {
	if err := s.mayOnline(); err != nil {
		return TUFOnline{}, err
	}
	was, err := s.signing()
	if err != nil {
		return TUFOnline{}, err
	}
	snapshot, err := s.keyAfter(was.Snapshot)
	if err != nil {
		return TUFOnline{}, err
	}
	timestamp, err := s.keyAfter(was.Timestamp)
	return online(snapshot, timestamp), err
}

// signing are the keys that sign now. What is built of them is always of this store.
func (s *Stack) signing() (TUFOnline, error) {
	snapshot, ok := s.online.Snapshot.(keys.Key)
	timestamp, also := s.online.Timestamp.(keys.Key)
	if !ok || !also {
		return TUFOnline{}, errors.New("the online keys have no names")
	}
	return online(snapshot, timestamp), nil
}

// keyAfter is the key after one of that name: tuf-snapshot-2 after tuf-snapshot, and
// so on.
func (s *Stack) keyAfter(name string) (keys.Key, error) {
	base, n := name, 1
	if at := strings.LastIndexByte(name, '-'); at > 0 {
		if number, err := strconv.Atoi(name[at+1:]); err == nil && number > 0 {
			base, n = name[:at], number
		}
	}
	name = fmt.Sprintf("%s-%d", base, n+1)
	key, err := s.keys.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.keys.Create(name, keys.ECDSAP256, s.opts.Now())
	}
	if err != nil {
		return key, fault.Wrap(fault.Invalid, err, "there is no next key")
	}
	if err := key.Test(); err != nil {
		return key, fault.Wrap(fault.Unavailable, err, "key "+name+" does not work")
	}
	return key, nil
}

// useOnline lets the keys that config.yaml names sign from now on, and signs with
// them at once. The root must trust them.
func (s *Stack) useOnline(ctx context.Context) (TUFOnline, error) {
	if err := s.mayOnline(); err != nil {
		return TUFOnline{}, err
	}
	conf, err := config.Load(s.layout.Config())
	if err != nil {
		return TUFOnline{}, fault.Wrap(fault.Invalid, err, "the keys stay as they are")
	}
	if conf.TUF == nil {
		return TUFOnline{}, fault.New(fault.Conflict, "section tuf of config.yaml is missing")
	}
	was, err := s.signing()
	if err != nil {
		return TUFOnline{}, err
	}
	snapshot, err := s.keys.Load(conf.TUF.SnapshotKey)
	if err != nil {
		return TUFOnline{}, fault.Wrap(fault.Invalid, err, "tuf.snapshot_key")
	}
	timestamp, err := s.keys.Load(conf.TUF.TimestampKey)
	if err != nil {
		return TUFOnline{}, fault.Wrap(fault.Invalid, err, "tuf.timestamp_key")
	}
	next := tufroot.Online{Snapshot: snapshot, Timestamp: timestamp}
	if err := s.services.tuf.SetOnline(next); err != nil {
		return TUFOnline{}, fault.Wrap(fault.Conflict, err, "the keys stay as they are")
	}
	s.online = next
	if was.Snapshot != snapshot.Name || was.Timestamp != timestamp.Name {
		for _, name := range []string{was.Snapshot, was.Timestamp} {
			s.services.dropKey(name)
		}
		s.services.addKey(snapshot)
		s.services.addKey(timestamp)
		s.tookOnline(conf.TUF)
	}
	return online(snapshot, timestamp), s.services.tuf.RefreshNow(ctx)
}

// tookOnline notes that no restart is needed for these keys.
func (s *Stack) tookOnline(names *config.TUF) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	loaded, section := *s.loaded, *s.loaded.TUF
	section.SnapshotKey, section.TimestampKey = names.SnapshotKey, names.TimestampKey
	loaded.TUF = &section
	s.loaded = &loaded
}

// ApproveOnlineKeys demands that a draft of the root follows the current one and
// differs in the keys of snapshot and timestamp alone, of which each has a threshold of
// one, and returns how many keys they have. The draft comes from a process that a signer
// need not believe; which online keys it holds is its own matter.
func ApproveOnlineKeys(current, draft []byte, now time.Time) (snapshot, timestamp int, err error) {
	before, err := splitRoot(current)
	if err != nil {
		return 0, 0, fmt.Errorf("the current root: %w", err)
	}
	after, err := splitRoot(draft)
	if err != nil {
		return 0, 0, fmt.Errorf("nothing was signed: the draft: %w", err)
	}
	switch {
	case after.Version != before.Version+1:
		return 0, 0, fmt.Errorf("nothing was signed: the draft is version %d, and %d is published", after.Version, before.Version)
	case !reflect.DeepEqual(before.rest, after.rest):
		return 0, 0, errors.New("nothing was signed: the draft changes more than keys of snapshot and timestamp")
	case after.Expires.Before(now) || after.Expires.After(now.Add(longestTargets)):
		return 0, 0, fmt.Errorf("nothing was signed: the draft expires at %s", after.Expires.Format(time.RFC3339))
	}
	s, t := after.Roles["snapshot"], after.Roles["timestamp"]
	if s.Threshold != 1 || t.Threshold != 1 || len(s.KeyIDs) == 0 || len(t.KeyIDs) == 0 {
		return 0, 0, errors.New("nothing was signed: snapshot and timestamp are to have keys, one of which suffices")
	}
	return len(s.KeyIDs), len(t.KeyIDs), nil
}

// rootParts is a root with what a change of online keys leaves as it is.
type rootParts struct {
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	Roles   map[string]struct {
		KeyIDs    []string `json:"keyids"`
		Threshold int      `json:"threshold"`
	} `json:"roles"`

	rest map[string]any
}

func splitRoot(data []byte) (p rootParts, err error) {
	var typed struct {
		Signed rootParts `json:"signed"`
	}
	var all struct {
		Signed map[string]any `json:"signed"`
	}
	if err := errors.Join(json.Unmarshal(data, &typed), json.Unmarshal(data, &all)); err != nil {
		return p, fmt.Errorf("decode: %w", err)
	}
	p, p.rest = typed.Signed, all.Signed
	roles, ok := p.rest["roles"].(map[string]any)
	known, also := p.rest["keys"].(map[string]any)
	if !ok || !also {
		return p, errors.New("it is no root")
	}
	for _, name := range []string{"version", "expires"} {
		delete(p.rest, name)
	}
	delete(roles, "snapshot")
	delete(roles, "timestamp")
	for id := range known {
		if !slices.Contains(p.Roles["root"].KeyIDs, id) && !slices.Contains(p.Roles["targets"].KeyIDs, id) {
			delete(known, id)
		}
	}
	return p, nil
}

// RootKey loads the key of TUF's root role from a folder of root keys. A process that
// serves never does.
func RootKey(offline string, passphrase []byte, devices keys.Devices) (keys.Key, error) {
	key, err := keys.Open(offline, passphrase, keys.WithDevices(devices)).Load(keyTUFRoot)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; name the directory that offline/ was moved to", err)
	}
	return key, err
}

func online(snapshot, timestamp keys.Key) TUFOnline {
	return TUFOnline{
		Snapshot: snapshot.Name, Timestamp: timestamp.Name,
		SnapshotPEM: string(pki.PublicKeyPEM(snapshot.SPKI())), TimestampPEM: string(pki.PublicKeyPEM(timestamp.SPKI())),
	}
}
