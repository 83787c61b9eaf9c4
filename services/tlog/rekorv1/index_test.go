package rekorv1_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/swag/conv"
	"github.com/sigstore/rekor/pkg/client"
	"github.com/sigstore/rekor/pkg/generated/client/index"
	"github.com/sigstore/rekor/pkg/generated/models"

	"sigstack/internal/fault"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tlog/tlogtest"
)

const indexPath = "/api/v1/index/retrieve"

// lookUp searches the index and returns the IDs found.
func (r *rig) lookUp(t *testing.T, query any) []string {
	t.Helper()
	a := r.post(t, indexPath, query)
	var ids []string
	if err := json.Unmarshal(a.body, &ids); err != nil || a.status != http.StatusOK || ids == nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	if a.header.Get("X-Results-Truncated") != "" {
		t.Errorf("%d results are said to be truncated", len(ids))
	}
	return ids
}

// TestIndex: contract rekor-v1.md §10.
func TestIndex(t *testing.T) {
	r := start(t)
	keyed, mailed := tlogtest.NewSigner(t), certified(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wide := tlogtest.SignerOf(t, p384)
	statement := `{"subject":[{"digest":{"sha256":"` + strings.Repeat("cd", 32) + `","gitCommit":"Cafe"}}]}`
	env := tlogtest.Envelope(t, "application/vnd.in-toto+json", []byte(statement), keyed)
	one, two := r.add(t, blob(t, keyed, "one")).ID, r.add(t, blob(t, mailed, "two")).ID
	three, four := r.add(t, tlogtest.DSSE(t, env, keyed)).ID, r.add(t, tlogtest.InTotoV001(t, env, keyed)).ID
	five, six := r.add(t, tlogtest.InTotoV002(t, env, keyed)).ID, r.add(t, blob(t, mailed, "one")).ID
	seven := r.add(t, tlogtest.HashedRekord(t, wide, crypto.SHA384, []byte("wide"))).ID

	digest := func(data string) string { d := sha256.Sum256([]byte(data)); return hex.EncodeToString(d[:]) }
	d384 := crypto.SHA384.New()
	d384.Write([]byte("wide"))
	key := func(s tlogtest.Signer) any {
		return tlogtest.Object{"format": "x509", "content": base64.StdEncoding.EncodeToString(s.Material)}
	}
	type query = tlogtest.Object
	for name, tt := range map[string]struct {
		query any
		want  []string // the newest first
	}{
		"email":                    {query{"email": "demo@log.example"}, []string{six, two}},
		"email in capitals":        {query{"email": "Demo@LOG.example"}, []string{six, two}},
		"email of nobody":          {query{"email": "nobody@log.example"}, nil},
		"subject":                  {query{"subject": "DEMO@log.example"}, []string{six, two}},
		"subject, a part":          {query{"subject": "log.example"}, nil},
		"hash":                     {query{"hash": "sha256:" + digest("one")}, []string{six, one}},
		"hash without algorithm":   {query{"hash": digest("one")}, []string{six, one}},
		"hash in capitals":         {query{"hash": strings.ToUpper(digest("one"))}, []string{six, one}},
		"hash of nothing":          {query{"hash": digest("none")}, nil},
		"hash, SHA-384":            {query{"hash": hex.EncodeToString(d384.Sum(nil))}, []string{seven}},
		"hash, SHA-512":            {query{"hash": "sha512:" + strings.Repeat("0", 128)}, nil},
		"hash, SHA-1":              {query{"hash": strings.Repeat("0", 40)}, nil},
		"hash of an envelope":      {query{"hash": digest(string(tlogtest.JSON(t, env)))}, []string{four, three}},
		"hash of a payload":        {query{"hash": digest(statement)}, []string{five, four, three}},
		"hash of a subject":        {query{"hash": strings.Repeat("cd", 32)}, []string{five, four, three}},
		"other digest":             {query{"subject": "gitcommit:cafe"}, []string{five, four, three}},
		"key, every kind":          {query{"publicKey": key(keyed)}, []string{five, four, three, one}},
		"key of a certificate":     {query{"publicKey": key(mailed)}, []string{six, two}},
		"key of nobody":            {query{"publicKey": key(tlogtest.NewSigner(t))}, nil},
		"key's digest, bare":       {query{"subject": digest(string(keyed.Material))}, []string{five, four, three, one}},
		"key's digest, by a hash":  {query{"hash": digest(string(keyed.Material))}, []string{five, four, three, one}},
		"or, by default":           {query{"email": "demo@log.example", "hash": digest("one")}, []string{six, two, one}},
		"or":                       {query{"email": "demo@log.example", "hash": digest("one"), "operator": "or"}, []string{six, two, one}},
		"and":                      {query{"email": "demo@log.example", "hash": digest("one"), "operator": "and"}, []string{six}},
		"and of three":             {query{"subject": "demo@log.example", "publicKey": key(mailed), "hash": digest("two"), "operator": "and"}, []string{two}},
		"and with one that is not": {query{"email": "demo@log.example", "hash": digest("none"), "operator": "and"}, nil},
		"and of strangers":         {query{"email": "demo@log.example", "publicKey": key(keyed), "operator": "and"}, nil},
		"nulls":                    {query{"email": nil, "subject": nil, "hash": digest("two"), "publicKey": nil, "operator": nil}, []string{two}},
		"nulls in a key":           {query{"hash": digest("two"), "email": "", "subject": "", "operator": ""}, []string{two}},
		"nothing":                  {query{}, nil},
		"null":                     {nil, nil},
		"unknown members":          {query{"x": 1, "hash": digest("two")}, []string{two}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.lookUp(t, tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
	if a := r.post(t, indexPath+"/", query{}); string(a.body) != "[]\n" {
		t.Errorf("nothing found: %q, want []", a.body)
	}
}

// TestIndexIsCapped: the newest are there, and that there are more is said.
func TestIndexIsCapped(t *testing.T) {
	r := start(t)
	const entries = tlog.MaxFound + 3
	s := certified(t)
	work(64, entries, func(i int) {
		if a := r.serve("POST", "/api/v1/log/entries", tlogtest.JSON(t, blob(t, s, fmt.Sprint(i)))); a.status != http.StatusCreated {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	for _, operator := range []string{"or", "and"} {
		a := r.post(t, indexPath, tlogtest.Object{"email": "demo@log.example", "subject": "demo@log.example", "operator": operator})
		var found []string
		if err := json.Unmarshal(a.body, &found); err != nil || len(found) != tlog.MaxFound || a.header.Get("X-Results-Truncated") != "1000" {
			t.Fatalf("%s: found %d, truncated %q, %v; want %d, and that it is cut", operator, len(found), a.header.Get("X-Results-Truncated"), err, tlog.MaxFound)
		}
		for i := 0; i < len(found); i += 111 { // the newest first
			e := r.check(t, r.serve("GET", "/api/v1/log/entries/"+found[i], nil))
			if e.LogIndex != uint64(entries-1-i) {
				t.Fatalf("%s: result %d is entry %d, want %d", operator, i, e.LogIndex, entries-1-i)
			}
		}
	}
}

// TestDuplicateIsFoundOnce: what is proposed again is in the index once.
func TestDuplicateIsFoundOnce(t *testing.T) {
	r := start(t)
	proposal := blob(t, certified(t), "one")
	id := r.add(t, proposal).ID
	r.add(t, proposal)
	if got := r.lookUp(t, tlogtest.Object{"email": "demo@log.example"}); !slices.Equal(got, []string{id}) {
		t.Errorf("found %q, want %q", got, id)
	}
}

// TestUpstreamSearch drives the index with the reference client.
func TestUpstreamSearch(t *testing.T) {
	r := start(t)
	c, err := client.GetRekorClient(r.url)
	if err != nil {
		t.Fatal(err)
	}
	s := certified(t)
	want := r.add(t, blob(t, s, "one")).ID
	for name, q := range map[string]*models.SearchIndex{
		"email": {Email: "demo@log.example"},
		"key":   {PublicKey: &models.SearchIndexPublicKey{Format: conv.Pointer("x509"), Content: strfmt.Base64(s.Material)}},
	} {
		found, err := c.Index.SearchIndex(index.NewSearchIndexParams().WithQuery(q))
		if err != nil || !slices.Equal(found.Payload, []string{want}) {
			t.Errorf("%s: %+v, %v, want %s", name, found, err, want)
		}
	}
	_, err = c.Index.SearchIndex(index.NewSearchIndexParams().WithQuery(&models.SearchIndex{Hash: "x"}))
	var refused *index.SearchIndexDefault
	if ok := asDefault(err, &refused); !ok || refused.Code() != 422 || refused.Payload.Code != 605 {
		t.Errorf("refusal as the client reads it: %v", err)
	}
}

func asDefault(err error, target **index.SearchIndexDefault) bool {
	d, ok := err.(*index.SearchIndexDefault) //nolint:errorlint // the client returns it bare
	*target = d
	return ok
}

// FuzzIndexQuery: a question is for at most four terms, each spelt as the index
// has it, or refused as the caller's fault.
func FuzzIndexQuery(f *testing.F) {
	s := tlogtest.NewSigner(f)
	for _, q := range []any{
		tlogtest.Object{"email": "A@b.test", "subject": "X", "hash": strings.Repeat("AB", 32), "operator": "and"},
		tlogtest.Object{"publicKey": tlogtest.Object{"format": "x509", "content": base64.StdEncoding.EncodeToString(s.Material)}},
		tlogtest.Object{"publicKey": tlogtest.Object{"format": "pgp"}},
		tlogtest.Object{"hash": 1},
		nil,
		[]int{},
	} {
		f.Add(tlogtest.JSON(f, q))
	}
	f.Fuzz(func(t *testing.T, question []byte) {
		terms, err := rekorv1.ParseIndexQuery(question)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Unprocessable {
				t.Fatalf("refused as %v: %v", k, err)
			}
			return
		}
		if len(terms) > 4 || !json.Valid(question) {
			t.Fatalf("%s: terms %q", question, terms)
		}
		for _, term := range terms {
			if term == "" || entry.Term(term) != term {
				t.Fatalf("%s: term %q", question, term)
			}
		}
	})
}
