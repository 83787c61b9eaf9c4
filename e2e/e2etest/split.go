package e2etest

import (
	"net/http"
	"path/filepath"
	"slices"
)

// Split tells whether stacks run in several processes.
func Split() bool { return currentMode() == split }

// ServiceDir is the directory of the process that a service runs in: where its
// configuration, its keys and its databases are.
func (s *Stack) ServiceDir(service string) string {
	if !Split() {
		return s.Dir
	}
	process := map[string]string{"ca": "ca", "tsa": "ca", "ctlog": "logs", "tlog": "logs", "oidc": "oidc", "tuf": "front"}[service]
	if process == "" {
		s.t.Fatalf("there is no service %q", service)
	}
	return filepath.Join(s.Dir, "processes", process)
}

// ServiceDirs are the directories of all processes that a service runs in: of each
// replica.
func (s *Stack) ServiceDirs(service string) []string {
	if OnReplicas() {
		return s.replicaDirs()
	}
	return []string{s.ServiceDir(service)}
}

// ProcessDirs are the directories of all processes, as ServiceDirs gives them.
func (s *Stack) ProcessDirs() (dirs []string) {
	if OnReplicas() {
		return s.replicaDirs()
	}
	for _, service := range []string{"tuf", "ca", "tlog", "oidc"} {
		if dir := s.ServiceDir(service); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Dying tells whether a status may come from a stack that is being killed: of
// several processes one goes on for a moment without the others.
func Dying(status int) bool {
	return (Split() || OnReplicas()) && status == http.StatusServiceUnavailable
}
