package stack

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/trust"
)

// keyPeer is the key that each process of a split stack proves to the others.
const keyPeer = "peer"

// frontName is the process with the public listener.
const frontName = "front"

// division says which service goes to which process, those that others rely on
// first.
var division = []struct {
	name     string
	services []string
}{
	{"logs", []string{"ctlog", "tlog"}},
	{"oidc", []string{"oidc"}},
	{"ca", []string{"ca", "tsa"}},
	{frontName, []string{"tuf"}},
}

// share is what one process gets of a directory.
type share struct {
	layout   Layout
	services []string
	conf     *config.Config
	part     trust.Material
	// keys and secrets by name; files and trees below the directory.
	keys, files, trees []string
	audit              []byte // SPKI of the key of its audit record; nil: none
}

// shares divides conf. Keys of the processes, and with them pins, are added
// later.
func (p splitPlan) shares() ([]*share, error) {
	var out []*share
	for _, d := range division {
		services := slices.DeleteFunc(slices.Clone(d.services), func(s string) bool { return !p.conf.Has(s) })
		if len(services) == 0 {
			continue
		}
		sh := &share{layout: Layout{filepath.Join(p.into, d.name)}, services: services, part: partOf(p.material, services, p.conf.URL)}
		sh.conf = p.config(d.name, services)
		if d.name != frontName {
			sh.conf.Peers.Listen = p.addresses[d.name]
		}
		sh.take()
		if err := sh.takeCompromised(p.from); err != nil {
			return nil, err
		}
		if slices.Contains(services, "tlog") {
			if err := sh.takeShards(p.from); err != nil {
				return nil, err
			}
		}
		if slices.Contains(services, "ctlog") {
			if err := p.mayTakeCTLogs(); err != nil {
				return nil, err
			}
		}
		for _, of := range []Authority{CA, TSA} {
			if !slices.Contains(services, of.String()) {
				continue
			}
			if err := sh.takeChains(of, p.from); err != nil {
				return nil, err
			}
		}
		out = append(out, sh)
	}
	if len(out) < 2 || out[len(out)-1].name() != frontName {
		return nil, fmt.Errorf("directory has nothing to split: want section tuf, for the front, and another service")
	}
	return out, nil
}

func (sh *share) name() string { return sh.conf.Peers.Name }

// config is conf with the sections of one process only.
func (p splitPlan) config(name string, services []string) *config.Config {
	c := *p.conf
	c.Access, c.Limits = p.plain.Access, p.plain.Limits
	c.Peers = &config.Peers{Name: name, Key: keyPeer}
	if p.conf.CA != nil && !slices.Contains(services, "ca") {
		c.Access.IssuerSet = p.conf.CA.IssuerSet // whose tokens count, where tokens are asked for
	}
	if name == frontName {
		c.Access.IssuerSet = config.IssuerSet{}
	}
	c.CA, c.CTLog, c.TLog, c.TSA, c.OIDC, c.TUF = nil, nil, nil, nil, nil, nil
	for _, s := range services {
		switch s {
		case "ca":
			c.CA = p.conf.CA
		case "ctlog":
			c.CTLog = p.conf.CTLog
		case "tlog":
			c.TLog = p.conf.TLog
		case "tsa":
			c.TSA = p.conf.TSA
		case "oidc":
			oidc := *p.conf.OIDC
			oidc.Since = p.material.OIDCServices[0].Window.Start.UTC().Format(time.RFC3339)
			c.OIDC = &oidc
		case "tuf":
			c.TUF = p.conf.TUF
		}
	}
	if name != frontName {
		c.Listen, c.TLS, c.Access.TrustedProxies = "", nil, nil
		c.MetricsListen = "127.0.0.1:0" // the front keeps the one that was chosen
	}
	return &c
}

// introduce tells each process of those that it has to do with.
func introduce(shares []*share, pins map[string]string) {
	for _, sh := range shares {
		for _, other := range shares {
			if other == sh || !sh.calls(other) && !other.calls(sh) {
				continue
			}
			p := config.Peer{Name: other.name(), KeySHA256: pins[other.name()], Services: other.services}
			if sh.calls(other) {
				p.Address = other.conf.Peers.Listen
			}
			sh.conf.Peers.Processes = append(sh.conf.Peers.Processes, p)
		}
	}
}

// calls reports whether a process calls another.
func (sh *share) calls(other *share) bool { return slices.ContainsFunc(other.services, sh.conf.Calls) }

// partOf returns what services have of m, of a stack with that URL.
func partOf(m trust.Material, services []string, url string) trust.Material {
	part := trust.Material{Operator: m.Operator}
	for _, s := range services {
		switch s {
		case "ca":
			part.CAs, part.CAServices = m.CAs, m.CAServices
			part.CTLogs = append(part.CTLogs, ofOthers(m.CTLogs, url)...) // that it submits to
		case "ctlog":
			foreign := ofOthers(m.CTLogs, url)
			for _, l := range m.CTLogs {
				if !slices.ContainsFunc(foreign, func(f trust.Log) bool { return f.BaseURL == l.BaseURL }) {
					l.Idle = false // as the process will tell, whatever the log does now
					part.CTLogs = append(part.CTLogs, l)
				}
			}
		case "tlog":
			part.TLogs, part.TLogServices = m.TLogs, m.TLogServices
		case "tsa":
			part.TSAs, part.TSAServices = m.TSAs, m.TSAServices
		case "oidc":
			part.OIDCServices = m.OIDCServices
		}
	}
	return part
}

