// Package merkle is the engine under every log: Trillian's sequencer hosted
// in-process, one batcher per tree, one durable commit per batch, proofs from
// memory (RFC 6962 §2.1). What a leaf means, who signs a head and how either is
// encoded is left to the services; how rows reach the disk, to the driver.
package merkle

import "time"

// Leaf is what a service hands over to be logged. The engine keeps the slices
// until the leaf is answered, so the caller must not change them after Add.
type Leaf struct {
	Value    []byte   // hashed into the tree (RFC 6962 §2.1: SHA-256(0x00 || Value)); at least one byte
	Extra    []byte   // stored beside the value, covered by no hash; may be empty
	Identity [32]byte // two leaves of one identity are one entry; zero: the RFC 6962 leaf hash
	Rows     []Row    // committed with the leaf, or, for a duplicate, not at all
}

// Row is one row of a service's own, kept per tree. Rows of equal key replace
// one another.
type Row struct {
	Key, Value []byte
	// ByIndex puts the entry's index, which only the batcher knows, behind Key in
	// 8 bytes, big-endian. So entries share a Key, as in a search index, and
	// RowsBefore reads them in order.
	ByIndex bool
}

// IndexRow is a row of an entry under a key that entries share.
type IndexRow struct {
	Index uint64 // of the entry
	Value []byte
}

// Entry is a leaf that is durably in the tree. Times are UTC, in nanoseconds,
// and read back the same for ever.
type Entry struct {
	Leaf         Leaf      // without Rows
	Index        uint64    // 0 is the first entry
	LeafHash     [32]byte  // RFC 6962 leaf hash of Leaf.Value
	QueuedAt     time.Time // when Add was called; in a pre-ordered tree IntegratedAt
	IntegratedAt time.Time // time of the root that first included it
}

// Proof is an inclusion proof (RFC 6962 §2.1.1) of entry Index in the tree of
// Size entries and hash Root. Hashes run from the leaf up; they are empty, never
// nil, in a tree of one. Time is that of the root, zero for a size that is not
// the head's.
type Proof struct {
	Index, Size uint64
	Root        [32]byte
	Hashes      [][]byte
	Time        time.Time
}

// Head is a root of the tree: the first Size entries hash to Root.
type Head struct {
	Size uint64
	Root [32]byte
	Time time.Time // later than that of every earlier head
}

// Added answers Add. Everything in it is on disk. For a duplicate, Entry is the
// one already there and Proof a fresh one in the newest tree.
type Added struct {
	Entry     Entry
	Proof     Proof
	Duplicate bool
}
