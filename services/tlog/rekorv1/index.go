package rekorv1

import (
	"encoding/base64"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/entry/kinds"
)

const (
	indexPath = "/api/v1/index/retrieve"
	// maxIndexBody bounds a search of the index: ten certificates and the rest.
	maxIndexBody = 128 << 10
	// maxSubject is in characters (contract: rekor-v1.md §10).
	maxSubject = 512
	// headerTruncated says that older hits may have been left out, and how many
	// the answer has. The answer itself, a bare list, has no room for it.
	headerTruncated = "X-Results-Truncated"
)

// hashPattern is what may be asked for, SHA-384 on top of upstream's: entries
// are signed over it, too.
var hashPattern = regexp.MustCompile(`^(?i:(sha1:)?[0-9a-f]{40}|(sha256:)?[0-9a-f]{64}|(sha384:)?[0-9a-f]{96}|(sha512:)?[0-9a-f]{128})$`)

// indexQuery is a question to the index. What is absent is "", as are null and
// an empty text.
type indexQuery struct {
	Email     string    `json:"email"`
	Subject   string    `json:"subject"`
	Hash      string    `json:"hash"`
	PublicKey *queryKey `json:"publicKey"`
	Operator  string    `json:"operator"`
}

type queryKey struct {
	Format  string `json:"format"`
	Content string `json:"content"` // base64 of what the format has: PEM, armor, a line of text
}

// searchIndex answers with the IDs of entries, the newest first (contract:
// rekor-v1.md §10).
func (a *API) searchIndex(w http.ResponseWriter, r *http.Request) error {
	body, err := httpd.ReadBody(r)
	if err != nil {
		return err
	}
	q, err := parseIndexQuery(body)
	if err != nil {
		return err
	}
	if may := a.cfg.MaySearchNames; may != nil && (q.Email != "" || q.Subject != "") {
		if err := may(w, r); err != nil {
			return err
		}
	}
	terms, err := q.terms()
	if err != nil {
		return err
	}
	found, err := a.cfg.Log.Search(r.Context(), terms, q.Operator == "and")
	if err != nil {
		return err
	}
	if found.More {
		w.Header().Set(headerTruncated, strconv.Itoa(len(found.IDs)))
	}
	return httpd.WriteJSON(w, http.StatusOK, found.IDs)
}

// parseIndexQuery reads a question and checks it against the schema.
func parseIndexQuery(body []byte) (indexQuery, error) {
	var q indexQuery
	if err := decodeQuery(body, &q, "index query could not be parsed"); err != nil {
		return q, err
	}
	if _, err := mail.ParseAddress("<" + q.Email + ">"); q.Email != "" && err != nil {
		return q, schemaError(codeType, "email is not an e-mail address")
	}
	if utf8.RuneCountInString(q.Subject) > maxSubject {
		return q, schemaError(codeTooLong, "subject is longer than "+strconv.Itoa(maxSubject)+" characters")
	}
	if q.Hash != "" && !hashPattern.MatchString(q.Hash) {
		return q, schemaError(codePattern, "hash is not a SHA-1, SHA-256, SHA-384 or SHA-512 in hex")
	}
	if q.Operator != "" && q.Operator != "and" && q.Operator != "or" {
		return q, schemaError(codeEnum, "operator is neither and nor or")
	}
	return q, q.PublicKey.check()
}

func (k *queryKey) check() error {
	switch {
	case k == nil:
		return nil
	case k.Format == "":
		return schemaError(codeRequired, "publicKey.format is missing")
	case !slices.Contains(kinds.Formats(), k.Format):
		return schemaError(codeEnum, "publicKey.format is none that is known")
	}
	return nil
}

// terms are the words of the question as the index spells them.
func (q indexQuery) terms() ([]string, error) {
	var terms []string
	if q.Hash != "" {
		terms = append(terms, entry.Term(withAlgorithm(q.Hash)))
	}
	if q.PublicKey != nil {
		material, err := base64.StdEncoding.DecodeString(q.PublicKey.Content)
		if err != nil {
			return nil, fault.New(fault.Invalid, "publicKey.content is not standard padded base64")
		}
		term, err := kinds.KeyTerm(q.PublicKey.Format, material)
		if err != nil {
			return nil, err
		}
		terms = append(terms, term)
	}
	for _, word := range []string{q.Email, q.Subject} {
		if word != "" {
			terms = append(terms, entry.Term(word))
		}
	}
	return terms, nil
}

// withAlgorithm puts the algorithm in front of a digest that lacks it, by the
// digest's length.
func withAlgorithm(hash string) string {
	if strings.Contains(hash, ":") {
		return hash
	}
	return map[int]string{40: "sha1:", 64: "sha256:", 96: "sha384:", 128: "sha512:"}[len(hash)] + hash
}
