package negatives

import (
	"bytes"
	"crypto/rand"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// refusedRepositories are TUF repositories that are right but for one fact.
// Clients start with the kit's root.json and an empty cache.
func refusedRepositories() []negative {
	stale := func(signed object) { signed["expires"] = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339) }
	republished := func(file string, change func(object)) func(*testing.T, *negatives, repository) {
		return func(t *testing.T, _ *negatives, r repository) { r.publish(t, file, change) }
	}
	tampered := func(file string) func(*testing.T, *negatives, repository) {
		return func(t *testing.T, _ *negatives, r repository) {
			changed := expiry.ReplaceAll(r.files[file], []byte("${1}2099"))
			if bytes.Equal(changed, r.files[file]) {
				t.Fatalf("%s has no expiry", file)
			}
			r.files[file] = changed
		}
	}
	signedByStranger := func(file string) func(*testing.T, *negatives, repository) {
		return func(t *testing.T, n *negatives, r repository) {
			r.keys = maps.Clone(r.keys)
			r.keys[roleOf(file)] = n.other.repository(t).keys[roleOf(file)]
			r.publish(t, file, func(object) {})
		}
	}
	return []negative{
		published("stale timestamp.json", byTUF("expired at", "is expired"), republished(timestampFile, stale)),
		published("stale snapshot.json", byTUF("expired at", "is expired"), republished(snapshotFile, stale)),
		published("stale targets.json", byTUF("expired at", "is expired"), republished(targetsFile, stale)),
		published("tampered timestamp.json", byTUF(noThreshold, "timestamp was signed by 0/1 keys"), tampered(timestampFile)),
		published("tampered snapshot.json", byTUF("wrong sha256 hash", "Expected hash"), tampered(snapshotFile)),
		published("tampered targets.json", byTUF("wrong sha256 hash", "Expected hash"), tampered(targetsFile)),
		published("tampered target file", byTUF("wrong sha256 hash", "error downloading target"), func(t *testing.T, _ *negatives, r repository) {
			path := r.trustedRoot(t)
			r.files[path] = append([]byte(" "), r.files[path]...)
		}),
		published("target file of another length", byTUF("wrong sha256 hash", "error downloading target"), republished(targetsFile, func(signed object) {
			signed["targets"].(object)["trusted_root.json"].(object)["length"] = 10
		})),
		published("repository of a stranger", byTUF(noThreshold, "timestamp was signed by 0/1 keys"), func(t *testing.T, n *negatives, r repository) {
			clear(r.files)
			for path, content := range n.other.repository(t).files {
				r.files[path] = content
			}
		}),
		published("timestamp.json signed by a stranger", byTUF(noThreshold, "timestamp was signed by 0/1 keys"), signedByStranger(timestampFile)),
		published("snapshot.json signed by a stranger", byTUF(noThreshold, "snapshot was signed by 0/1 keys"), signedByStranger(snapshotFile)),
		published("targets.json signed by a stranger", byTUF(noThreshold, "targets was signed by 0/1 keys"), signedByStranger(targetsFile)),
		published("timestamp.json signed by the snapshot's key", byTUF(noThreshold, "timestamp was signed by 0/1 keys"), func(t *testing.T, _ *negatives, r repository) {
			r.sign(t, timestampFile, r.keys["snapshot"])
		}),
		published("next root.json signed by a stranger", byTUF(noThreshold, "root was signed by 0/1 keys"), func(t *testing.T, n *negatives, r repository) {
			r.nextRoot(t)
			r.sign(t, "2.root.json", n.other.repository(t).keys["root"])
		}),
		published("stale root.json", byTUF("expired at", "is expired"), func(t *testing.T, _ *negatives, r repository) {
			r.nextRoot(t)
			r.change(t, "2.root.json", stale)
			r.sign(t, "2.root.json", r.keys["root"])
		}),
		published("next root.json that repeats its version", byTUF("version 1 does", "Expected version 2, got 1"), func(t *testing.T, _ *negatives, r repository) {
			r.files["2.root.json"] = r.files[rootFile]
		}),
		{
			name:    "older timestamp.json than seen",
			refused: byTUF("getting trusted root from TUF", "New timestamp version 1 is less than current version 2").but(byCosign2, noRoot),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				old := n.repository(t)
				seen := old.clone()
				seen.publish(t, timestampFile, func(signed object) { signed["version"] = 2 })
				return n.showRepository(t, seen, pick(wrong, old, seen))
			},
		},
		{
			// The timestamp is newer each time.
			name:    "older snapshot.json than seen",
			refused: byTUF("getting trusted root from TUF", "New snapshot version 1 is less than current version 5").but(byCosign2, noRoot),
			make: func(n *negatives, t *testing.T, wrong bool) attempt {
				seen := n.repository(t)
				seen.files["5.snapshot.json"] = seen.files[snapshotFile]
				then := seen.clone()
				seen.pointTo(t, 5, 2)
				then.pointTo(t, pick(wrong, 1, 5), 3)
				return n.showRepository(t, seen, then)
			},
		},
	}
}

