package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Registries have no conditional writes, so two signers of one image can each
// read a tag and then overwrite what the other added. A write is therefore looked
// at twice: at once, and after longer than others should take from their read to
// their write. If it is gone it is made again on top of what is there. Who is
// slower than that can still lose it: nothing a client does can rule that out.
const (
	writeAttempts = 20
	settleTime    = 150 * time.Millisecond // from the first look to the second, at least
	longestSettle = 10 * time.Second
	longestPause  = 300 * time.Millisecond // between two attempts
)

// errChanged says that somebody else wrote a tag at the same time.
var errChanged = errors.New("it was changed by somebody else meanwhile")

// write is one that others can undo without noticing. Both make and look return errChanged
// for a write that was or would be lost.
type write struct {
	make func(context.Context) error
	look func(context.Context) (forGood bool, err error)
	told func(error) error // says of an error what was written
}

// untilKept writes until two looks have found the write in place, or one that says
// it is for good. Where looks are put off, it writes once, and Settle does the rest.
func (r *Registry) untilKept(ctx context.Context, w write) error {
	var err error
	for range writeAttempts {
		start := r.now()
		if err = w.make(ctx); err == nil {
			// Others are as slow as we were; what they do between reading and
			// writing is less than all of a write.
			after := max(settleTime, min(2*r.now().Sub(start), longestSettle))
			if r.later != nil {
				return r.putOff(ctx, pending{w, r.now().Add(after)})
			}
			err = lookTwice(ctx, w.look, after)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, errChanged) && !crossed(err) {
			return w.told(err)
		}
		if err := sleep(ctx, jitter(longestPause)); err != nil {
			return err
		}
	}
	return w.told(fmt.Errorf("%w, each of %d times; sign again when they are done", err, writeAttempts))
}

func lookTwice(ctx context.Context, look func(context.Context) (bool, error), after time.Duration) error {
	if forGood, err := look(ctx); err != nil || forGood {
		return err
	}
	if err := sleep(ctx, after); err != nil {
		return err
	}
	_, err := look(ctx)
	return err
}

// crossed reports whether a registry stumbled over two uploads of the same blob
// at the same time: the one that came second may be told that the blob, which it
// was told is there, is not there yet.
func crossed(err error) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && slices.ContainsFunc(answered.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.ManifestBlobUnknownErrorCode || d.Code == transport.BlobUnknownErrorCode ||
			d.Code == transport.BlobUploadUnknownErrorCode
	})
}
