package target

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"

	"golang.org/x/sync/errgroup"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
)

// written is an entry that was added before the run, with all that it may be
// found by.
type written struct {
	check.Entry

	digest [32]byte
	email  string
	key    []byte // PEM certificate
}

// write adds entries, each with a certificate of its own, and verifies them.
func (t *rekorTarget) write(ctx context.Context, n int) ([]written, error) {
	if n < 1 {
		return nil, errors.New("no entries to read: give a number of entries to write first")
	}
	entries := make([]written, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(t.Concurrent, 1))
	for i := range entries {
		g.Go(func() (err error) {
			entries[i], err = t.writeOne(ctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("write the entries to read: %w", err)
	}
	return entries, nil
}

func (t *rekorTarget) writeOne(ctx context.Context) (written, error) {
	s, err := newSigner()
	if err != nil {
		return written{}, err
	}
	p, err := propose(digest(), s.key, s.pem)
	if err != nil {
		return written{}, err
	}
	answer, err := t.sendEntry(ctx, p.body)
	if err != nil {
		return written{}, err
	}
	e, err := verifyAdded(t.log, p, answer, t.Now())
	return written{e, p.digest, s.email, s.pem}, err
}

// getTarget reads entries at random: those that it wrote, or any of a range of
// indexes.
type getTarget struct {
	*rekorTarget

	entries []written
}

func (s *services) newGet(ctx context.Context) (*getTarget, error) {
	r, err := s.newRekor(ctx)
	if err != nil {
		return nil, err
	}
	t := &getTarget{rekorTarget: r}
	if s.Indexes == [2]int64{} {
		t.entries, err = r.write(ctx, s.Entries)
	}
	return t, err
}

func (t *getTarget) prepare(context.Context) (drive.Call, error) {
	if t.entries == nil {
		index := t.Indexes[0] + rand.Int64N(t.Indexes[1]-t.Indexes[0]+1)
		return t.read(entryURL(t.Rekor, "", index, "index"), func(answer []byte) error {
			e, err := t.log.Entry(answer, nil)
			if err == nil && e.LogIndex != index {
				err = check.Wrong(check.Index, "got entry %d, want %d", e.LogIndex, index)
			}
			return err
		}), nil
	}
	want := t.entries[rand.IntN(len(t.entries))]
	return t.read(entryURL(t.Rekor, want.ID, want.LogIndex, t.By), func(answer []byte) error {
		return want.verifyRead(t.log, answer)
	}), nil
}

func (t *getTarget) read(url string, verify func(answer []byte) error) drive.Call {
	var answer []byte
	return drive.Call{
		Send: func(ctx context.Context) (err error) {
			answer, err = t.client.get(ctx, url)
			return err
		},
		Verify: func() error { return verify(answer) },
	}
}

// verifyRead verifies what is read: an entry that proves itself, and is the one
// that was written, in the same place and of the same time.
func (w written) verifyRead(log *check.LogV1, answer []byte) error {
	e, err := log.Entry(answer, w.Body)
	switch {
	case err != nil:
		return err
	case e.LogIndex != w.LogIndex:
		return check.Wrong(check.Index, "%d, it was %d when it was written", e.LogIndex, w.LogIndex)
	case e.IntegratedTime != w.IntegratedTime:
		return check.Wrong(check.Time, "integrated at %d, it was %d when it was written", e.IntegratedTime, w.IntegratedTime)
	case e.ID != w.ID:
		return check.Wrong(check.EntryID, "%s, it was %s when it was written", e.ID, w.ID)
	}
	return nil
}

// searchTarget looks entries up in the index.
type searchTarget struct {
	*rekorTarget

	entries []written
}

func (s *services) newSearch(ctx context.Context) (*searchTarget, error) {
	r, err := s.newRekor(ctx)
	if err != nil {
		return nil, err
	}
	t := &searchTarget{rekorTarget: r}
	t.entries, err = r.write(ctx, s.Entries)
	return t, err
}

func (t *searchTarget) prepare(context.Context) (drive.Call, error) {
	want := t.entries[rand.IntN(len(t.entries))]
	body := want.query(t.By)
	var answer []byte
	return drive.Call{
		Send: func(ctx context.Context) (err error) {
			answer, err = t.client.do(ctx, request{
				method: http.MethodPost, url: t.Rekor + "/api/v1/index/retrieve", contentType: "application/json",
				body: body, want: []int{http.StatusOK},
			})
			return err
		},
		Verify: func() error { return check.Found(answer, want.ID) },
	}, nil
}

func (w written) query(by string) []byte {
	switch by {
	case "email":
		return fmt.Appendf(nil, `{"email":"%s"}`, w.email)
	case "key":
		return fmt.Appendf(nil, `{"publicKey":{"format":"x509","content":"%s"}}`, base64.StdEncoding.EncodeToString(w.key))
	default:
		return fmt.Appendf(nil, `{"hash":"sha256:%x"}`, w.digest)
	}
}
