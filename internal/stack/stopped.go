package stack

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

// A service whose key clients do not trust any more signs nothing: what it signed would
// be refused by everybody, and whoever asked would learn that later. compromised.json
// says so, whatever starts again; another key in its place ends it
// (docs/decisions/0029-the-end-of-trust-stops-the-service.md).

// partTrust is the part of services under which readiness has that.
const partTrust = "trust in the key"

// stopped is why a service takes no request to write at a path, nil if it does.
func (s *Stack) stopped(service, path string) error {
	at, what := s.endedKey(service, path)
	if at.IsZero() {
		return nil
	}
	return fault.Newf(fault.Unavailable, "%s is stopped: the trust in its key ended at %s, so that nobody would accept what it signs; its operator has to let another key take its place", what, at.Format(time.RFC3339))
}

// endedKey is when the trust in the key ended that a service signs with, and what has
// that key; the zero time if it goes on. Without a path it is asked of the whole service.
func (s *Stack) endedKey(service, path string) (at time.Time, what string) {
	svc := s.services
	if ended, _ := s.compromised.all(); len(ended) == 0 || svc == nil {
		return at, ""
	}
	switch {
	case service == "ca" && svc.ca != nil:
		if at, _ = s.endedAt(CompromisedCA, svc.ca.Trust().Chain[0].RawSubjectPublicKeyInfo); at.IsZero() {
			return s.endedAsked()
		}
		return at, "the certificate authority"
	case service == "tsa" && svc.tsa != nil:
		at, _ = s.endedAt(CompromisedTSA, svc.tsa.Trust().Chain[0].RawSubjectPublicKeyInfo)
		return at, "the timestamp authority"
	case service == "tlog" && svc.tlog != nil:
		logs := svc.tlog.Trust()
		at, _ = s.endedAt(CompromisedLog, logs[len(logs)-1].PublicKey)
		return at, "the transparency log"
	case service == "ctlog" && svc.ctlog != nil:
		return s.endedCTLog(path)
	}
	return at, ""
}

// endedCTLog is endedKey for the CT log of a path or, without one, for any that takes
// certificates.
func (s *Stack) endedCTLog(path string) (at time.Time, what string) {
	for _, log := range s.services.ctlog.opened() {
		if path == "" && log.Trust().Idle || path != "" && !strings.HasPrefix(path, "/"+log.shard.Prefix+"/") {
			continue
		}
		if at, _ = s.endedAt(CompromisedCTLog, log.key.SPKI()); !at.IsZero() {
			return at, "CT log " + log.shard.Prefix
		}
	}
	return at, ""
}

// endedAsked is endedKey for the CT log that the certificate authority asks first for
// a certificate of now.
func (s *Stack) endedAsked() (at time.Time, what string) {
	ends := s.opts.Now().Add(leafLife)
	for _, log := range s.services.foreign.current().logs {
		if ends.Before(log.NotAfterStart) || !log.NotAfterLimit.IsZero() && !ends.Before(log.NotAfterLimit) {
			continue
		}
		at, _ = s.endedAt(CompromisedCTLog, log.Key)
		return at, "the certificate authority, with CT log " + log.Name + ","
	}
	return at, ""
}

// watchTrust adds to readiness which services are stopped.
func (s *Stack) watchTrust() {
	s.services.components = append(s.services.components, component{"trust", s.runTrust})
}

func (s *Stack) runTrust(ctx context.Context) error {
	ticks := time.NewTicker(cmp.Or(s.opts.CheckEvery, lookEvery))
	defer ticks.Stop()
	said := map[string]bool{}
	for {
		s.lookAtTrust(ctx, said)
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// lookAtTrust tells readiness, and the log of what has changed. said has those that are
// stopped.
func (s *Stack) lookAtTrust(ctx context.Context, said map[string]bool) {
	for _, service := range s.serviceNames() {
		stopped := s.stopped(service, "")
		if (stopped != nil) == said[service] {
			continue
		}
		said[service] = stopped != nil
		if stopped == nil {
			s.ready.SetPart(service, partTrust, httpd.OK, "the key that signs is trusted")
			s.opts.Log.InfoContext(ctx, "a service signs again, with another key", slog.String("service", service))
			continue
		}
		s.ready.SetPart(service, partTrust, httpd.Down, fault.Public(stopped))
		s.opts.Log.ErrorContext(ctx, "a service is stopped: the trust in its key ended", slog.String("service", service), slog.String("reason", fault.Public(stopped)))
	}
}
