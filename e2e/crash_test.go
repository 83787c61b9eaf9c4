package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

const (
	crashes = 20
	writers = 16
)

// acknowledged is what a writer wrote down of one 201, synced to its own disk
// before the next request.
type acknowledged struct {
	ID         string `json:"id"`
	Index      uint64 `json:"index"`
	Body       []byte `json:"body"`
	Integrated int64  `json:"integrated"`
	Size       uint64 `json:"size"`
	Root       []byte `json:"root"`
}

// TestKilledAtRandomMomentsLosesNothing kills the stack under load, again and
// again, and demands after each start that every 201 that a writer has on its
// disk is there and provable, that every checkpoint it saw is extended by
// today's tree, that every certificate handed out is in the CT log as its SCT
// promised, and that keys and trust root are the same.
func TestKilledAtRandomMomentsLosesNothing(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) // printed, to repeat the run
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	dir, notes := t.TempDir(), t.TempDir()
	s := e2etest.Start(t, dir)
	log := logOf(t, s)
	ctLog := newCTChecker(t, s)
	root := e2etest.ReadFile(t, s.Kit("root.json"))
	certificates := 0
	for round := range crashes {
		load := startLoad(t, s.URL, notes, s.TokenEnv(t))
		time.Sleep(time.Duration(20+random.IntN(500)) * time.Millisecond) // the random moment
		s.Kill()
		load.wait()
		s = e2etest.Start(t, dir)
		if got := logOf(t, s); !bytes.Equal(got.Key, log.Key) || got.TreeID != log.TreeID {
			t.Fatalf("round %d: log key or tree changed", round)
		}
		if _, served := e2etest.Get(t, s.URL+"/client/root.json"); string(served) != root {
			t.Fatalf("round %d: trust root changed", round)
		}
		acks := readNotes(t, notes)
		if err := checkAll(t, s.URL, log, acks); err != nil {
			t.Fatalf("round %d, %d acknowledged: %v", round, len(acks), err)
		}
		var err error
		if certificates, err = ctLog.check(t, notes); err != nil {
			t.Fatalf("round %d, CT log: %v", round, err)
		}
	}
	total := len(readNotes(t, notes))
	t.Logf("%d entries and %d certificates acknowledged over %d crashes, all there", total, certificates, crashes)
	if total < crashes || certificates < crashes {
		t.Errorf("only %d entries and %d certificates were acknowledged: the load did not load", total, certificates)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	_, err := e2etest.TryStart(t, s.Dir)
	if err == nil || !strings.Contains(err.Error(), "in use by another process (pid "+strconv.Itoa(s.PID())+")") {
		t.Errorf("second process: got %v, want a refusal that names the first", err)
	}
}

// logOf returns what a client knows of the stack's log.
func logOf(t *testing.T, s *e2etest.Stack) tlogtest.Log {
	t.Helper()
	_, key := e2etest.Get(t, s.URL+"/api/v1/log/publicKey")
	block, _ := pem.Decode(key)
	if block == nil {
		t.Fatalf("public key is not PEM: %q", key)
	}
	info := logInfo(t, s.URL)
	id, err := strconv.ParseInt(info.TreeID, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return tlogtest.Log{Host: "localhost", TreeID: id, Key: block.Bytes}
}

type info struct {
	RootHash       string `json:"rootHash"`
	SignedTreeHead string `json:"signedTreeHead"`
	TreeID         string `json:"treeID"`
	TreeSize       uint64 `json:"treeSize"`
}

func logInfo(t *testing.T, url string) (i info) {
	t.Helper()
	_, body := e2etest.Get(t, url+"/api/v1/log")
	if err := json.Unmarshal(body, &i); err != nil {
		t.Fatalf("log info %q: %v", body, err)
	}
	return i
}

// load is a set of writers that run until the server is gone.
type load struct {
	t    *testing.T
	wg   sync.WaitGroup
	stop context.CancelFunc
}

// wait returns when every writer has noticed that the server is gone.
func (l *load) wait() {
	l.wg.Wait()
	l.stop()
}

func startLoad(t *testing.T, url, notes, token string) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	l := &load{t: t, stop: cancel}
	l.wg.Go(func() {
		if err := certify(ctx, url, notes, strings.TrimPrefix(token, "SIGSTORE_ID_TOKEN=")); err != nil {
			t.Errorf("certificate writer: %v", err)
		}
	})
	for i := range writers {
		signer := tlogtest.NewSigner(t)
		l.wg.Go(func() {
			path := filepath.Join(notes, fmt.Sprintf("writer-%02d", i))
			if err := write(ctx, t, url, path, signer); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	return l
}

// write posts entries, noting each 201, until the connection breaks. Any other
// answer than 201 is an error.
func write(ctx context.Context, t *testing.T, url, path string, signer tlogtest.Signer) error {
	notes, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: e2etest.Transport()}
	defer client.CloseIdleConnections()
	for n := 0; ; n++ {
		artifact := fmt.Appendf(nil, "%s %d %d", path, time.Now().UnixNano(), n)
		body := tlogtest.JSON(t, tlogtest.HashedRekord(t, signer, crypto.SHA256, artifact))
		status, answer, err := e2etest.Post(ctx, client, url+"/api/v1/log/entries", body)
		if err != nil || e2etest.Dying(status) {
			return notes.Close() // killed: nothing was acknowledged
		}
		if status != http.StatusCreated {
			return errors.Join(fmt.Errorf("status %d: %s", status, answer), notes.Close())
		}
		if err := note(notes, answer); err != nil {
			return errors.Join(err, notes.Close())
		}
	}
}

// logEntry is a Rekor v1 answer, as far as the notes go; tlogtest checks it all.
type logEntry map[string]struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogIndex       uint64 `json:"logIndex"`
	Verification   struct {
		InclusionProof struct {
			RootHash string `json:"rootHash"`
			TreeSize uint64 `json:"treeSize"`
		} `json:"inclusionProof"`
	} `json:"verification"`
}

// note writes a 201 down durably.
func note(f *os.File, answer []byte) error {
	var e logEntry
	if err := json.Unmarshal(answer, &e); err != nil || len(e) != 1 {
		return fmt.Errorf("201 with %d entries: %w", len(e), err)
	}
	for id, v := range e {
		root, err := hex.DecodeString(v.Verification.InclusionProof.RootHash)
		if err != nil {
			return err
		}
		line, err := json.Marshal(acknowledged{id, v.LogIndex, v.Body, v.IntegratedTime, v.Verification.InclusionProof.TreeSize, root})
		if err != nil {
			return err
		}
		if _, err := f.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return f.Sync()
}

func readNotes(t *testing.T, dir string) []acknowledged {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "writer-*"))
	if err != nil {
		t.Fatal(err)
	}
	var acks []acknowledged
	for _, name := range files {
		scan := bufio.NewScanner(strings.NewReader(e2etest.ReadFile(t, name)))
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			var a acknowledged
			if err := json.Unmarshal(scan.Bytes(), &a); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			acks = append(acks, a)
		}
		if err := scan.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return acks
}

