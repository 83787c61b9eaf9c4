// Package sct gets the signed certificate timestamp of a precertificate from the
// first of several CT logs that gives a good one (RFC 6962 §3, §4.2; contract: ca.md
// §8). What is signed and what becomes of the timestamp is the authority's affair.
package sct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
)

// How long a precertificate may take: the most impatient client gives the whole
// request 5 s (contract: ca.md §1).
const (
	wait        = 4 * time.Second
	firstWait   = 1200 * time.Millisecond // for one log, if there is another to ask
	firstPause  = 50 * time.Millisecond   // before all are asked again
	longestWait = 400 * time.Millisecond  // between two rounds
)

// badLog is the sentence of the contract's §9 about the CT log.
const badLog = "Error entering certificate in CTL"

// Submit logs a precertificate chain (DER: precertificate, issuing CA, …, root) and
// returns the log's AddChainResponse as JSON (RFC 6962 §4.1). It is safe for
// concurrent use and must return soon after ctx ends. An error of kind
// fault.Unavailable or fault.Timeout is the log's for now; any other one tells that
// the log does not fit this authority.
type Submit func(ctx context.Context, chain [][]byte) (response []byte, err error)

// Log is a CT log whose timestamps are embedded.
type Log struct {
	// Name of the log in reports and metrics.
	Name string
	// Key is the log's DER SubjectPublicKeyInfo, ECDSA or RSA, which every
	// timestamp must verify with.
	Key    []byte
	Submit Submit
	// NotAfterStart and NotAfterLimit: the log is asked for certificates that end
	// from the first on and before the second. Zero, each: no bound.
	NotAfterStart, NotAfterLimit time.Time
	// Again: an unavailable log is asked again while there is time. Not so one in
	// this process, which has waited for itself.
	Again bool
}

func (l *Log) takes(notAfter time.Time) bool {
	from, to := l.NotAfterStart, l.NotAfterLimit
	return (from.IsZero() || !notAfter.Before(from)) && (to.IsZero() || notAfter.Before(to))
}

// Config configures New. Every field but Report is required.
type Config struct {
	// Logs in the order in which they are asked.
	Logs []Log
	// Now is the stack's clock.
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Report is told when a log begins to fail, with an error, and when it answers
	// again, with nil. It must not block. nil: nobody is told.
	Report func(log string, err error)
}

// Pool asks logs. It is safe for concurrent use and owns no goroutine.
type Pool struct {
	cfg      Config // but for Logs
	attempts *prometheus.CounterVec
	list     list
}

// member is a log of a pool.
type member struct {
	Log
	verifier
	*circuit // of the log, in whichever list it is
}

// New checks cfg and tells everything that is wrong.
func New(cfg Config) (*Pool, error) {
	p := &Pool{cfg: cfg, attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sigstack_ca_ct_attempts_total",
		Help: "Precertificates handed to a CT log, by log and by what came of it.",
	}, []string{"log", "outcome"})}
	members, err := p.members(cfg.Logs)
	if err != nil {
		return nil, err
	}
	if err := cfg.Metrics.Register(p.attempts); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	p.cfg.Logs, p.list.now = nil, &asked{logs: members}
	return p, nil
}

// Precert is what is logged.
type Precert struct {
	Chain    [][]byte // DER: precertificate, issuing CA, …, root
	TBS      []byte   // of the precertificate, without the poison
	Issuer   [32]byte // SHA-256 of the issuer's public key
	NotAfter time.Time
}

// Get returns a timestamp of pre, verified and serialized as it is embedded, in
// less than five seconds. The error is fault.Unavailable when a log may give one
// later, fault.Internal when none will, and fault.Canceled when ctx ended.
func (p *Pool) Get(ctx context.Context, pre Precert) ([]byte, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	asked := p.list.enter()
	defer p.list.leave(asked)
	for pause := firstPause; ; pause = min(2*pause, longestWait) {
		r := &round{pool: p, logs: asked.logs, pre: pre, again: time.Duration(-1)}
		sct, err := r.run(waiting)
		switch {
		case sct != nil:
			return sct, nil
		case ctx.Err() != nil:
			return nil, fault.Wrap(fault.Canceled, err, "the client went away")
		case r.again < 0 || !sleep(waiting, max(pause, r.again)):
			return nil, r.failure(err)
		}
	}
}

