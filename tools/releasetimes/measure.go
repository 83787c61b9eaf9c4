package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sigstack/tools/load/usage"
)

const user = "demo@sigstack.local"

// measurement is what is measured, and against which stack.
type measurement struct {
	bin, cosign, stack, url, registry, work string
	files, images, rounds, large            int
	stackPID, registryPID                   int // 0: its CPU time is not told
	out                                     io.Writer
}

// cost is what one command, or several, took.
type cost struct {
	wall, cpu       time.Duration
	stack, registry time.Duration // CPU of the servers meanwhile
	memory          int64         // bytes, the most that were resident
}

// round is one tree, signed in both ways.
type round struct {
	sign, verify, loop cost
	signed             int // files that the loop signed
}

func (m *measurement) run(ctx context.Context) error {
	if err := m.check(); err != nil {
		return err
	}
	rounds := make([]round, m.rounds)
	for i := range rounds {
		var err error
		if rounds[i], err = m.round(ctx, i); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		r := rounds[i]
		err = m.say("# round %d: sign %v, verify %v, loop of %d %v\n", i+1, r.sign.wall, r.verify.wall, r.signed, r.loop.wall)
		if err != nil {
			return err
		}
	}
	if err := m.print(rounds); err != nil || m.large == 0 {
		return err
	}
	return m.printMemory(ctx)
}

// round signs and verifies a tree of its own, and has cosign sign the same files.
func (m *measurement) round(ctx context.Context, i int) (r round, err error) {
	dir := filepath.Join(m.work, fmt.Sprintf("round%d", i))
	if err := m.sample(ctx, dir, i, m.files, m.images); err != nil {
		return r, err
	}
	if r.sign, r.verify, err = m.release(ctx, dir); err != nil {
		return r, err
	}
	r.loop, err = m.served(func() (c cost, err error) {
		c, r.signed, err = m.loop(ctx, dir)
		return c, err
	})
	return r, err
}

// sample makes a tree, and its images if there are some.
func (m *measurement) sample(ctx context.Context, dir string, seed, files, images int, more ...string) error {
	args := []string{"release", "sample", dir, "--version", "v1.0.0", "--files", fmt.Sprint(files), "--seed", fmt.Sprint(seed + 1)}
	if images > 0 {
		args = append(args, "--images", fmt.Sprint(images), "--registry", fmt.Sprintf("%s/seed%d", m.registry, seed))
	}
	_, err := command(ctx, m.bin, append(args, more...)...)
	return err
}

// release is what the two commands take that sign and verify a tree.
func (m *measurement) release(ctx context.Context, dir string) (sign, verify cost, err error) {
	token, err := m.token(ctx)
	if err != nil {
		return sign, verify, err
	}
	kit := filepath.Join(m.stack, "client")
	sign, err = m.served(func() (cost, error) {
		return command(ctx, m.bin, "release", "sign", dir, "--client", kit, "--identity-token", token)
	})
	if err != nil {
		return sign, verify, err
	}
	verify, err = m.served(func() (cost, error) {
		return command(ctx, m.bin, "release", "verify", dir, "--client", kit,
			"--certificate-identity", user, "--certificate-oidc-issuer", m.url+"/dex")
	})
	return sign, verify, err
}

// served adds to the cost of do what the servers used meanwhile.
func (m *measurement) served(do func() (cost, error)) (c cost, err error) {
	watch := func(pid int) (used func() (time.Duration, error), err error) {
		if pid == 0 {
			return func() (time.Duration, error) { return 0, nil }, nil
		}
		p, err := usage.Watch(pid)
		if err != nil {
			return nil, err
		}
		return p.Used, nil
	}
	stack, err := watch(m.stackPID)
	if err != nil {
		return c, err
	}
	registry, err := watch(m.registryPID)
	if err != nil {
		return c, err
	}
	if c, err = do(); err != nil {
		return c, err
	}
	if c.stack, err = stack(); err != nil {
		return c, err
	}
	c.registry, err = registry()
	return c, err
}

// token writes an identity token to a file.
func (m *measurement) token(ctx context.Context) (path string, err error) {
	var stdout bytes.Buffer
	cmd := exec.CommandContext(ctx, m.bin, "token", "--dir", m.stack)
	cmd.Stdout = &stdout
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("get a token: %w", err)
	}
	path = filepath.Join(m.work, "token")
	return path, os.WriteFile(path, bytes.TrimSpace(stdout.Bytes()), 0o600) // cosign takes no newline
}

