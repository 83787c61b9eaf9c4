// Package loadtest is a whole set of services for tests of the load driver: those
// of signingtest, and beside them what only the driver asks for. Every answer is
// right, but for the one thing that a hook makes wrong.
package loadtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"sigstack/internal/pki"
	"sigstack/internal/signing/signingtest"
)

// Email is whom tokens name.
const Email = "somebody@load.example"

// Hooks make answers wrong; nil ones leave them right.
type Hooks struct {
	// Propose changes what is logged, and proven, instead of what was proposed.
	Propose func(body []byte) []byte
	// Added and Read change entries of the v1 log as they are answered.
	Added, Read func(f *Fake, id *string, e *Entry)
	// ReadID changes which entry is read.
	ReadID func(id string) string
	Found  func(ids []string) []string
	// Certify makes another chain than the usual, leaf first.
	Certify func(f *Fake, pub crypto.PublicKey) ([]*x509.Certificate, error)
	// Stamp changes a timestamp, and who signs it, before it is signed; Stamped
	// its bytes.
	Stamp   func(f *Fake, t *timestamp.Timestamp, by *signingtest.Authority)
	Stamped func(der []byte) []byte
	// V2 changes an entry of the v2 log as it is answered.
	V2 func(f *Fake, e *EntryV2)
	// Answer may answer instead: it gets the right answer, but for one to a
	// question of the driver's before the run.
	Answer func(w http.ResponseWriter, r *http.Request, status int, answer []byte)
}