// ofOthers are the logs that lie elsewhere than at url.
func ofOthers(logs []trust.Log, url string) []trust.Log {
	var out []trust.Log
	for _, l := range logs {
		if !strings.HasPrefix(l.BaseURL, url+"/") {
			out = append(out, l)
		}
	}
	return out
}

// take lists what the sections of the process need of the directory, and nothing
// else: a process must not hold what it does not use.
func (sh *share) take() {
	l, c := Layout{}, sh.conf
	sh.trees = []string{l.Client()}
	if c.CA != nil {
		sh.keys, sh.files = append(sh.keys, c.CA.Key), append(sh.files, c.CA.Chain)
		for _, log := range c.CA.CTLogs {
			sh.files = append(sh.files, log.Key, log.CACert)
		}
	}
	accepted, _ := c.Accepted()
	sh.files = append(sh.files, accepted.IssuersFile)
	for _, iss := range accepted.Issuers {
		sh.files = append(sh.files, iss.CACert, iss.Keys, iss.ServiceAccountToken)
	}
	if c.TSA != nil {
		sh.keys, sh.files = append(sh.keys, c.TSA.Key), append(sh.files, c.TSA.Chain)
	}
	if c.CTLog != nil {
		for _, log := range c.CTLog.Logs() {
			sh.keys = append(sh.keys, log.Key)
		}
		sh.files = append(sh.files, c.CTLog.Roots...)
	}
	if c.TLog != nil {
		sh.keys = append(sh.keys, c.TLog.Key)
	}
	if c.Database != nil {
		sh.files = append(sh.files, c.Database.URLFile)
	}
	if c.CTLog != nil || c.TLog != nil {
		sh.trees = append(sh.trees, l.Checkpoints())
		if c.Database == nil { // what is in a database stays there
			sh.trees = append(sh.trees, l.LogDB())
		}
	}
	if c.OIDC != nil {
		sh.keys, sh.trees = append(sh.keys, c.OIDC.Secret), append(sh.trees, l.OIDCDB())
		sh.takeConnectors()
	}
	if c.TUF != nil {
		sh.keys, sh.trees = append(sh.keys, c.TUF.SnapshotKey, c.TUF.TimestampKey), append(sh.trees, l.TUF())
		sh.files = append(sh.files, l.DemoUser())
	}
	sh.takeTLS()
}

// mayTakeCTLogs refuses to divide a directory with a CT log that is not in use: in a
// split stack it never could be.
func (p splitPlan) mayTakeCTLogs() error {
	list, err := p.from.readCTLogs()
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.Used.IsZero() || p.Now().Before(r.Distributed) {
			return fmt.Errorf("CT log %s is prepared and not in use, and could not be taken into use in a split stack: go on with it first, see docs/ctlog.md", r.URL)
		}
	}
	return nil
}

// takeShards takes the keys of the log's further shards, and their list.
func (sh *share) takeShards(from Layout) error {
	shards, err := from.readShards()
	if err != nil || len(shards) == 0 {
		return err
	}
	for _, e := range shards {
		sh.keys = append(sh.keys, e.Key)
	}
	sh.files = append(sh.files, Layout{}.Shards())
	return nil
}

// takeChains takes the list of an authority's chains, and keys and files of those that
// it may still go over to.
func (sh *share) takeChains(of Authority, from Layout) error {
	list, draft, err := of.readChains(from)
	if err != nil {
		return err
	}
	if draft != nil {
		return fmt.Errorf("a chain of the %s is prepared, and could not be published in a split stack: go on with it first, with sigstack %s chain prepare or close", of.noun(), of)
	}
	for _, c := range list {
		found, err := from.hasKey(c.Key)
		if err != nil {
			return err
		}
		if c.End.IsZero() && found && !slices.Contains(sh.keys, c.Key) {
			sh.keys = append(sh.keys, c.Key)
			sh.files = append(sh.files, chainPath(c.Key))
		}
	}
	sh.files = append(sh.files, of.file(Layout{}))
	return nil
}

// hasKey reports whether a key is in keys/, or a reference to it.
func (l Layout) hasKey(name string) (bool, error) {
	for _, suffix := range []string{".key", ".ref"} {
		if found, err := exists(filepath.Join(l.Keys(), name+suffix)); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (sh *share) takeTLS() {
	t := sh.conf.TLS
	if t == nil {
		return
	}
	sh.files = append(sh.files, t.ClientCA)
	if t.InternalCA != nil {
		sh.keys, sh.files = append(sh.keys, t.InternalCA.Key), append(sh.files, t.InternalCA.Chain)
	}
	if f := t.Files; f != nil {
		sh.files = append(sh.files, f.Certificate, f.Key, f.Authorities)
	}
}

// takeConnectors takes the files of secrets, and those that settings name.
func (sh *share) takeConnectors() {
	for _, con := range sh.conf.OIDC.Connectors {
		sh.files = slices.AppendSeq(sh.files, maps.Values(con.Secrets))
		sh.takeSettings(con.Config)
	}
}

func (sh *share) takeSettings(settings map[string]any) {
	for key, value := range settings {
		switch value := value.(type) {
		case string:
			if slices.Contains(pathFields, strings.ToLower(key)) {
				sh.files = append(sh.files, value)
			}
		case []any:
			for _, item := range value {
				if name, ok := item.(string); ok && strings.EqualFold(key, "rootCAs") && !strings.Contains(name, "-----BEGIN") {
					sh.files = append(sh.files, name)
				}
			}
		case map[string]any:
			sh.takeSettings(value)
		}
	}
}