// checkAll demands every acknowledged entry by HTTP, with its proof, and a
// consistency proof from every checkpoint seen to today's.
func checkAll(t *testing.T, url string, log tlogtest.Log, acks []acknowledged) error {
	t.Helper()
	head, err := log.CheckCheckpoint(logInfo(t, url).SignedTreeHead)
	if err != nil {
		return fmt.Errorf("today's checkpoint: %w", err)
	}
	transport := e2etest.Transport()
	transport.MaxIdleConnsPerHost = writers
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	work, failed := make(chan acknowledged), make(chan error, writers)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for a := range work {
				if err := checkOne(t.Context(), client, url, log, head, a); err != nil {
					select {
					case failed <- fmt.Errorf("entry %d (%s): %w", a.Index, a.ID, err):
					default:
					}
				}
			}
		})
	}
	for _, a := range acks {
		work <- a
	}
	close(work)
	wg.Wait()
	close(failed)
	return <-failed
}

func checkOne(ctx context.Context, client *http.Client, url string, log tlogtest.Log, head tlogtest.Head, a acknowledged) error {
	answer, err := fetch(ctx, client, url+"/api/v1/log/entries/"+a.ID)
	if err != nil {
		return err
	}
	e, err := log.CheckEntry(answer)
	if err != nil {
		return err
	}
	if e.ID != a.ID || e.LogIndex != a.Index || e.IntegratedTime != a.Integrated || !bytes.Equal(e.Body, a.Body) {
		return fmt.Errorf("is another entry now: index %d, time %d", e.LogIndex, e.IntegratedTime)
	}
	if err := checkFound(ctx, client, url, e); err != nil {
		return err
	}
	if head.Size < a.Size {
		return fmt.Errorf("checkpoint of size %d was seen, today's is %d", a.Size, head.Size)
	}
	proof, err := fetch(ctx, client, fmt.Sprintf("%s/api/v1/log/proof?firstSize=%d&lastSize=%d", url, a.Size, head.Size))
	if err != nil {
		return err
	}
	return checkExtended(head, a, proof)
}

// checkFound searches an entry by what it signs.
func checkFound(ctx context.Context, client *http.Client, url string, e tlogtest.Entry) error {
	var rekord struct {
		Spec struct {
			Data struct{ Hash struct{ Value string } }
		}
	}
	if err := json.Unmarshal(e.Body, &rekord); err != nil {
		return err
	}
	question := fmt.Appendf(nil, `{"hash":%q}`, rekord.Spec.Data.Hash.Value)
	status, answer, err := e2etest.Post(ctx, client, url+indexPath, question)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("[%q]\n", e.ID); string(answer) != want {
		return fmt.Errorf("search answered %d %s, want %s", status, answer, want)
	}
	return nil
}

// checkExtended verifies that today's head extends the one a writer saw.
func checkExtended(head tlogtest.Head, a acknowledged, answer []byte) error {
	var p struct {
		Hashes []string `json:"hashes"`
	}
	if err := json.Unmarshal(answer, &p); err != nil {
		return fmt.Errorf("consistency proof %q: %w", answer, err)
	}
	hashes := make([][]byte, len(p.Hashes))
	for i, h := range p.Hashes {
		var err error
		if hashes[i], err = hex.DecodeString(h); err != nil {
			return err
		}
	}
	return tlogtest.CheckConsistency(a.Size, head.Size, a.Root, head.Root, hashes)
}

func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s: %s", url, resp.Status, body)
	}
	return body, nil
}
