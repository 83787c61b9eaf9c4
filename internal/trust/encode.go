package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// raw renders one message as protobuf-JSON. protojson adds a random space to its
// output so that nobody relies on its bytes; indent removes it again.
func raw(m proto.Message) (json.RawMessage, error) {
	data, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return data, nil
}

// rawList renders messages as the elements of an array that is present even when
// empty: some clients demand the member (contract trust-material §1).
func rawList[M proto.Message](ms []M) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, 0, len(ms))
	for _, m := range ms {
		data, err := raw(m)
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

// indent renders doc, a struct of raw messages, with two spaces and a final
// newline. The same doc always gives the same bytes.
func indent(doc any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	return b.Bytes(), nil
}

// timeRange widens the window to whole seconds: not every client parses
// fractions, and a window must not shrink.
func timeRange(w Window) *commonpb.TimeRange {
	r := &commonpb.TimeRange{Start: timestamppb.New(w.Start.Truncate(time.Second))}
	if !w.End.IsZero() {
		end := w.End.Truncate(time.Second)
		if end.Before(w.End) {
			end = end.Add(time.Second)
		}
		r.End = timestamppb.New(end)
	}
	return r
}

// window is the reverse of timeRange.
func window(r *commonpb.TimeRange) (Window, error) {
	if err := r.GetStart().CheckValid(); err != nil {
		return Window{}, fmt.Errorf("window start: %w", err)
	}
	w := Window{Start: r.GetStart().AsTime()}
	if r.GetEnd() == nil {
		return w, nil
	}
	if err := r.GetEnd().CheckValid(); err != nil {
		return Window{}, fmt.Errorf("window end: %w", err)
	}
	w.End = r.GetEnd().AsTime()
	return w, nil
}
