package stack

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/peer"
	"sigstack/internal/run"
	"sigstack/internal/trust"
	"sigstack/services/ca"
)

// partPath is where a process tells the front its public half.
const partPath = "/peer/v1/trust"

// maxAnswer bounds what is read of another process's answer to a question of our
// own, in bytes.
const maxAnswer = 1 << 20

// peers is what this process has to do with the others of its stack.
type peers struct {
	key      keys.Key
	identity peer.Identity
	callers  []peer.Caller
	links    []*link                   // to the processes that this one calls
	parts    map[string]trust.Material // public halves as published, by process; of this one too

	mu      sync.Mutex
	checked string // guarded by mu; "": the start check has passed, else why not
}

// PeerAudit is the file with the key of a process's audit record.
func (l Layout) PeerAudit(process string) string {
	return filepath.Join(l.Dir, "peers", process+".audit.pub")
}

// othersAuditKeys are those of the records of other processes, and of the record
// before the split, which the kit has too.
func (s *Stack) othersAuditKeys() ([][]byte, error) {
	if !s.conf.Front() {
		return nil, nil
	}
	files, err := filepath.Glob(s.layout.PeerAudit("*"))
	if err != nil {
		return nil, fmt.Errorf("find audit keys: %w", err)
	}
	var out [][]byte
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read audit key: %w", err)
		}
		block, _ := pem.Decode(data)
		if block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("read audit key %s: it is not a public key in PEM", path)
		}
		if !bytes.Equal(block.Bytes, s.auditKey) {
			out = append(out, block.Bytes)
		}
	}
	return out, nil
}

// Peer is the file with the published public half of a process.
func (l Layout) Peer(process string) string {
	return filepath.Join(l.Dir, "peers", process+".json")
}

// buildPeers prepares the connections; nothing is connected yet.
func (s *Stack) buildPeers() error {
	conf := s.conf.Peers
	if conf == nil {
		return nil
	}
	key, err := s.keys.Load(conf.Key)
	if err != nil {
		return err
	}
	s.peers = &peers{key: key, parts: map[string]trust.Material{}, checked: "starting"}
	if s.peers.identity, err = peer.NewIdentity(key); err != nil {
		return err
	}
	for _, p := range conf.Processes {
		pin, err := peer.ParsePin(p.KeySHA256)
		if err != nil {
			return err
		}
		if may := s.rights(p); may != nil {
			s.peers.callers = append(s.peers.callers, peer.Caller{Name: p.Name, Pin: pin, May: may, Relays: isFront(p), Own: s.anchors})
		}
		if p.Address != "" {
			s.peers.links = append(s.peers.links, s.newLink(p, pin))
		}
		if err := s.readPart(p.Name); err != nil && !isFront(p) {
			return err
		}
	}
	if s.conf.Behind() {
		return s.readPart(conf.Name)
	}
	return nil
}

func isFront(p config.Peer) bool { return slices.Contains(p.Services, "tuf") }

// rights says what a process may ask of this one, nil for nothing: the front what
// clients ask; others what keeps them going, which strangers could ask as well; and
// the CA what it cannot issue without, which is for nobody else.
func (s *Stack) rights(p config.Peer) func(method, path string) bool {
	if !s.conf.Behind() {
		return nil
	}
	if isFront(p) {
		return func(string, string) bool { return true }
	}
	allowed := map[string]bool{"GET /readyz": true}
	if s.conf.OIDC != nil {
		allowed["GET /dex/.well-known/openid-configuration"] = true
		allowed["GET /dex/keys"] = true
	}
	if s.conf.CTLog != nil && slices.Contains(p.Services, "ca") {
		allowed["POST /"+s.conf.CTLog.Prefix+addPreChain] = true
	}
	return func(method, path string) bool { return allowed[method+" "+path] || s.anchors(method, path) }
}

// anchors reports whether a request is what every process asks of the log for
// itself: to enter the head of its audit record.
func (s *Stack) anchors(method, path string) bool {
	return s.conf.TLog != nil && method == http.MethodPost && path == "/api/v1/log/entries"
}

// readPart reads the published public half of a process.
func (s *Stack) readPart(process string) error {
	data, err := os.ReadFile(s.layout.Peer(process))
	if err != nil {
		return fmt.Errorf("read public half of process %s: %w", process, err)
	}
	part, err := trust.ParsePart(data)
	if err != nil {
		return fmt.Errorf("read public half of process %s: %w", process, err)
	}
	if part.Operator != s.conf.OperatorName() {
		return fmt.Errorf("public half of process %s is that of another operator, %s: copy the file of this stack", process, part.Operator)
	}
	s.peers.parts[process] = part
	return nil
}

// othersMaterial is what the other processes have, as published.
func (s *Stack) othersMaterial() []trust.Material {
	var out []trust.Material
	for _, p := range s.conf.Peers.Processes {
		if part, ok := s.peers.parts[p.Name]; ok {
			out = append(out, part)
		}
	}
	return out
}

// checkPart refuses to serve with keys that are not the published ones, and tells
// the front what there is.
func (s *Stack) checkPart() error {
	if !s.conf.Behind() {
		return nil
	}
	live, err := s.material().EncodePart()
	if err != nil {
		return err
	}
	published, err := s.peers.parts[s.conf.Peers.Name].EncodePart()
	if err != nil {
		return err
	}
	if !bytes.Equal(live, published) {
		return fmt.Errorf("keys and chains of this process are not those of %s, which clients trust: they were changed, or come from another directory",
			s.layout.Peer(s.conf.Peers.Name))
	}
	g := s.mux.Group("peer", httpd.RESTErrors).As(httpd.Public) // among the pinned peers
	g.Handle(http.MethodGet, partPath, 0, func(w http.ResponseWriter, _ *http.Request) error {
		httpd.WriteBytes(w, http.StatusOK, "application/json", live)
		return nil
	})
	return nil
}