// expiry is the year in which metadata expires.
var expiry = regexp.MustCompile(`("expires":\s*")20\d\d`)

// pointTo has the timestamp name a version of the snapshot, which is made.
func (r repository) pointTo(t *testing.T, snapshot, timestamp int) {
	t.Helper()
	r.publish(t, snapshotFile, func(signed object) { signed["version"] = snapshot })
	r.files[number(int64(snapshot))+".snapshot.json"] = r.files[snapshotFile]
	r.publish(t, timestampFile, func(signed object) {
		signed["version"] = timestamp
		signed["meta"].(object)["snapshot.json"].(object)["version"] = snapshot
	})
}

// nextRoot makes a second root that says what the first does, unsigned.
func (r repository) nextRoot(t *testing.T) {
	t.Helper()
	r.files["2.root.json"] = r.files[rootFile]
	r.change(t, "2.root.json", func(signed object) { signed["version"] = 2 })
}

// trustedRoot is the path of the target file that clients want.
func (r repository) trustedRoot(t *testing.T) string {
	t.Helper()
	for path := range r.files {
		if strings.HasPrefix(path, "targets/") && strings.HasSuffix(path, ".trusted_root.json") {
			return path
		}
	}
	t.Fatal("the repository has no trusted_root.json")
	return ""
}

// published is a case of one state of a repository. When right it differs from
// the stack's own in a second, rightly signed root and a new timestamp.
func published(name string, refused reasons, change func(*testing.T, *negatives, repository)) negative {
	return negative{name, refused, func(n *negatives, t *testing.T, wrong bool) attempt {
		r := n.repository(t)
		r.publish(t, timestampFile, func(signed object) { signed["version"] = 2 })
		if wrong {
			change(t, n, r)
		} else {
			r.nextRoot(t)
			r.sign(t, "2.root.json", r.keys["root"])
		}
		return n.showRepository(t, r, r)
	}}
}

// showRepository has each client verify a signature by what a mirror gave it,
// twice: the mirror serves first, then the other state.
func (n *negatives) showRepository(t *testing.T, first, then repository) attempt {
	t.Helper()
	dir := t.TempDir()
	artifact := []byte(rand.Text())
	f := shownFiles{
		artifact: e2etest.WriteFile(t, dir, "artifact", string(artifact)),
		bundle:   e2etest.WriteFile(t, dir, "bundle", text(n.sign(t, newSigner(t, n.alices()), artifact).bundle(t))),
	}
	// twice runs a client on both states; the first is served to each.
	twice := func(start func(t *testing.T, url string) verdict, again func(t *testing.T, url string) verdict) func(*testing.T) verdict {
		return func(t *testing.T) verdict {
			t.Helper()
			m := newMirror(t)
			m.state.Store(&first)
			if v := start(t, m.url); !v.accepted {
				return v
			}
			m.state.Store(&then)
			return again(t, m.url)
		}
	}
	same := func(ask func(*testing.T, string) verdict) func(*testing.T) verdict { return twice(ask, ask) }
	cosign := func(program string, flags ...string) func(*testing.T) verdict {
		env := []string{"TUF_ROOT=" + filepath.Join(t.TempDir(), "tuf")}
		return twice(func(t *testing.T, url string) verdict {
			return verdictOf(t, e2etest.Run(t, env, e2etest.Client(t, program), "initialize", "--mirror", url, "--root", n.stack.Kit("root.json")))
		}, func(t *testing.T, _ string) verdict {
			args := append(append([]string{"verify-blob", "--bundle", f.bundle}, flags...), n.wanted(f)...)
			return verdictOf(t, e2etest.Run(t, env, e2etest.Client(t, program), append(args, f.artifact)...))
		})
	}
	jsCache, home := t.TempDir(), t.TempDir()
	return attempt{
		byCosign3: cosign("cosign-v3"),
		byCosign2: cosign("cosign-v2", "--new-bundle-format"),
		byJS: same(func(t *testing.T, url string) verdict {
			return n.js.judge(t, question{Mirror: url, Root: n.stack.Kit("root.json"), Cache: jsCache})
		}),
		bySigstack: same(func(t *testing.T, url string) verdict {
			args := append([]string{"verify", "--tuf-url", url, "--tuf-root", n.stack.Kit("root.json"), "--bundle", f.bundle}, n.wanted(f)...)
			return verdictOf(t, e2etest.Run(t, []string{"HOME=" + home}, e2etest.Sigstack(t), append(args, f.artifact)...))
		}),
	}
}
