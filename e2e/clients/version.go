package clients

import (
	"debug/buildinfo"
	"testing"
)

// ModuleVersion is the version of the module that a Go program was built from,
// as the program itself records it.
func ModuleVersion(t *testing.T, program string) string {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return info.Main.Version
}
