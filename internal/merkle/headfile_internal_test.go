package merkle

import (
	"bytes"
	"math"
	"testing"
	"time"
)

// Whatever is accepted is encoded back to the same bytes, so two files never
// mean the same head.
func FuzzDecodeHead(f *testing.F) {
	for _, h := range []Head{
		{},
		{Size: 820, Root: [32]byte{1, 2, 3}, Time: time.Unix(0, 1722945600000000001).UTC()},
		{Size: math.MaxUint64, Root: [32]byte{31: 255}, Time: time.Unix(0, math.MinInt64).UTC()},
	} {
		f.Add(encodeHead(7, h))
		f.Add(headLines(headFileMagic1, 7, h))
	}
	f.Add([]byte("sigstack tree head 1\ntree +7\nsize 1\nroot 00\ntime 0\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tree, h, err := decodeHead(content)
		if err != nil {
			return
		}
		if got := encodeHead(tree, h); !bytes.Equal(got, content) && !bytes.Equal(headLines(headFileMagic1, tree, h), content) {
			t.Errorf("accepted %q, which encodes to %q", content, got)
		}
	})
}
