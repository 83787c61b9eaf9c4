package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigstack/internal/config"
)

func TestReplica(t *testing.T) {
	dir := t.TempDir()
	if r, err := config.LoadReplica(dir); r != nil || err != nil {
		t.Errorf("no file: %v, %v, want neither", r, err)
	}
	want := &config.Replica{
		Name: "b", Address: "b.example:8102", PeerListen: "0.0.0.0:8102", Listen: "127.0.0.1:8002", MetricsListen: "127.0.0.1:9002",
		URLFile: "database-url", AuditChain: "0011",
	}
	data, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, config.ReplicaFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.LoadReplica(dir)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	conf := &config.Config{Listen: "x", MetricsListen: "y", Database: &config.Database{URLFile: "z", Schema: "s"}, Audit: &config.Audit{Key: "audit", Chain: "old"}}
	own := want.Apply(conf)
	if own.Listen != want.Listen || own.MetricsListen != want.MetricsListen || own.Database.URLFile != "database-url" || own.Database.Schema != "s" || own.Audit.Chain != "0011" {
		t.Errorf("with replica.yaml: %+v", own)
	}
	if conf.Listen != "x" || conf.Database.URLFile != "z" || conf.Audit.Chain != "old" {
		t.Errorf("config.yaml was changed: %+v", conf)
	}
	behind := want.Apply(&config.Config{Peers: &config.Peers{Name: "logs", Listen: "p"}})
	if behind.Peers.Listen != want.Listen {
		t.Errorf("behind a front it listens on %s, want %s", behind.Peers.Listen, want.Listen)
	}
}

func TestReplicaIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"address: h:1\n":                    "name",
		"name: b\n":                         "address",
		"name: b\naddress: nowhere\n":       "address",
		"name: b\naddress: h:1\nlisten: x":  "listen",
		"name: b\naddress: h:1\nother: x":   "other",
		"name: b\naddress: h:1\n---\nx: y":  "more than one",
		"name: b\naddress: h:1\nname: c\n":  "name",
		"- name":                            "decode",
		strings.Repeat("#", 1<<20) + "\nx:": "bytes",
	} {
		if _, err := config.ParseReplica([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want an error with %q", text, err, want)
		}
	}
}

// FuzzParseReplica: what is accepted can be written, and means the same then.
func FuzzParseReplica(f *testing.F) {
	f.Add([]byte("name: b\naddress: b.example:8102\nlisten: 127.0.0.1:0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := config.ParseReplica(data)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := config.ParseReplica(again); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%q became %q: %+v, %v, want %+v", data, again, got, err, r)
		}
	})
}
