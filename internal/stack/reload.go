package stack

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/fault"
)

// Reloaded is the answer to a reload.
type Reloaded struct {
	// Changed is what this process has taken.
	Changed []string `json:"changed"`
	// NeedsRestart are the sections of config.yaml that differ from those this
	// process runs with in what only a start reads. They are valid.
	NeedsRestart []string `json:"needs_restart"`
	// Waiting is what is in order, and is taken by itself when its time has come.
	Waiting []string `json:"waiting"`
}

// Details are for the audit record.
func (r Reloaded) Details() map[string]string {
	return map[string]string{
		"changed": strings.Join(r.Changed, "; "), "needs_restart": strings.Join(r.NeedsRestart, ", "),
		"waiting": strings.Join(r.Waiting, "; "),
	}
}

// Reload does for a signal what AdminReload does for a caller. The log has what comes
// of it.
func (s *Stack) Reload(ctx context.Context, signal string) (Reloaded, error) {
	return s.reloadFor(ctx, "signal "+signal)
}

// reloadFor reloads for somebody who does not ask by the admin channel.
func (s *Stack) reloadFor(ctx context.Context, by string) (r Reloaded, err error) {
	noted := false
	defer func() {
		if err != nil && !noted {
			s.opts.Log.ErrorContext(ctx, "reload refused", slog.String("by", by), slog.Any("error", err))
		}
	}()
	server := s.admin.Load()
	if server == nil {
		return Reloaded{}, errors.New("the stack is not running yet: nothing was reloaded")
	}
	_, err = server.Do(ctx, admin.Act{Name: "reload", By: by}, func(ctx context.Context) (any, error) {
		var err error
		r, err = s.reload(ctx, by)
		noted = err != nil
		return r, err
	})
	if err != nil {
		return Reloaded{}, err
	}
	return r, nil
}

// reload takes what can change without a restart: issuers and their policies, the
// CA's chain with its key, the roots of the CT log, and the files of TLS. What
// config.yaml names is checked first, all of it; a problem anywhere is a refusal,
// and nothing has changed then.
func (s *Stack) reload(ctx context.Context, by string) (Reloaded, error) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	var r Reloaded
	err := s.reloads.files.Now()
	var unread *fs.PathError
	if errors.As(err, &unread) {
		_, planned := s.planReload() // which knows the field that names the file
		err = cmp.Or(planned, fault.Wrap(fault.Invalid, err, "nothing was reloaded"))
	}
	if err == nil {
		r = s.reloads.took
		err = s.takeTLS(ctx, by, &r)
	}
	s.noteReload(ctx, by, r, err)
	return r, err
}

// takeFiles is what the watch over the files takes them with. It needs reloads.mu.
func (s *Stack) takeFiles([][]byte) error {
	plan, err := s.planReload()
	if err != nil {
		return err
	}
	if err := s.apply(plan); err != nil {
		return err
	}
	s.reloads.took = plan.answer
	return nil
}

// takeTLS takes the files of TLS, or renews the certificate; a change of other
// files is no reason for that.
func (s *Stack) takeTLS(ctx context.Context, by string, r *Reloaded) error {
	if s.tls == nil || by == byFiles {
		return nil
	}
	before, clients := s.tls.Chain()[0], s.tls.ClientAuthorities()
	err := s.reloadTLS(ctx)
	if after := s.tls.Chain()[0]; !after.Equal(before) {
		r.Changed = append(r.Changed, "tls certificate "+after.SerialNumber.Text(16)+" until "+after.NotAfter.UTC().Format(time.RFC3339))
	}
	if !s.tls.ClientAuthorities().Equal(clients) {
		r.Changed = append(r.Changed, "authorities of tls client certificates")
	}
	switch {
	case err != nil && len(r.Changed) > 0: // the files of each are taken whole, or not at all
		return fault.Wrap(fault.Invalid, err, "took "+strings.Join(r.Changed, ", ")+", and goes on with what it has of the rest")
	case err != nil:
		return fault.Wrap(fault.Invalid, err, "tls goes on with what it has")
	}
	return nil
}

// noteReload tells of a reload wherever somebody may look. It needs reloads.mu.
func (s *Stack) noteReload(ctx context.Context, by string, r Reloaded, err error) {
	s.reloads.note(ReloadStatus{At: s.opts.Now().UTC(), By: by, OK: err == nil, Changed: r.Changed, NeedsRestart: r.NeedsRestart, Waiting: r.Waiting}, err)
	if err != nil {
		s.opts.Log.ErrorContext(ctx, "reload refused: everything goes on as it was", slog.String("by", by), slog.Any("error", err))
		return
	}
	s.opts.Log.InfoContext(ctx, "reloaded", slog.String("by", by), slog.Any("changed", r.Changed))
	if len(r.NeedsRestart) > 0 {
		s.opts.Log.WarnContext(ctx, "a restart is needed for what config.yaml says", slog.Any("sections", r.NeedsRestart))
	}
	if len(r.Waiting) > 0 {
		s.opts.Log.InfoContext(ctx, "what config.yaml says has to wait", slog.Any("waiting", r.Waiting))
	}
}