// Process is the name of this process of a split stack if it has a front, which
// clients go to; "" otherwise.
func (s *Stack) Process() string {
	if s.conf.Behind() {
		return s.conf.Peers.Name
	}
	return ""
}

// joinPeers makes this process a part of the stack: one behind tells its public
// half, the front passes on what is not its own.
func (s *Stack) joinPeers() error {
	if s.peers == nil {
		return nil
	}
	s.services.keys = append(s.services.keys, s.peers.key)
	if s.conf.Front() {
		s.passOn()
	}
	return s.checkPart()
}

// addWatches adds what keeps an eye on the processes that this one calls.
func (s *Stack) addWatches(g *run.Group) {
	if s.peers == nil {
		return
	}
	for _, l := range s.peers.links {
		g.Add("link to "+l.conf.Name, func(ctx context.Context) error { return s.watch(ctx, l) })
	}
}

// face is what this process shows: the public listener and all services or,
// behind a front, a listener for the other processes alone.
func (s *Stack) face() (net.Listener, http.Handler) {
	if !s.conf.Behind() {
		return s.listener, s.mux
	}
	callers := s.peers.callers
	return peer.Listen(s.listener, s.peers.identity, callers), peer.Handler(callers, s.opts.Log, s.mux)
}

// servicesBehind are those that the front passes requests on to.
func (s *Stack) servicesBehind() []string {
	var out []string
	if s.conf.Front() {
		for _, p := range s.conf.Peers.Processes {
			out = append(out, p.Services...)
		}
	}
	return out
}

// ctRoots are the authorities whose certificates the CT log takes: this CA's, or
// those of the process that it runs in.
func (s *Stack) ctRoots() ([]*x509.Certificate, error) {
	if s.conf.CA != nil {
		chain, err := s.layout.chain(s.conf.CA.Chain)
		if err != nil {
			return nil, err
		}
		return chain[len(chain)-1:], nil
	}
	var roots []*x509.Certificate
	for _, part := range s.othersMaterial() {
		for _, a := range part.CAs {
			roots = append(roots, a.Chain[len(a.Chain)-1])
		}
	}
	return roots, nil
}

// ctLog is how the CA submits to the CT log, and the log's key.
func (s *Stack) ctLog() (ca.SubmitPrecert, []byte, error) {
	if log := s.services.ctlog; log != nil {
		return log.AddPreChain, log.Trust().PublicKey, nil
	}
	log, err := s.newestCTLog()
	if err != nil {
		return nil, nil, err
	}
	return submitTo(s.linkTo("ctlog"), log), log.PublicKey, nil
}

// linkTo returns the link to the process that has a service, nil if there is none.
func (s *Stack) linkTo(service string) *link {
	if s.peers == nil {
		return nil
	}
	for _, l := range s.peers.links {
		if slices.Contains(l.conf.Services, service) {
			return l
		}
	}
	return nil
}

// newestCTLog is the CT log in use, of another process.
func (s *Stack) newestCTLog() (trust.Log, error) {
	var newest trust.Log
	for _, part := range s.othersMaterial() {
		for _, l := range part.CTLogs {
			if l.Window.Start.After(newest.Window.Start) {
				newest = l
			}
		}
	}
	if len(newest.PublicKey) == 0 {
		return newest, errors.New("no other process has a CT log: its file in peers/ holds none")
	}
	return newest, nil
}

// RFC 6962 §4.2, below the log's prefix.
const addPreChain = "/ct/v1/add-pre-chain"

// Waits between attempts to reach the CT log: the CA gives it four seconds.
const (
	firstSubmitRetry   = 50 * time.Millisecond
	longestSubmitRetry = 400 * time.Millisecond
)

// submitTo returns a SubmitPrecert that asks a CT log in another process, again
// and again while it cannot be reached: the log answers a chain that it has with
// the timestamp that it gave before.
func submitTo(link *link, log trust.Log) ca.SubmitPrecert {
	return func(ctx context.Context, chain [][]byte) ([]byte, error) {
		if len(chain) > 1 {
			chain = chain[:len(chain)-1] // the log has the root
		}
		body, err := json.Marshal(map[string][][]byte{"chain": chain})
		if err != nil {
			return nil, fmt.Errorf("encode chain: %w", err)
		}
		for wait := firstSubmitRetry; ; wait = min(2*wait, longestSubmitRetry) {
			answer, err := submit(ctx, link, log.BaseURL+addPreChain, body)
			if fault.KindOf(err) != fault.Unavailable {
				return answer, err
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(wait):
			}
		}
	}
}

func submit(ctx context.Context, link *link, url string, body []byte) (_ []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("add precertificate: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := link.client.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "certificate transparency log broke off")
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	cause := fmt.Errorf("ct log answered %d: %s", resp.StatusCode, bytes.TrimSpace(answer))
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		return nil, fault.Wrap(fault.Unavailable, cause, "certificate transparency log is unavailable")
	}
	return nil, fault.Wrap(fault.Invalid, cause, "certificate transparency log refused the certificate chain")
}

// ctPrefix is the path of the CT log in use.
func (s *Stack) ctPrefix() string {
	if log, err := s.newestCTLog(); err == nil {
		return strings.TrimPrefix(log.BaseURL, s.conf.URL)
	}
	return "/ctlog"
}
