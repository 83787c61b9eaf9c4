package loadtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/pki"
)

// V2 is a Rekor v2 log. It keeps its leaves, and computes every proof from them by
// the definition of RFC 6962.
type V2 struct {
	mu     sync.Mutex
	key    crypto.Signer
	origin string
	leaves [][]byte // hashes
}

// EntryV2 is a TransparencyLogEntry.
type EntryV2 struct {
	LogIndex string `json:"logIndex"`
	LogID    struct {
		KeyID []byte `json:"keyId"`
	} `json:"logId"`
	KindVersion struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	IntegratedTime string `json:"integratedTime"`
	Proof          struct {
		LogIndex   string   `json:"logIndex"`
		RootHash   []byte   `json:"rootHash"`
		TreeSize   string   `json:"treeSize"`
		Hashes     [][]byte `json:"hashes"`
		Checkpoint struct {
			Envelope string `json:"envelope"`
		} `json:"checkpoint"`
	} `json:"inclusionProof"`
	Body []byte `json:"canonicalizedBody"`
}

func newV2(tb testing.TB, key crypto.Signer) *V2 {
	tb.Helper()
	first := rfc6962.DefaultHasher.HashLeaf([]byte("first"))
	return &V2{key: key, origin: "127.0.0.1", leaves: [][]byte{first}}
}

// UseEd25519 gives the log a key of that kind.
func (v *V2) UseEd25519(tb testing.TB) {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key = key
}

// Public is the log's key.
func (v *V2) Public() crypto.PublicKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.key.Public()
}

func (f *Fake) addV2(r *http.Request) (int, []byte, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, err
	}
	var req struct {
		Request struct {
			Digest    []byte          `json:"digest"`
			Signature json.RawMessage `json:"signature"`
		} `json:"hashedRekordRequestV002"`
	}
	if err := json.Unmarshal(data, &req); err != nil {
		return 0, nil, err
	}
	body := fmt.Appendf(nil, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"%s"},"signature":%s}}}`,
		base64.StdEncoding.EncodeToString(req.Request.Digest), req.Request.Signature)
	h := f.hook()
	if h.Propose != nil {
		body = h.Propose(body)
	}
	e := f.V2.add(body)
	if h.V2 != nil {
		h.V2(f, &e)
	}
	answer, err := json.Marshal(e)
	return http.StatusCreated, answer, err
}

func (v *V2) add(body []byte) EntryV2 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leaves = append(v.leaves, rfc6962.DefaultHasher.HashLeaf(body))
	index, size := len(v.leaves)-1, len(v.leaves)
	var e EntryV2
	e.Body, e.LogIndex, e.IntegratedTime = body, strconv.Itoa(index), "0"
	e.KindVersion.Kind, e.KindVersion.Version = "hashedrekord", "0.0.2"
	e.LogID.KeyID = v.id()
	e.Proof.LogIndex, e.Proof.TreeSize = e.LogIndex, strconv.Itoa(size)
	e.Proof.RootHash = rootOf(v.leaves)
	e.Proof.Hashes = pathOf(index, v.leaves)
	e.Proof.Checkpoint.Envelope = v.note(v.origin, size, e.Proof.RootHash)
	return e
}

// Note makes a checkpoint, signed by the log's key in the log's name.
func (v *V2) Note(origin string, size int, root []byte) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.note(origin, size, root)
}

func (v *V2) note(origin string, size int, root []byte) string {
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root))
	var sig []byte
	switch key := v.key.(type) {
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(text))
	case *ecdsa.PrivateKey:
		sig = sign(key, []byte(text))
	}
	return text + "\n\u2014 " + v.origin + " " + base64.StdEncoding.EncodeToString(append(v.id()[:4:4], sig...)) + "\n"
}

// id is the log ID.
func (v *V2) id() []byte {
	if key, ok := v.key.Public().(ed25519.PublicKey); ok {
		sum := sha256.Sum256(slices.Concat([]byte(v.origin+"\n\x01"), key))
		return sum[:]
	}
	spki, err := pki.MarshalPublicKey(v.key.Public())
	if err != nil {
		panic(err)
	}
	id := pki.LogID(spki)
	return id[:]
}

func rootOf(leaves [][]byte) []byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := half(len(leaves))
	return rfc6962.DefaultHasher.HashChildren(rootOf(leaves[:k]), rootOf(leaves[k:]))
}

func pathOf(index int, leaves [][]byte) [][]byte {
	if len(leaves) == 1 {
		return [][]byte{}
	}
	k := half(len(leaves))
	if index < k {
		return append(pathOf(index, leaves[:k]), rootOf(leaves[k:]))
	}
	return append(pathOf(index-k, leaves[k:]), rootOf(leaves[:k]))
}

// half is the largest power of two below n.
func half(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}
