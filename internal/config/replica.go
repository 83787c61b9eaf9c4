package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Replica is replica.yaml: what a replica has of its own, beside config.yaml, which is
// the same for all.
type Replica struct {
	// Name of the replica, unlike that of any other.
	Name string `yaml:"name"`
	// Address is the host:port where other replicas reach this one, over TLS with
	// pinned keys on both sides.
	Address string `yaml:"address"`
	// PeerListen is the host:port to listen on for them. Default: Address.
	PeerListen string `yaml:"peer_listen,omitempty"`
	// Listen is in place of that of config.yaml (peers.listen, behind a front).
	Listen string `yaml:"listen,omitempty"`
	// MetricsListen is in place of metrics_listen.
	MetricsListen string `yaml:"metrics_listen,omitempty"`
	// URLFile is in place of database.url_file. A relative path is below the data
	// directory.
	URLFile string `yaml:"url_file,omitempty"`
	// AuditChain is in place of audit.chain: each replica keeps a record of its own.
	AuditChain string `yaml:"audit_chain,omitempty"`
}

// ReplicaFile is the name of the file in a data directory.
const ReplicaFile = "replica.yaml"

// LoadReplica reads the file in a data directory, nil if there is none: the directory
// is not one of replicas.
func LoadReplica(dir string) (*Replica, error) {
	path := filepath.Join(dir, ReplicaFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("load replica: %w", err)
	}
	r, err := ParseReplica(data)
	if err != nil {
		return nil, fmt.Errorf("load replica: %s: %w", path, err)
	}
	return r, nil
}

// ParseReplica reads the file's content, and nothing in it that is not known.
func ParseReplica(data []byte) (*Replica, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	r := &Replica{}
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if err := dec.Decode(&Replica{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("it is more than one document")
	}
	return r, r.Check()
}

// Check returns an error unless every setting is in order.
func (r *Replica) Check() error {
	if r.Name == "" {
		return errors.New("name: missing")
	}
	for _, a := range []struct{ field, address string }{
		{"address", r.Address}, {"peer_listen", r.PeerAddress()}, {"listen", r.Listen}, {"metrics_listen", r.MetricsListen},
	} {
		if a.address == "" && a.field != "address" {
			continue
		}
		if err := CheckAddress(a.address); err != nil {
			return fmt.Errorf("%s: %w", a.field, err)
		}
	}
	return nil
}

// PeerAddress is PeerListen or its default.
func (r *Replica) PeerAddress() string {
	if r.PeerListen == "" {
		return r.Address
	}
	return r.PeerListen
}

// Marshal returns r as YAML that ParseReplica accepts.
func (r *Replica) Marshal() ([]byte, error) {
	data, err := yaml.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode replica: %w", err)
	}
	return data, nil
}

// Apply returns c as this replica runs with it.
func (r *Replica) Apply(c *Config) *Config {
	out := *c
	if r.Listen != "" {
		out.Listen = r.Listen
		if out.Behind() {
			peers := *out.Peers
			peers.Listen, out.Peers, out.Listen = r.Listen, &peers, c.Listen
		}
	}
	if r.MetricsListen != "" {
		out.MetricsListen = r.MetricsListen
	}
	if r.URLFile != "" && out.Database != nil {
		db := *out.Database
		db.URLFile = r.URLFile
		out.Database = &db
	}
	if r.AuditChain != "" && out.Audit != nil {
		audit := *out.Audit
		audit.Chain = r.AuditChain
		out.Audit = &audit
	}
	return &out
}
