package rekorv1

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/services/tlog"
)

// logInfo answers with the newest head of the tree that takes entries, and with
// the last ones of those before it.
func (a *API) logInfo(w http.ResponseWriter, r *http.Request) error {
	heads, err := a.cfg.Log.Heads(r.Context())
	if err != nil {
		return err
	}
	info := logInfo{InactiveShards: []shardInfo{}}
	for _, head := range heads {
		info.InactiveShards = append(info.InactiveShards, wireShard(head))
	}
	last := len(heads) - 1
	info.shardInfo, info.InactiveShards = info.InactiveShards[last], info.InactiveShards[:last]
	return httpd.WriteJSON(w, http.StatusOK, info)
}

func wireShard(h tlog.ShardHead) shardInfo {
	return shardInfo{
		RootHash:       hex.EncodeToString(h.Root[:]),
		SignedTreeHead: h.Note,
		TreeID:         strconv.FormatInt(h.TreeID, 10),
		TreeSize:       h.Size,
	}
}

// consistency answers with a proof between two sizes. Its root hash is the
// newest one, whatever lastSize is, as upstream has it.
func (a *API) consistency(w http.ResponseWriter, r *http.Request) error {
	query, tree, err := treeQuery(r)
	if err != nil {
		return err
	}
	first, err := size(query, "firstSize", "1")
	if err != nil {
		return err
	}
	last, err := size(query, "lastSize", "")
	if err != nil {
		return err
	}
	hashes, root, err := a.cfg.Log.Consistency(r.Context(), tree, first, last)
	if err != nil {
		return err
	}
	return httpd.WriteJSON(w, http.StatusOK, consistencyProof{wireHashes(hashes), hex.EncodeToString(root[:])})
}

// size reads a tree size; without a default it is required.
func size(query url.Values, name, fallback string) (uint64, error) {
	text := query.Get(name)
	if text == "" {
		text = fallback
	}
	if text == "" {
		return 0, fault.New(fault.Invalid, name+" is missing")
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return 0, fault.New(fault.Invalid, name+" is not a tree size: a number, at least 1")
	}
	return n, nil
}

// treeQuery reads a query with an optional tree ID, 0 if there is none.
func treeQuery(r *http.Request) (query url.Values, tree int64, err error) {
	query, err = parseQuery(r)
	if err != nil || query.Get("treeID") == "" {
		return query, 0, err
	}
	id, err := strconv.ParseUint(query.Get("treeID"), 10, 63)
	if err != nil {
		return nil, 0, fault.New(fault.Invalid, "treeID is not a decimal number")
	}
	return query, int64(id), nil
}

// publicKey answers with the key of a tree, in PEM.
func (a *API) publicKey(w http.ResponseWriter, r *http.Request) error {
	_, tree, err := treeQuery(r)
	if err != nil {
		return err
	}
	spki, err := a.cfg.Log.PublicKey(tree)
	if err != nil {
		return err
	}
	if tree != 0 { // the key of a tree never changes; which tree takes entries does
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	httpd.WriteBytes(w, http.StatusOK, "application/x-pem-file", pki.PublicKeyPEM(spki))
	return nil
}
