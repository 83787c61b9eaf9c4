package tlogtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
)

// LeafHash is the RFC 6962 hash of a leaf.
func LeafHash(body []byte) [32]byte {
	return sha256.Sum256(append([]byte{0}, body...))
}

func nodeHash(left, right []byte) []byte {
	h := sha256.New()
	h.Write([]byte{1})
	h.Write(left)
	h.Write(right)
	return h.Sum(nil)
}

// RootOf is the RFC 6962 root over leaves, by its recursive definition.
func RootOf(leaves [][]byte) []byte {
	switch len(leaves) {
	case 0:
		empty := sha256.Sum256(nil)
		return empty[:]
	case 1:
		leaf := LeafHash(leaves[0])
		return leaf[:]
	}
	split := 1
	for split*2 < len(leaves) {
		split *= 2
	}
	return nodeHash(RootOf(leaves[:split]), RootOf(leaves[split:]))
}

// rootFromInclusion folds an inclusion proof (RFC 9162 §2.1.3.2).
func rootFromInclusion(leaf [32]byte, index, size uint64, proof [][]byte) ([]byte, error) {
	if index >= size {
		return nil, errors.New("index is not in the tree")
	}
	fn, sn, r := index, size-1, leaf[:]
	for _, p := range proof {
		if sn == 0 {
			return nil, errors.New("inclusion proof is too long")
		}
		if fn&1 == 1 || fn == sn {
			r = nodeHash(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = nodeHash(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return nil, errors.New("inclusion proof is too short")
	}
	return r, nil
}

// CheckConsistency verifies a consistency proof between two roots
// (RFC 9162 §2.1.4.2).
func CheckConsistency(first, second uint64, firstRoot, secondRoot []byte, proof [][]byte) error {
	if first == 0 || first > second {
		return errors.New("sizes are not in order")
	}
	if first == second {
		if len(proof) != 0 || !bytes.Equal(firstRoot, secondRoot) {
			return errors.New("equal sizes with a proof or other roots")
		}
		return nil
	}
	if first&(first-1) == 0 {
		proof = append([][]byte{firstRoot}, proof...)
	}
	if len(proof) == 0 {
		return errors.New("consistency proof is empty")
	}
	fn, sn := first-1, second-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := proof[0], proof[0]
	for _, c := range proof[1:] {
		if sn == 0 {
			return errors.New("consistency proof is too long")
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = nodeHash(c, fr), nodeHash(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = nodeHash(sr, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || !bytes.Equal(fr, firstRoot) || !bytes.Equal(sr, secondRoot) {
		return errors.New("consistency proof does not lead to both roots")
	}
	return nil
}