// sleep waits, unless ctx ends before that: then it does not even begin.
func sleep(ctx context.Context, d time.Duration) bool {
	rest, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	over, _ := rest.Deadline()
	if end, ok := ctx.Deadline(); ok && !over.Before(end) {
		return false
	}
	<-rest.Done()
	return ctx.Err() == nil
}

// round asks each log once.
type round struct {
	pool  *Pool
	logs  []*member
	pre   Precert
	later bool          // a log may give a timestamp another time
	again time.Duration // after which it is worth asking again; below 0: it is not
}

// run asks the logs in order, those that have failed lately last.
func (r *round) run(ctx context.Context) ([]byte, error) {
	order := order(r.logs, r.pre.NotAfter, r.pool.cfg.Now())
	if len(order) == 0 {
		return nil, fmt.Errorf("no CT log takes certificates that end at %s", r.pre.NotAfter.Format(time.RFC3339))
	}
	var errs []error
	for i, m := range order {
		sct, err := r.ask(ctx, m, i == len(order)-1)
		if err == nil {
			return sct, nil
		}
		errs = append(errs, fmt.Errorf("CT log %s: %w", m.Name, err))
		if ctx.Err() != nil {
			r.later = true
			break
		}
	}
	return nil, errors.Join(errs...)
}

// order returns the logs for a certificate.
func order(logs []*member, notAfter, now time.Time) []*member {
	var well, failing []*member
	for _, m := range logs {
		switch {
		case !m.takes(notAfter):
		case m.allows(now):
			well = append(well, m)
		default:
			failing = append(failing, m)
		}
	}
	return append(well, failing...)
}

// ask asks one log, and notes how it did.
func (r *round) ask(ctx context.Context, m *member, last bool) ([]byte, error) {
	attempt, cancel := ctx, func() {}
	if !last {
		attempt, cancel = context.WithTimeout(ctx, firstWait)
	}
	defer cancel()
	sct, err := m.get(attempt, r.pre, r.pool.cfg.Now())
	p := r.pool
	switch kind := fault.KindOf(err); {
	case err == nil:
		p.attempts.WithLabelValues(m.Name, "ok").Inc()
		if m.succeed() {
			p.report(ctx, m, nil)
		}
		return sct, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, err // the client's doing says nothing of the log
	case attempt.Err() != nil, kind == fault.Unavailable, kind == fault.Timeout:
		p.attempts.WithLabelValues(m.Name, "unavailable").Inc()
		r.later = true
		if m.Again {
			r.again = max(r.again, retryAfter(err))
		}
	default:
		p.attempts.WithLabelValues(m.Name, "refused").Inc()
	}
	if m.fail(p.cfg.Now(), retryAfter(err)) {
		p.report(ctx, m, err)
	}
	return nil, err
}

func (p *Pool) report(ctx context.Context, m *member, err error) {
	if err != nil {
		p.cfg.Log.WarnContext(ctx, "CT log gives no timestamp", slog.String("ct_log", m.Name), slog.Any("error", err))
	} else {
		p.cfg.Log.InfoContext(ctx, "CT log gives timestamps again", slog.String("ct_log", m.Name))
	}
	if p.cfg.Report != nil {
		p.cfg.Report(m.Name, err)
	}
}

// failure words the end of the last round.
func (r *round) failure(err error) error {
	if r.later {
		return fault.Because(fault.Wrap(fault.Unavailable, err, badLog+"; try again"), fault.Detail{Reason: "CT_LOG_UNAVAILABLE"})
	}
	return fault.Wrap(fault.Internal, err, badLog)
}

// get asks the log and verifies its answer.
func (m *member) get(ctx context.Context, pre Precert, now time.Time) ([]byte, error) {
	response, err := m.Submit(ctx, pre.Chain)
	if err != nil {
		return nil, err
	}
	return m.verify(response, pre.Issuer, pre.TBS, now)
}
