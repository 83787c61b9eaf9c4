package config_test

import (
	"strings"
	"testing"

	"sigstack/internal/config"
)

const (
	pinA = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"

	processCA = `version: 1
profile: serve
url: https://sigstack.corp.example
access: {write: {ca: mtls}}
audit: {key: audit}
peers:
  name: ca
  key: peer
  listen: 10.0.0.1:8443
  processes:
    - {name: front, key_sha256: ` + pinA + `, services: [tuf]}
    - {name: logs, key_sha256: ` + pinA + `, address: "logs:8443", services: [ctlog, tlog]}
    - {name: oidc, key_sha256: ` + pinA + `, address: "oidc:8443", services: [oidc]}
ca:
  key: ca
  chain: keys/ca.chain.pem
  issuers:
    - {url: https://sigstack.corp.example/dex, type: email}
`
	processFront = `version: 1
profile: serve
url: https://sigstack.corp.example
listen: 10.0.0.1:443
tls: {files: {certificate: /tls.crt, key: /tls.key}}
peers:
  name: front
  key: peer
  processes:
    - {name: ca, key_sha256: ` + pinA + `, address: "ca:8443", services: [ca, tsa]}
tuf: {snapshot_key: tuf-snapshot, timestamp_key: tuf-timestamp}
`
	processLogs = `version: 1
profile: serve
url: https://sigstack.corp.example
peers:
  name: logs
  key: peer
  listen: 10.0.0.1:8443
  processes:
    - {name: front, key_sha256: ` + pinA + `, services: [tuf]}
    - {name: ca, key_sha256: ` + pinA + `, services: [ca]}
ctlog: {key: ctlog, tree_id: 1}
tlog: {key: rekor, tree_id: 2}
`
)

func TestProcesses(t *testing.T) {
	for _, tt := range []struct {
		name, text    string
		front, behind bool
		calls         string
	}{
		{"ca", processCA, false, true, "ctlog oidc tlog"},
		{"front", processFront, true, false, "ca ctlog tlog tsa oidc"},
		{"logs", processLogs, false, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if c.Front() != tt.front || c.Behind() != tt.behind {
				t.Errorf("front %v, behind %v, want %v, %v", c.Front(), c.Behind(), tt.front, tt.behind)
			}
			for _, s := range config.Services {
				if want := strings.Contains(" "+tt.calls+" ", " "+s+" "); c.Calls(s) != want {
					t.Errorf("calls %s: %v, want %v", s, c.Calls(s), want)
				}
			}
			data, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := config.Parse(data); err != nil {
				t.Errorf("its own output is refused: %v\n%s", err, data)
			}
		})
	}
	c, err := config.Parse([]byte(processCA))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := c.With("tlog"); !ok || p.Name != "logs" {
		t.Errorf("tlog is with %+v, %v", p, ok)
	}
	if p, ok := c.With("tsa"); ok {
		t.Errorf("tsa is with %+v", p)
	}
}

func TestProcessesThatDoNotFit(t *testing.T) {
	for _, tt := range []struct{ name, text, from, to, want string }{
		{"name", processCA, "name: ca", "name: CA", "peers.name"},
		{"key", processCA, "key: peer", "key: /peer", "peers.key"},
		{"listen", processCA, "listen: 10.0.0.1:8443", "listen: here", "peers.listen"},
		{"public listener behind a front", processCA, "profile: serve", "profile: serve\nlisten: 127.0.0.1:1", "listen: a process behind another one"},
		{"front without tuf", processFront, "tuf: {snapshot_key: tuf-snapshot, timestamp_key: tuf-timestamp}", "oidc: {secret: oidc}", "needs the tuf section"},
		{"tuf behind a front", processCA, "ca:\n  key", "tuf: {snapshot_key: a, timestamp_key: b}\nca:\n  key", "tuf: the process with it is the front"},
		{"TLS behind a front", processCA, "access:", "tls: {files: {certificate: /a, key: /b}}\naccess:", "tls: the public listener is the front's"},
		{"two of one name", processCA, "name: oidc", "name: logs", `peers.processes[2].name: "logs" is taken`},
		{"its own name", processCA, "name: oidc", "name: ca", `peers.processes[2].name: "ca" is taken`},
		{"pin", processCA, "front, key_sha256: " + pinA, "front, key_sha256: abc", "peers.processes[0].key_sha256"},
		{"address", processCA, `"oidc:8443"`, "oidc", "peers.processes[2].address"},
		{"no address of what it calls", processCA, `address: "logs:8443", `, "", "peers.processes[1].address: missing"},
		{"unknown service", processCA, "services: [tuf]", "services: [tof]", `"tof", want some of`},
		{"no services", processCA, "services: [tuf]", "services: []", "peers.processes[0].services: none"},
		{"a service of its own elsewhere", processCA, "services: [oidc]", "services: [oidc, ca]", "ca runs in this process"},
		{"a service twice", processCA, "services: [oidc]", "services: [oidc, tlog]", "tlog runs in process logs"},
		{"a CA without a CT log anywhere", processCA, "services: [ctlog, tlog]", "services: [tlog]", "ca: needs the ctlog section, or a peer with it"},
		{"a CT log without a CA anywhere", processLogs, "services: [ca]", "services: [tsa]", "ctlog: needs the ca section, or a peer with it"},
		{"plain http to the own issuer is no matter", processCA, "type: email}", "type: email, ca_cert: x.pem}", "the built-in issuer is asked within the stack"},
		{"test stack outside", strings.Replace(processLogs, "profile: serve", "profile: up", 1), "name: logs", "name: logs", "peers.listen: \"10.0.0.1:8443\" is not a loopback address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(tt.text, tt.from, tt.to, 1)
			if _, err := config.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