// loop has cosign sign each file that the release has a bundle of, one after the other.
func (m *measurement) loop(ctx context.Context, dir string) (total cost, signed int, err error) {
	token, err := m.token(ctx)
	if err != nil {
		return total, 0, err
	}
	kit := filepath.Join(m.stack, "client")
	var files []string
	err = filepath.WalkDir(filepath.Join(dir, "release", "v1.0.0"), func(path string, _ fs.DirEntry, err error) error {
		if file, ok := strings.CutSuffix(path, ".sigstore.json"); ok {
			files = append(files, file)
		}
		return err
	})
	for _, file := range files {
		if err != nil {
			return total, signed, err
		}
		var c cost
		c, err = command(ctx, m.cosign, "sign-blob", "--yes", "--identity-token", token, "--bundle", file+".loop",
			"--trusted-root", filepath.Join(kit, "trusted_root.json"), "--signing-config", filepath.Join(kit, "signing_config.v0.2.json"), file)
		total, signed = total.and(c), signed+1
	}
	return total, signed, err
}

// command runs one, and tells what it took. An error quotes what it said.
func command(ctx context.Context, name string, args ...string) (cost, error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	err := cmd.Run()
	c := cost{wall: time.Since(start)}
	if err != nil {
		return c, fmt.Errorf("%s %s: %w\n%s", name, args[0], err, said.Bytes())
	}
	used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return c, fmt.Errorf("this system does not tell what %s used", name)
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.memory = used.Maxrss << 10
	return c, nil
}

// and is what two took that ran one after the other.
func (c cost) and(d cost) cost {
	return cost{
		wall: c.wall + d.wall, cpu: c.cpu + d.cpu, stack: c.stack + d.stack, registry: c.registry + d.registry,
		memory: max(c.memory, d.memory),
	}
}

func (m *measurement) say(format string, args ...any) error {
	_, err := fmt.Fprintf(m.out, format, args...)
	return err
}

// print writes the table of all rounds.
func (m *measurement) print(rounds []round) error {
	err := m.say("\n%d files, %d images, %d rounds: median (lowest to highest)\n", m.files, m.images, len(rounds))
	rows := []struct {
		name string
		of   func(round) float64
		unit string
	}{
		{"release sign", func(r round) float64 { return r.sign.wall.Seconds() }, "s"},
		{"release verify", func(r round) float64 { return r.verify.wall.Seconds() }, "s"},
		{"cosign sign-blob, in a loop", func(r round) float64 { return r.loop.wall.Seconds() }, "s"},
		{"loop / (sign + verify)", func(r round) float64 { return r.loop.wall.Seconds() / (r.sign.wall + r.verify.wall).Seconds() }, "times"},
		{"release sign, CPU of the command", func(r round) float64 { return r.sign.cpu.Seconds() }, "s"},
		{"release sign, CPU of the stack", func(r round) float64 { return r.sign.stack.Seconds() }, "s"},
		{"release sign, CPU of the registry", func(r round) float64 { return r.sign.registry.Seconds() }, "s"},
		{"release verify, CPU of the command", func(r round) float64 { return r.verify.cpu.Seconds() }, "s"},
		{"release verify, CPU of the registry", func(r round) float64 { return r.verify.registry.Seconds() }, "s"},
		{"cosign sign-blob, CPU of the loop", func(r round) float64 { return r.loop.cpu.Seconds() }, "s"},
		{"cosign sign-blob, CPU of the stack", func(r round) float64 { return r.loop.stack.Seconds() }, "s"},
		{"most memory of both commands", func(r round) float64 { return float64(max(r.sign.memory, r.verify.memory)) / 1e6 }, "MB"},
	}
	for _, row := range rows {
		var values []float64
		for _, r := range rounds {
			values = append(values, row.of(r))
		}
		slices.Sort(values)
		err = errors.Join(err, m.say("%-36s %8.2f %s (%.2f to %.2f)\n", row.name, values[len(values)/2], row.unit, values[0], values[len(values)-1]))
	}
	return err
}

// printMemory signs and verifies a tree of many files, one of which is larger than what
// the commands may take.
func (m *measurement) printMemory(ctx context.Context) error {
	const huge = 1 << 30 // bytes
	from, dir := filepath.Join(m.work, "from"), filepath.Join(m.work, "large")
	binary := filepath.Join(from, "bin", "linux", "amd64", "kubelet")
	if err := os.MkdirAll(filepath.Dir(binary), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(binary, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(binary, huge); err != nil { // of zeroes
		return err
	}
	if err := m.sample(ctx, dir, m.rounds, m.large, 0, "--from-bin", from); err != nil {
		return err
	}
	sign, verify, err := m.release(ctx, dir)
	if err != nil {
		return err
	}
	return m.say("\n%d files, one of %d GiB: most memory %.0f MB to sign, %.0f MB to verify; %.1f and %.1f s\n",
		m.large, huge>>30, float64(sign.memory)/1e6, float64(verify.memory)/1e6, sign.wall.Seconds(), verify.wall.Seconds())
}
