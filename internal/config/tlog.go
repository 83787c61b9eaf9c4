package config

import (
	"slices"
	"strings"
)

// DefaultAttestationLimit is how long a stored attestation may be, in bytes.
const DefaultAttestationLimit = 100 << 10

// maxAttestationLimit is about what fits in a proposed entry.
const maxAttestationLimit = 8 << 20

// EntryKinds are the kinds of entries that TLog.Kinds may name.
var EntryKinds = []string{
	"alpine", "cose", "dsse", "hashedrekord", "helm", "intoto", "jar", "rekord", "rfc3161", "rpm", "tuf",
}

// LogOperations are the operations of the Rekor v1 API that
// TLog.DisabledOperations may name.
var LogOperations = []string{
	"createLogEntry", "getLogEntryByIndex", "getLogEntryByUUID", "getLogInfo",
	"getLogProof", "getPublicKey", "searchIndex", "searchLogQuery",
}

// StoredAttestation is how long an attestation may be that is stored, in bytes; 0:
// none is.
func (t *TLog) StoredAttestation() int {
	switch {
	case !t.Attestations:
		return 0
	case t.AttestationLimit == 0:
		return DefaultAttestationLimit
	default:
		return t.AttestationLimit
	}
}

func (t *TLog) validate(p *problems) {
	p.key("tlog.key", t.Key)
	p.check(t.TreeID > 0, "tlog.tree_id: %d is not a tree id", t.TreeID)
	p.names("tlog.kinds", "kind of entry", t.Kinds, EntryKinds)
	if len(t.Kinds) > 0 {
		for _, kind := range []string{"dsse", "hashedrekord"} {
			p.check(slices.Contains(t.Kinds, kind), "tlog.kinds: %s is missing, which every client needs to sign; switch the operation createLogEntry off to take nothing", kind)
		}
	}
	p.names("tlog.disabled_operations", "operation", t.DisabledOperations, LogOperations)
	p.check(t.AttestationLimit >= 0 && t.AttestationLimit <= maxAttestationLimit,
		"tlog.attestation_limit: %d bytes, want 1 to %d", t.AttestationLimit, maxAttestationLimit)
	p.check(t.AttestationLimit == 0 || t.Attestations, "tlog.attestation_limit: attestations are not stored: say tlog.attestations: true, too")
}

// names checks a list of names, each one of known and there once.
func (p *problems) names(field, what string, names, known []string) {
	for i, name := range names {
		switch near := nearest(name, known); {
		case slices.Contains(names[:i], name):
			p.add("%s[%d]: %s is listed twice", field, i, name)
		case slices.Contains(known, name):
		case near != "":
			p.add("%s[%d]: %q is not a known %s, did you mean %s?", field, i, name, what, near)
		default:
			p.add("%s[%d]: %q is not a known %s: want some of %s", field, i, name, what, strings.Join(known, ", "))
		}
	}
}
