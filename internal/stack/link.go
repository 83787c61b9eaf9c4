package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/peer"
	"sigstack/internal/trust"
)

// How often another process is asked how it is, and how long it may think.
const (
	watchEvery   = time.Second
	soughtEvery  = watchEvery / 5 // while it is down
	watchTimeout = 5 * time.Second
)

// link is the connection to another process, and what is known of it.
type link struct {
	conf   config.Peer
	client *peer.Client
	proxy  *peer.Proxy

	mu     sync.Mutex // guards what is below
	report map[string]httpd.ServiceStatus
	keys   error     // nil: the live keys are the published ones
	up     bool      // it answered when last asked
	until  time.Time // when requests are not held any more for it to come
	slow   bool      // it did not answer in time when last asked, for the first time

	marks []byte // what it last told of issuers, in the kit; of the goroutine that asks
}

// errNotAsked: until a process has told its keys, nothing is passed on to it.
var errNotAsked = errors.New("it was not reached yet")

func (s *Stack) newLink(conf config.Peer, pin peer.Pin) *link {
	client := peer.NewClient(conf.Name, conf.Address, pin, s.peers.identity)
	s.onClose(func() error { client.Close(); return nil })
	l := &link{conf: conf, client: client, keys: errNotAsked}
	l.proxy = peer.NewProxy(client, l.hold, s.opts.Log)
	l.report = l.all("its process was not reached yet")
	return l
}

// handle passes a request on to a process whose keys are the published ones:
// what others sign, no client would accept.
func (l *link) handle(w http.ResponseWriter, r *http.Request) error {
	if errors.Is(l.keyState(), errNotAsked) {
		l.hold(r.Context())
	}
	if keys := l.keyState(); keys != nil {
		return fault.Wrap(fault.Unavailable, fmt.Errorf("process %s: %w", l.conf.Name, keys), "a part of this service is unavailable")
	}
	return l.proxy.Handle(w, r)
}

// status returns how a service of the process was when last asked.
func (l *link) status(service string) httpd.ServiceStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report[service]
}

// others is what the process said of anything but its services: each process has
// a record of its own, without which its services sign nothing.
func (l *link) others() map[string]httpd.ServiceStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	others := maps.Clone(l.report)
	for _, service := range l.conf.Services {
		delete(others, service)
	}
	return others
}

// set reports whether the process has come or gone.
func (l *link) set(report map[string]httpd.ServiceStatus, keys error, up bool) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = up != l.up
	l.report, l.keys, l.up = report, keys, up
	if up && stopping(report) {
		l.until = time.Now().Add(holdFor)
	}
	return changed
}

// forgives is told of each answer whether it was late, and reports whether all that is
// known of the process stays as it is: it was up, and late for the first time.
func (l *link) forgives(late bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := late && l.up && !l.slow
	l.slow = first
	return first
}

// watch asks the process how it is until ctx ends, and tells each time.
func (s *Stack) watch(ctx context.Context, l *link) error {
	for {
		s.ask(ctx, l)
		if ctx.Err() != nil {
			return nil
		}
		s.reportLinks()
		wait := watchEvery
		if !l.isUp() {
			wait = soughtEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// after returns a component that begins when the process with a service is up: at
// once where that is this one.
func (s *Stack) after(service string, run func(context.Context) error) func(context.Context) error {
	l := s.linkTo(service)
	if l == nil {
		return run
	}
	return func(ctx context.Context) error {
		for !l.isUp() {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(soughtEvery):
			}
		}
		return run(ctx)
	}
}

// ask finds out how the process is; where the front asks, whether its keys are
// the published ones too. One that does not answer keeps its good name: it is
// asked again before it counts as up. One that takes too long is asked once more
// before it counts as down: it may be busy.
func (s *Stack) ask(ctx context.Context, l *link) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	report, keys, err := s.askAll(ctx, l)
	if late := err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded); l.forgives(late) {
		s.opts.Log.WarnContext(ctx, "another process takes its time", slog.String("peer", l.conf.Name), slog.Any("error", err))
		return
	}
	switch {
	case err != nil:
		report = l.all("its process does not answer")
	case keys != nil:
		report = l.all("its keys are not the published ones")
	}
	if up := err == nil && keys == nil; l.set(report, keys, up) {
		log, attr := s.opts.Log.InfoContext, slog.Bool("up", up)
		if !up {
			log = s.opts.Log.WarnContext
		}
		log(ctx, "another process changed", slog.String("peer", l.conf.Name), attr, slog.Any("error", errors.Join(err, keys)))
	}
}

func (s *Stack) askAll(ctx context.Context, l *link) (report map[string]httpd.ServiceStatus, keys, err error) {
	before := l.keyState()
	if report, err = l.readiness(ctx); err != nil {
		return nil, before, err
	}
	if !s.conf.Front() {
		return report, nil, nil
	}
	live, err := l.part(ctx)
	if err != nil {
		return nil, before, err
	}
	published, err := s.peers.parts[l.conf.Name].EncodePart()
	if err != nil {
		return nil, before, err
	}
	if !bytes.Equal(live, published) {
		return report, errors.New("its live keys and chains are not the published ones: it runs on another directory, or they were changed"), nil
	}
	if err := s.askIssuers(ctx, l); err != nil {
		return nil, before, err
	}
	return report, nil, nil
}