// Entry is a v1 LogEntry.
type Entry struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		Proof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
		SET []byte `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// Fake is a running set of services.
type Fake struct {
	URL   string
	Stack *signingtest.Stack // the keys, and most of the services
	Token string
	V2    *V2 // the v2 log's key

	mu      sync.Mutex
	hooks   Hooks
	ids     map[int64]string  // of the v1 log's entries, by index
	indexed map[string]string // search term -> ID
}

// Start starts services that end with the test.
func Start(tb testing.TB) *Fake {
	tb.Helper()
	f := &Fake{Stack: signingtest.New(tb, time.Now), ids: map[int64]string{}, indexed: map[string]string{}}
	f.Token = f.Stack.Token(Email)
	f.V2 = newV2(tb, f.Stack.Keys.Log)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/log", f.logInfo)
	mux.HandleFunc("GET /api/v1/log/publicKey", f.publicKey)
	mux.HandleFunc("GET /api/v2/trustBundle", f.trustBundle)
	mux.HandleFunc("GET /api/v1/timestamp/certchain", f.certChain)
	mux.HandleFunc("POST /api/v2/signingCert", f.answered(f.certify))
	mux.HandleFunc("POST /api/v1/log/entries", f.answered(f.add))
	mux.HandleFunc("GET /api/v1/log/entries/{id}", f.answered(f.read))
	mux.HandleFunc("GET /api/v1/log/entries", f.answered(f.read))
	mux.HandleFunc("POST /api/v1/index/retrieve", f.answered(f.search))
	mux.HandleFunc("POST /api/v1/timestamp", f.answered(f.stamp))
	mux.HandleFunc("POST /api/v2/log/entries", f.answered(f.addV2))
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

// Set sets the hooks from now on.
func (f *Fake) Set(h Hooks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks = h
}

func (f *Fake) hook() Hooks {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hooks
}

// answered serves what h returns, unless a hook does that.
func (f *Fake) answered(h func(r *http.Request) (status int, answer []byte, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status, answer, err := h(r)
		if err != nil {
			status, answer = http.StatusBadRequest, fmt.Appendf(nil, `{"code":400,"message":%q}`, err)
		}
		if answer2 := f.hook().Answer; answer2 != nil && err == nil {
			answer2(w, r, status, answer)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write(answer)
	}
}

// stackDo has the stack answer.
func (f *Fake) stackDo(method, path string, body []byte) (*httptest.ResponseRecorder, error) {
	req, err := http.NewRequest(method, f.Stack.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := httptest.NewRecorder()
	out.Code = resp.StatusCode
	_, err = io.Copy(out, resp.Body)
	return out, err
}

func (f *Fake) logInfo(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintf(w, `{"inactiveShards":[],"treeID":"%d","treeSize":1,"rootHash":"","signedTreeHead":""}`, f.TreeID())
}

// TreeID is the v1 log's.
func (f *Fake) TreeID() int64 {
	id, err := strconv.ParseInt(signingtest.EntryID(nil)[:16], 16, 64)
	if err != nil {
		panic(err)
	}
	return id
}

func (f *Fake) publicKey(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, KeyPEM(f.Stack.Keys.Log.Public()))
}

// KeyPEM renders a public key.
func KeyPEM(key crypto.PublicKey) string {
	spki, err := pki.MarshalPublicKey(key)
	if err != nil {
		panic(err)
	}
	return string(pki.PublicKeyPEM(spki))
}

func (f *Fake) trustBundle(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]any{"chains": []any{map[string]any{"certificates": PEMs(f.Stack.Keys.CA.Chain...)}}})
}

// PEMs renders each certificate for itself.
func PEMs(chain ...*x509.Certificate) []string {
	var out []string
	for _, c := range chain {
		out = append(out, string(pki.CertificatesPEM([]*x509.Certificate{c})))
	}
	return out
}

func (f *Fake) certChain(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write(pki.CertificatesPEM(f.Stack.Keys.TSA.Chain))
}

// Issue makes the usual chain for pub: a leaf that change changed, with an SCT of
// each of logs.
func (f *Fake) Issue(pub crypto.PublicKey, change func(*x509.Certificate), logs ...*ecdsa.PrivateKey) ([]*x509.Certificate, error) {
	leaf, err := f.Stack.IssueAs(pub, Email, f.Stack.Issuer(), change, logs...)
	if err != nil {
		return nil, err
	}
	return append([]*x509.Certificate{leaf}, f.Stack.Keys.CA.Chain...), nil
}

func (f *Fake) certify(r *http.Request) (int, []byte, error) {
	var req struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return 0, nil, err
	}
	block, _ := pem.Decode([]byte(req.PublicKeyRequest.PublicKey.Content))
	if block == nil || r.Header.Get("Authorization") != "Bearer "+f.Token {
		return 0, nil, fmt.Errorf("no key, or no token")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return 0, nil, err
	}
	sum := sha256.Sum256([]byte(Email))
	if !ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), sum[:], req.PublicKeyRequest.ProofOfPossession) {
		return 0, nil, fmt.Errorf("the proof of possession does not verify")
	}
	certify := f.hook().Certify
	if certify == nil {
		certify = func(f *Fake, pub crypto.PublicKey) ([]*x509.Certificate, error) {
			return f.Issue(pub, func(*x509.Certificate) {}, f.Stack.Keys.CT)
		}
	}
	chain, err := certify(f, pub)
	if err != nil {
		return 0, nil, err
	}
	answer, err := json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": PEMs(chain...)}}})
	return http.StatusOK, answer, err
}

func (f *Fake) add(r *http.Request) (int, []byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, err
	}
	h := f.hook()
	proposed := body
	if h.Propose != nil {
		body = h.Propose(body)
	}
	answer, err := f.stackDo(http.MethodPost, "/api/v1/log/entries", body)
	if err != nil {
		return 0, nil, err
	}
	if err := f.index(proposed, answer.Body.Bytes()); err != nil {
		return 0, nil, err
	}
	out, err := f.change(answer.Body.Bytes(), h.Added)
	return http.StatusCreated, out, err
}

// index remembers where an entry is, and what it is found by.
func (f *Fake) index(proposed, answer []byte) error {
	var m map[string]Entry
	if err := json.Unmarshal(answer, &m); err != nil {
		return fmt.Errorf("%w in %s", err, answer)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, e := range m {
		f.ids[e.LogIndex] = id
		f.indexTerms(proposed, id)
	}
	return nil
}

func (f *Fake) indexTerms(proposed []byte, id string) {
	var p struct {
		Spec struct {
			Data      struct{ Hash struct{ Value string } }
			Signature struct{ PublicKey struct{ Content []byte } }
		}
	}
	if json.Unmarshal(proposed, &p) != nil {
		return
	}
	content := p.Spec.Signature.PublicKey.Content
	f.indexed["sha256:"+p.Spec.Data.Hash.Value] = id
	f.indexed[base64.StdEncoding.EncodeToString(content)] = id
	if block, _ := pem.Decode(content); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			for _, email := range cert.EmailAddresses {
				f.indexed[email] = id
			}
		}
	}
}

// change has a hook change an answered entry.
func (f *Fake) change(answer []byte, hook func(f *Fake, id *string, e *Entry)) ([]byte, error) {
	var m map[string]Entry
	if err := json.Unmarshal(answer, &m); err != nil {
		return nil, fmt.Errorf("%w in %s", err, answer)
	}
	out := map[string]Entry{}
	for id, e := range m {
		if hook != nil {
			hook(f, &id, &e)
		}
		out[id] = e
	}
	return json.Marshal(out)
}

func (f *Fake) read(r *http.Request) (int, []byte, error) {
	h := f.hook()
	id := r.PathValue("id")
	if id == "" {
		index, err := strconv.ParseInt(r.FormValue("logIndex"), 10, 64)
		if err != nil {
			return 0, nil, err
		}
		f.mu.Lock()
		id = f.ids[index]
		f.mu.Unlock()
	}
	if h.ReadID != nil {
		id = h.ReadID(id)
	}
	answer, err := f.stackDo(http.MethodGet, "/api/v1/log/entries/"+id, nil)
	if err != nil {
		return 0, nil, err
	}
	out, err := f.change(answer.Body.Bytes(), h.Read)
	return http.StatusOK, out, err
}

// IDs are those of all entries that were added, in order; the first has index 1.
func (f *Fake) IDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for i := int64(1); f.ids[i] != ""; i++ {
		list = append(list, f.ids[i])
	}
	return list
}

func (f *Fake) search(r *http.Request) (int, []byte, error) {
	var q struct {
		Email, Hash string
		PublicKey   struct{ Format, Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return 0, nil, err
	}
	ids := []string{}
	f.mu.Lock()
	if id, ok := f.indexed[q.Email+q.Hash+q.PublicKey.Content]; ok {
		ids = append(ids, id)
	}
	f.mu.Unlock()
	if h := f.hook(); h.Found != nil {
		ids = h.Found(ids)
	}
	answer, err := json.Marshal(ids)
	return http.StatusOK, answer, err
}

func (f *Fake) stamp(r *http.Request) (int, []byte, error) {
	der, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, err
	}
	query, err := timestamp.ParseRequest(der)
	if err != nil {
		return 0, nil, err
	}
	t := timestamp.Timestamp{
		HashAlgorithm: query.HashAlgorithm, HashedMessage: query.HashedMessage, Nonce: query.Nonce,
		Time: time.Now().UTC(), Policy: pki.OIDTimestampPolicy, AddTSACertificate: query.Certificates, Accuracy: time.Second,
	}
	by, h := f.Stack.Keys.TSA, f.hook()
	if h.Stamp != nil {
		h.Stamp(f, &t, &by)
	}
	out, err := t.CreateResponseWithOpts(by.Chain[0], by.Key, crypto.SHA256)
	if h.Stamped != nil {
		out = h.Stamped(out)
	}
	return http.StatusCreated, out, err
}
