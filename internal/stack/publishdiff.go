package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"sigstack/internal/admin"
	"sigstack/internal/fault"
	"sigstack/internal/trust"
)

// AdminTUFDiff is the path of the question what a publication would change now; with
// the query check=live the services are asked, too, and with kit=DIR the answer has the
// client kit as it would be, for that directory.
const AdminTUFDiff = "/v1/tuf/diff" // GET: TUFDiff

// TUFDiff is what a publication now would change for clients, and what would refuse
// it.
type TUFDiff struct {
	Changes []string     `json:"changes"` // sentences; none: nothing
	Failed  []trust.Flaw `json:"failed_checks"`
	Live    bool         `json:"live"` // the services were asked
	// Kit and Targets are the files that clients would get, if they were asked for.
	Kit     []trust.File   `json:"kit,omitempty"`
	Targets []trust.Target `json:"targets,omitempty"`
}

func (s *Stack) handleDiffActs(a *admin.Server) {
	a.Handle(http.MethodGet, AdminTUFDiff, "", func(ctx context.Context, r *http.Request) (any, error) {
		return s.tufDiff(ctx, r.URL.Query().Get("check") == "live", r.URL.Query().Get("kit"))
	})
}

// tufDiff compares what is published with what the services and waiting drafts say.
// It changes nothing, and signs nothing but a timestamp. home, unless it is empty, is
// where the kit is to lie.
func (s *Stack) tufDiff(ctx context.Context, live bool, home string) (TUFDiff, error) {
	if s.repo == nil {
		return TUFDiff{}, fault.New(fault.Conflict, "this directory publishes nothing: name the one with section tuf, or let it have its first root")
	}
	published, err := s.publishedTargets()
	if err != nil {
		return TUFDiff{}, err
	}
	m, err := s.nextMaterial(ctx)
	if err != nil {
		return TUFDiff{}, err
	}
	targets, err := m.Targets(s.opts.Now())
	if err != nil {
		return TUFDiff{}, fault.Wrap(fault.Conflict, err, "nothing could be published")
	}
	d := TUFDiff{Changes: append([]string{}, trust.Differences(published, targets)...), Failed: []trust.Flaw{}, Live: live}
	if live {
		d.Failed = append(d.Failed, s.flaws(ctx, targets, Publication{}, false)...)
	} else {
		d.Failed = append(d.Failed, trust.CheckFiles(published, targets, s.opts.Now())...)
	}
	if home != "" {
		err = d.addFiles(s, m, targets, home)
	}
	return d, err
}

// addFiles adds the files of a publication, so that any client can be tried with them
// before they are out.
func (d *TUFDiff) addFiles(s *Stack, m trust.Material, targets []trust.Target, home string) error {
	kit, err := s.kitOf(m, s.repo)
	if err != nil {
		return err
	}
	d.Targets = targets
	d.Kit, err = kit.Files(home)
	return err
}

// nextMaterial is the material as it would be with every draft that waits.
func (s *Stack) nextMaterial(ctx context.Context) (trust.Material, error) {
	m := s.material()
	if e, key, ok := s.shards.behind(); ok && e.Published.IsZero() {
		m.TLogs = append(m.TLogs, s.services.tlog.TrustIn(key))
	}
	for _, a := range s.both() {
		if _, draft := a.chains.all(); draft != nil {
			*a.of.in(&m) = a.authorities(draft)
		}
	}
	if s.mayPublishCT() != nil {
		return m, nil // another process has them, or nobody
	}
	wanted, err := s.unpublishedCT(ctx)
	for _, r := range wanted {
		if !knowsCT(m.CTLogs, r.Key) {
			m.CTLogs = append(m.CTLogs, r.trust())
		}
	}
	return m, err
}

// publishedTargets are those that clients see now; none before the first.
func (s *Stack) publishedTargets() ([]trust.Target, error) {
	if s.repo == nil {
		return nil, nil
	}
	var version int64
	for _, r := range s.repo.Status() {
		if r.Role == "targets" {
			version = r.Version
		}
	}
	metadata, err := os.ReadFile(filepath.Join(s.repo.Dir(), strconv.FormatInt(version, 10)+".targets.json"))
	if err != nil {
		return nil, fmt.Errorf("read what is published: %w", err)
	}
	var doc struct {
		Signed struct {
			Targets map[string]struct {
				Custom json.RawMessage `json:"custom"`
			} `json:"targets"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(metadata, &doc); err != nil {
		return nil, fmt.Errorf("read what is published: %w", err)
	}
	var out []trust.Target
	for _, name := range slices.Sorted(maps.Keys(doc.Signed.Targets)) {
		data, err := s.repo.Target(name)
		if err != nil {
			return nil, err
		}
		out = append(out, trust.Target{Name: name, Data: data, Custom: doc.Signed.Targets[name].Custom})
	}
	return out, nil
}
