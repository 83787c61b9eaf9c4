package rekorv1

import "sigstack/services/tlog/entry"

// ParseIndexQuery gives tests the terms that a search of the index is for.
func ParseIndexQuery(body []byte) ([]string, error) {
	q, err := parseIndexQuery(body)
	if err != nil {
		return nil, err
	}
	return q.terms()
}

// ParseSearch gives tests what a retrieve would look up: by ID or content, and
// by index.
func ParseSearch(p entry.Parser, body []byte) (byID int, byIndex []uint64, err error) {
	q, err := parseSearch(body)
	if err != nil {
		return 0, nil, err
	}
	ids, err := (&API{cfg: Config{Parser: p}}).searchIDs(q)
	for _, index := range q.LogIndexes {
		byIndex = append(byIndex, *index)
	}
	return len(ids), byIndex, err
}
