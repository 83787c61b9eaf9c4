package stack

import (
	"context"
	"net/http"
	"slices"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/fault"
)

// CTLogDrop names a CT log that was prepared by mistake.
type CTLogDrop struct {
	Prefix string `json:"prefix"`
}

func (s *Stack) handleCTDrop(a *admin.Server) {
	a.Handle(http.MethodPost, AdminCTLogDrop, "ctlog-drop", func(ctx context.Context, r *http.Request) (any, error) {
		var order CTLogDrop
		if err := readOrder(r, &order); err != nil {
			return nil, err
		}
		return s.dropCTLog(order)
	})
}

// dropCTLog forgets a CT log that was prepared, which clients do not know and
// config.yaml does not name. Its key and its tree, which is empty, stay where they are:
// the next prepare of that prefix takes them.
func (s *Stack) dropCTLog(order CTLogDrop) (CTLogList, error) {
	if err := s.mayPublishCT(); err != nil {
		return CTLogList{}, err
	}
	if err := s.settleCT(s.repo, s.distributed(s.repo, s.opts.Now())); err != nil {
		return CTLogList{}, err
	}
	list := s.ctRecords.all()
	i := slices.IndexFunc(list, func(r ctRecord) bool { return r.Own != nil && r.Own.Prefix == order.Prefix })
	switch {
	case i < 0:
		return CTLogList{}, fault.Newf(fault.NotFound, "no CT log %q was prepared: sigstack ctlog list names those that are there", order.Prefix)
	case !list[i].Published.IsZero():
		return CTLogList{}, fault.Newf(fault.Conflict, "clients know the CT log %s, and what was published is never taken back. It takes no certificate as long as config.yaml does not name it; prepare another one with --prefix", list[i].URL)
	}
	f, err := config.ReadFile(s.layout.Config())
	if err == nil {
		err = f.Err()
	}
	if err != nil {
		return CTLogList{}, fault.Wrap(fault.Invalid, err, "nothing was dropped")
	}
	if c := f.Config.CTLog; c != nil && slices.ContainsFunc(c.Shards, func(x config.CTShard) bool { return x.Prefix == order.Prefix }) {
		return CTLogList{}, fault.Newf(fault.Conflict, "config.yaml names the CT log %s: take it out of ctlog.shards first", order.Prefix)
	}
	if err := s.ctRecords.set(slices.Delete(slices.Clone(list), i, i+1)); err != nil {
		return CTLogList{}, err
	}
	return s.ctLogList()
}
