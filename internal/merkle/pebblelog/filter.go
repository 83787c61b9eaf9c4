package pebblelog

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
)

// Whether a table may hold a key is asked of its filter. Of a service's rows, the
// keys begin with what they are looked for by, a letter and a digest, and end in an
// index that the search is for. So filters hold their stems, the keys without what
// is behind; of every other row, all of the key.

// stemSize is the longest stem: space, tree, kind, the letter and the digest.
const stemSize = 10 + 1 + hashSize

// stemOf is the length of a key's stem.
func stemOf(key []byte) int {
	if len(key) > stemSize && key[0] == spaceData && key[9] == kindExtra {
		return stemSize
	}
	return len(key)
}

// stems is a filter of stems.
type stems struct{ bloom.FilterPolicy }

// Name is kept in tables, so that it tells which of them have such a filter.
func (stems) Name() string { return "sigstack.stems" }

func (stems) NewWriter(kind pebble.FilterType) pebble.FilterWriter {
	return stemWriter{bloom.FilterPolicy(bloomBits).NewWriter(kind)}
}

type stemWriter struct{ pebble.FilterWriter }

func (w stemWriter) AddKey(key []byte) { w.FilterWriter.AddKey(key[:stemOf(key)]) }

// wholeKeys is the filter of tables that earlier versions wrote, which says nothing
// of stems.
type wholeKeys struct{ bloom.FilterPolicy }

func (w wholeKeys) MayContain(kind pebble.FilterType, filter, key []byte) bool {
	return len(key) == stemSize && key[9] == kindExtra || w.FilterPolicy.MayContain(kind, filter, key)
}

// blocksName is kept in tables, so that it tells which of them have blocks in which
// stem and rest of a key are apart.
const blocksName = "sigstack.stems"

// bundleSize is how many keys of a block share a beginning that is stored once; it
// is Pebble's own.
const bundleSize = 16

// useFilters makes tables be written with filters of stems, and be read whatever
// filters they have.
//
// The order of keys is that of their bytes, as ever, and so is its name, which
// Pebble wants to stay the same. Blocks are stored by the comparer's Split, so that
// those of earlier versions, which had none, are of another schema, which is read
// on.
func useFilters(po *pebble.Options) {
	order := *pebble.DefaultComparer
	order.Split = stemOf
	po.Comparer = &order
	blocks, blocksBefore := colblk.DefaultKeySchema(&order, bundleSize), colblk.DefaultKeySchema(pebble.DefaultComparer, bundleSize)
	blocks.Name = blocksName
	po.KeySchema, po.KeySchemas = blocks.Name, sstable.MakeKeySchemas(&blocks, &blocksBefore)
	filter, before := stems{bloom.FilterPolicy(bloomBits)}, wholeKeys{bloom.FilterPolicy(bloomBits)}
	po.Filters = map[string]pebble.FilterPolicy{filter.Name(): filter, before.Name(): before}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = filter
	}
}