// askIssuers has the kit tell which issuers the process with the CA says are locally
// backed. At first nothing is passed on to it before that; later ones are in the kit
// within watchEvery.
func (s *Stack) askIssuers(ctx context.Context, l *link) error {
	if !slices.Contains(l.conf.Services, "ca") {
		return nil
	}
	marks, err := l.told(ctx, issuersPath)
	if err != nil || bytes.Equal(marks, l.marks) {
		return err
	}
	issuers, err := trust.ParseIssuers(marks)
	if err != nil {
		return fmt.Errorf("%s of process %s: %w", issuersPath, l.conf.Name, err)
	}
	if err := s.tellIssuers(issuers.LocallyBacked); err != nil {
		return err
	}
	l.marks = marks
	return nil
}

func (l *link) keyState() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys
}

// all is the report of a process of which nothing good can be said.
func (l *link) all(detail string) map[string]httpd.ServiceStatus {
	report := map[string]httpd.ServiceStatus{}
	for _, service := range l.conf.Services {
		report[service] = httpd.ServiceStatus{Status: httpd.Down, Detail: detail}
	}
	return report
}

// readiness asks the process for its report, of which it has to know each of its
// services.
func (l *link) readiness(ctx context.Context) (map[string]httpd.ServiceStatus, error) {
	status, body, err := l.get(ctx, "/readyz")
	if err != nil {
		return nil, err
	}
	var rep httpd.Report
	if err := json.Unmarshal(body, &rep); err != nil {
		return nil, fmt.Errorf("/readyz of process %s answered %d and no report: %w", l.conf.Name, status, err)
	}
	for _, service := range l.conf.Services {
		if _, ok := rep.Services[service]; !ok {
			return nil, fmt.Errorf("process %s does not run %s", l.conf.Name, service)
		}
	}
	return rep.Services, nil
}

// part asks the process for its public half.
func (l *link) part(ctx context.Context) ([]byte, error) { return l.told(ctx, partPath) }

// told is what the process answers to the front alone.
func (l *link) told(ctx context.Context, path string) ([]byte, error) {
	status, answer, err := l.get(ctx, path)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s of process %s answered %d", path, l.conf.Name, status)
	}
	return answer, err
}

func (l *link) get(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+l.conf.Name+path, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("ask process %s: %w", l.conf.Name, err)
	}
	resp, err := l.client.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}

// reportLinks tells readiness how the processes behind are. The CA itself is well
// without its CT log, but issues nothing.
func (s *Stack) reportLinks() {
	p := s.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.conf.Front() {
		if log := s.linkTo("ctlog"); log != nil && p.checked == "" {
			s.reportCA(log.status("ctlog").Status != httpd.Down)
		}
		return
	}
	for _, l := range p.links {
		for _, service := range l.conf.Services {
			status := l.status(service)
			if status.Status != httpd.Down && p.checked != "" {
				status = httpd.ServiceStatus{Status: httpd.Down, Detail: p.checked}
			}
			s.ready.Set(service, status.Status, status.Detail)
		}
		for part, status := range l.others() {
			s.ready.SetPart(part, "process "+l.conf.Name, status.Status, "process "+l.conf.Name+": "+status.Detail)
		}
	}
}

func (s *Stack) reportCA(logged bool) {
	if logged {
		s.ready.SetPart("ca", "ctlog", httpd.OK, "the CT log answers")
		return
	}
	s.ready.SetPart("ca", "ctlog", httpd.Warn, "the CT log does not answer: no certificate is issued until it does")
}

// setChecked notes how the start check ended. What it has just tried is asked
// again, so that who hears that the stack is ready finds no older report.
func (s *Stack) setChecked(ctx context.Context, err error) {
	if s.peers == nil {
		return
	}
	if err == nil {
		for _, l := range s.peers.links {
			s.ask(ctx, l)
		}
	}
	s.peers.mu.Lock()
	s.peers.checked = ""
	if err != nil {
		s.peers.checked = fault.Public(err)
	}
	s.peers.mu.Unlock()
	s.reportLinks()
}

// checkLinks fails while a process behind the front is down.
func (s *Stack) checkLinks() error {
	if !s.conf.Front() {
		return nil
	}
	for _, l := range s.peers.links {
		for _, service := range l.conf.Services {
			if status := l.status(service); status.Status == httpd.Down {
				return fault.Newf(fault.Unavailable, "start check failed: %s is down: %s", service, status.Detail)
			}
		}
	}
	return nil
}

// awaitLinks waits until no process behind the front is down. It reports whether
// that came before the end of ctx.
func (s *Stack) awaitLinks(ctx context.Context) bool {
	for s.checkLinks() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(soughtEvery):
		}
	}
	return true
}
