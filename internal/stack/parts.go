package stack

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"sigstack/internal/httpd"
	"sigstack/internal/trust"
)

// partPath is where a process tells the front its public half.
const partPath = "/peer/v1/trust"

// issuersPath is where the process with the CA tells the front which issuers are
// locally backed, as trust.Issuers: the front hands out the kit.
const issuersPath = "/peer/v1/issuers"

// PeerAudit is the file with the key of a process's audit record.
func (l Layout) PeerAudit(process string) string {
	return filepath.Join(l.Dir, "peers", process+".audit.pub")
}

// othersAuditKeys are those of the records of other processes, and of the record
// before the split, which the kit has too.
func (s *Stack) othersAuditKeys() ([][]byte, error) {
	if !s.conf.Front() {
		return nil, nil
	}
	files, err := os.ReadDir(filepath.Dir(s.layout.PeerAudit("")))
	if err != nil {
		return nil, fmt.Errorf("find audit keys: %w", err)
	}
	var out [][]byte
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".audit.pub") {
			continue
		}
		path := filepath.Join(filepath.Dir(s.layout.PeerAudit("")), f.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read audit key: %w", err)
		}
		block, _ := pem.Decode(data)
		if block == nil || block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("read audit key %s: it is not a public key in PEM", path)
		}
		if !bytes.Equal(block.Bytes, s.auditKey) {
			out = append(out, block.Bytes)
		}
	}
	return out, nil
}

// Peer is the file with the published public half of a process.
func (l Layout) Peer(process string) string {
	return filepath.Join(l.Dir, "peers", process+".json")
}

// readPart reads the published public half of a process.
func (s *Stack) readPart(process string) error {
	data, err := os.ReadFile(s.layout.Peer(process))
	if err != nil {
		return fmt.Errorf("read public half of process %s: %w", process, err)
	}
	part, err := trust.ParsePart(data)
	if err != nil {
		return fmt.Errorf("read public half of process %s: %w", process, err)
	}
	if part.Operator != s.conf.OperatorName() {
		return fmt.Errorf("public half of process %s is that of another operator, %s: copy the file of this stack", process, part.Operator)
	}
	s.peers.parts[process] = part
	return nil
}

// othersMaterial is what the other processes have, as published.
func (s *Stack) othersMaterial() []trust.Material {
	var out []trust.Material
	for _, p := range s.conf.Peers.Processes {
		if part, ok := s.peers.parts[p.Name]; ok {
			out = append(out, part)
		}
	}
	return out
}

// checkPart refuses to serve with keys that are not the published ones, and tells
// the front what there is.
func (s *Stack) checkPart() error {
	if !s.conf.Behind() {
		return nil
	}
	live, err := s.material().EncodePart()
	if err != nil {
		return err
	}
	published, err := s.peers.parts[s.conf.Peers.Name].EncodePart()
	if err != nil {
		return err
	}
	if !bytes.Equal(live, published) {
		known, err := s.layout.partCTLogs(s.conf.Peers.Name)
		if err != nil {
			return err
		}
		if err := s.refuseCT(known); err != nil {
			return err
		}
		return fmt.Errorf("keys and chains of this process are not those of %s, which clients trust: they were changed, or come from another directory",
			s.layout.Peer(s.conf.Peers.Name))
	}
	g := s.mux.Group("peer", httpd.RESTErrors).As(httpd.Public) // among the pinned peers
	g.Handle(http.MethodGet, partPath, 0, func(w http.ResponseWriter, _ *http.Request) error {
		httpd.WriteBytes(w, http.StatusOK, "application/json", live)
		return nil
	})
	if s.services.ca == nil {
		return nil
	}
	g.Handle(http.MethodGet, issuersPath, 0, func(w http.ResponseWriter, _ *http.Request) error {
		marks, err := trust.Issuers{LocallyBacked: locallyBacked(s.services.ca.Issuers())}.Encode()
		if err != nil {
			return err
		}
		httpd.WriteBytes(w, http.StatusOK, "application/json", marks)
		return nil
	})
	return nil
}
