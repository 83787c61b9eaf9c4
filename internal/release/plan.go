package release

import (
	"fmt"
	"strings"
)

// What a sample holds, by the names of Kubernetes' own releases.
var (
	clientPlatforms = []string{
		"linux/amd64", "darwin/arm64", "windows/amd64", "linux/arm64", "darwin/amd64", "linux/s390x",
		"linux/ppc64le", "linux/arm", "linux/386", "windows/arm64", "windows/386",
	}
	nodePlatforms   = []string{"linux/amd64", "linux/arm64", "windows/amd64", "linux/s390x", "linux/ppc64le", "linux/arm"}
	serverPlatforms = []string{"linux/amd64", "linux/arm64", "linux/s390x", "linux/ppc64le"}

	clientNames = []string{"kubectl", "kubectl-convert"}
	nodeNames   = []string{"kubelet", "kube-proxy", "kubeadm", "kube-log-runner"}
	serverNames = []string{
		"kube-apiserver", "kube-controller-manager", "kube-scheduler",
		"apiextensions-apiserver", "kube-aggregator", "mounter",
	}
	testNames  = []string{"e2e.test", "ginkgo", "go-runner"}
	imageNames = []string{"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl"}
)

// Names of A1 that every sample has.
const (
	sourceTarball = "kubernetes-src.tar.gz"
	sourceSBOM    = "kubernetes-source.spdx"
	releaseSBOM   = "kubernetes-release.spdx"
)

// The smallest signed set is source bundle and both SBOMs.
const (
	minFiles     = 3
	defaultFiles = 24
)

// component is one component tarball and the binaries that go into it.
type component struct {
	kind     string // "client", "node", "server", "test"
	platform string // "linux/amd64"
	names    []string
}

// tarball returns the component's name in the tree.
func (c component) tarball() string {
	return "kubernetes-" + c.kind + "-" + strings.ReplaceAll(c.platform, "/", "-") + ".tar.gz"
}

// binaries returns the paths of the component's binaries in the tree.
func (c component) binaries() []string {
	out := make([]string, len(c.names))
	for i, name := range c.names {
		out[i] = binaryPath(c.platform, name)
	}
	return out
}

func binaryPath(platform, name string) string {
	if strings.HasPrefix(platform, "windows/") {
		name += ".exe"
	}
	return "bin/" + platform + "/" + name
}

// components lists every component tarball, round robin over kinds.
func components() []component {
	var out []component
	for i := range clientPlatforms {
		for _, of := range []struct {
			kind      string
			platforms []string
			names     []string
		}{
			{"client", clientPlatforms, clientNames},
			{"server", serverPlatforms, append(append([]string(nil), serverNames...), nodeNames...)},
			{"node", nodePlatforms, append(append([]string(nil), nodeNames...), clientNames...)},
			{"test", serverPlatforms, testNames},
		} {
			if i < len(of.platforms) {
				out = append(out, component{of.kind, of.platforms[i], of.names})
			}
		}
	}
	return out
}

// planned is the content of a sample as lists of names.
type planned struct {
	singles    []string    // kubernetes.tar.gz and the like
	components []component // tarballs
	binaries   []string    // bin/...
	images     []string    // bin/.../<name>.tar, each with a .docker_tag
}

// plan chooses n signed files: the smallest set first, then binaries, component
// tarballs and images in turn, so that even small samples have several
// platforms; beyond the names that Kubernetes has, numbered test binaries.
func plan(n int) (planned, error) {
	if n < minFiles {
		return planned{}, fmt.Errorf("a sample has at least %d signed files, not %d", minFiles, n)
	}
	var p planned
	left := n - minFiles
	for _, name := range []string{"kubernetes.tar.gz", Provenance, "kubernetes-manifests.tar.gz"} {
		if left > 0 {
			p.singles, left = append(p.singles, name), left-1
		}
	}
	binaries, tarballs, images := allBinaries(), components(), allImages()
	for left > 0 {
		before := left
		for range 4 {
			if left > 0 && len(binaries) > 0 {
				p.binaries, binaries, left = append(p.binaries, binaries[0]), binaries[1:], left-1
			}
		}
		if left > 0 && len(tarballs) > 0 {
			p.components, tarballs, left = append(p.components, tarballs[0]), tarballs[1:], left-1
		}
		if left > 0 && len(images) > 0 {
			p.images, images, left = append(p.images, images[0]), images[1:], left-1
		}
		if left == before {
			break
		}
	}
	for i := range left {
		p.binaries = append(p.binaries, fmt.Sprintf("bin/linux/amd64/node-e2e-%05d.test", i+1))
	}
	return p, nil
}

// allBinaries lists the names round robin over platforms.
func allBinaries() []string {
	var out []string
	for i := range clientPlatforms {
		for _, of := range []struct{ platforms, names []string }{
			{clientPlatforms, clientNames}, {nodePlatforms, nodeNames}, {serverPlatforms, serverNames}, {serverPlatforms, testNames},
		} {
			if i >= len(of.platforms) {
				continue
			}
			for _, name := range of.names {
				out = append(out, binaryPath(of.platforms[i], name))
			}
		}
	}
	return out
}

func allImages() []string {
	var out []string
	for _, platform := range serverPlatforms {
		for _, name := range imageNames {
			out = append(out, "bin/"+platform+"/"+name+".tar")
		}
	}
	return out
}
