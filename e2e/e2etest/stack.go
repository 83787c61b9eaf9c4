// Package e2etest starts the built program and the clients that other projects
// ship, as the whole-stack tests of e2e need them: processes, ports and files.
package e2etest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// DemoUser is the account that `sigstack up` makes.
const DemoUser = "demo@sigstack.local"

// ReadyWithin bounds the wait for a stack to start or to end. A busy machine is
// slow; nothing is asserted on speed.
const ReadyWithin = 60 * time.Second

// Stack is one running `sigstack up`, or what the mode of the run makes of it.
type Stack struct {
	URL string
	Dir string // data directory; of replicas that of the one that was started first

	t         *testing.T
	other     string // directory of the replica that does not lead, once they have changed places
	processes []*process
	balancers []*balancer // each before replicas; none: there are no replicas

	inspected sync.Once
}

// Start runs `sigstack up` on dir, on a free port if dir is new and args name
// none, in the mode of the run, and waits until it is ready. It is stopped with
// the test, which fails if it told a secret.
func Start(t *testing.T, dir string, args ...string) *Stack {
	t.Helper()
	s, err := TryStart(t, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TryStart is Start for a stack that may not come up.
func TryStart(t *testing.T, dir string, args ...string) (*Stack, error) {
	t.Helper()
	return variant{path: Sigstack(t)}.start(t, dir, args)
}

// StartProgram is Start with another build of sigstack, and more in its environment.
func StartProgram(t *testing.T, path string, env []string, dir string, args ...string) *Stack {
	t.Helper()
	s, err := variant{path: path, env: env}.start(t, dir, args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (g variant) start(t *testing.T, dir string, args []string) (*Stack, error) {
	t.Helper()
	_, err := os.Stat(filepath.Join(dir, "config.yaml"))
	fresh := err != nil
	if fresh {
		args = listening(t, args)
	}
	if OnReplicas() {
		return g.startReplicas(t, dir, fresh, args)
	}
	p, url, err := g.launch(t, dir, append(args, currentMode().upArgs(fresh)...)...)
	if err != nil {
		return nil, err
	}
	s := &Stack{t: t, Dir: dir, URL: url, processes: []*process{p}}
	t.Cleanup(s.Stop)
	return s, adopt(dir)
}

// PID is that of the process; of replicas that of the one that was started first.
func (s *Stack) PID() int { return s.processes[0].cmd.Process.Pid }

// listening gives a new stack a port that is still free when it is started again.
func listening(t *testing.T, args []string) []string {
	t.Helper()
	const flag, anyPort = "--listen", "127.0.0.1:0"
	if i := slices.Index(args, flag); i >= 0 {
		if args[i+1] != anyPort {
			return args
		}
		args = slices.Delete(slices.Clone(args), i, i+2)
	} else if strings.Contains(strings.Join(args, " "), flag+"=") {
		return args
	}
	return append(args, flag, FreeAddress(t))
}

// Logged is what each process has logged, in the order in which they were started; the
// one that FailOver killed is left out. They have to have ended.
func (s *Stack) Logged() (all []string) {
	for _, p := range s.processes {
		if p != nil {
			all = append(all, p.logs.String())
		}
	}
	return all
}

// Stop ends the stack as an operator would.
func (s *Stack) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the stack as a crash would.
func (s *Stack) Kill() { s.end(syscall.SIGKILL) }

func (s *Stack) end(sig syscall.Signal) {
	s.endAll(sig)
	if s.URL != "" { // else it may not have come so far
		s.inspected.Do(func() { WantNoLeakInAudit(s.t, s.Dir) })
	}
}

// Kit is the path of a file in the client kit; of the kit itself for "".
func (s *Stack) Kit(name string) string { return filepath.Join(s.Dir, "client", name) }

// Issuer is the URL of the built-in OIDC issuer.
func (s *Stack) Issuer() string { return s.URL + "/dex" }

// Token gets an identity token of the demo user.
func (s *Stack) Token(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(MustRun(t, nil, Sigstack(t), "token", "--dir", s.Dir))
}

// TokenEnv is Token as the environment variable that cosign and sigstack read.
func (s *Stack) TokenEnv(t *testing.T) string {
	t.Helper()
	return "SIGSTORE_ID_TOKEN=" + s.Token(t)
}

// IdentityArgs demand the demo user's signature, of cosign and of sigstack.
func (s *Stack) IdentityArgs() []string {
	return []string{"--certificate-identity", DemoUser, "--certificate-oidc-issuer", s.Issuer()}
}

// SignWithCosign signs blob with nothing but the kit's two files.
func (s *Stack) SignWithCosign(t *testing.T, blob, bundle string) {
	t.Helper()
	s.SignWithCosignAs(t, s.Token(t), blob, bundle)
}

// SignWithCosignAs is SignWithCosign with an identity token of anybody's.
func (s *Stack) SignWithCosignAs(t *testing.T, token, blob, bundle string) {
	t.Helper()
	MustRun(t, []string{"SIGSTORE_ID_TOKEN=" + token}, Client(t, "cosign-v3"), "sign-blob", "--yes",
		"--signing-config", s.Kit("signing_config.v0.2.json"), "--trusted-root", s.Kit("trusted_root.json"),
		"--bundle", bundle, blob)
}

// VerifyWithCosign verifies blob with nothing but the kit's trusted root; by
// default it demands the demo user's signature.
func (s *Stack) VerifyWithCosign(t *testing.T, blob, bundle string, identity ...string) Result {
	t.Helper()
	if len(identity) == 0 {
		identity = s.IdentityArgs()
	}
	args := append([]string{"verify-blob", "--trusted-root", s.Kit("trusted_root.json"), "--bundle", bundle}, identity...)
	return Run(t, nil, Client(t, "cosign-v3"), append(args, blob)...)
}

// Verify is sigstack's own verdict; by default on the demo user's signature.
func (s *Stack) Verify(t *testing.T, blob, bundle string, identity ...string) Result {
	t.Helper()
	if len(identity) == 0 {
		identity = s.IdentityArgs()
	}
	args := append([]string{"verify", "--client", s.Kit(""), "--bundle", bundle}, identity...)
	return Run(t, nil, Sigstack(t), append(args, blob)...)
}
