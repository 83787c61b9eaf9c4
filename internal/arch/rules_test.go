package arch

import (
	"fmt"
	"slices"
	"strings"
)

// A layer is one row of the import table.
type layer struct {
	path string
	uses []string // "..." stands for all but programs
}

// An owner restricts an import path, or a function, to some components.
type owner struct {
	path  string
	only  []string
	exact bool // not the packages below it
	code  bool // tests may use it
}

// violations returns one sentence for each broken rule, sorted.
func violations(files []file) []string {
	var found []string
	for _, f := range files {
		found = append(found, layering(f)...)
		found = append(found, ownership(f)...)
		found = append(found, purity(f)...)
		if f.lines > maxFileLines {
			found = append(found, fmt.Sprintf("%s: %d lines, at most %d", f.path, f.lines, maxFileLines))
		}
	}
	found = append(found, folderSizes(files)...)
	slices.Sort(found)
	return slices.Compact(found)
}

// component returns the longest row of the table that holds folder.
func component(folder string) (layer, bool) {
	var best layer
	for _, l := range layers {
		if within(folder, l.path) && len(l.path) > len(best.path) {
			best = l
		}
	}
	return best, best.path != ""
}

func within(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

func layering(f file) []string {
	from, ok := component(f.folder())
	if !ok {
		return []string{f.folder() + ": not in the import table"}
	}
	var found []string
	for _, path := range f.imports {
		target, local := strings.CutPrefix(path, module+"/")
		if !local {
			continue
		}
		to, ok := component(target)
		switch {
		case !ok:
			found = append(found, fmt.Sprintf("%s: imports %s, which is not in the import table", f.path, target))
		case testPackage(target) && !f.test():
			found = append(found, fmt.Sprintf("%s: imports %s, which is for tests", f.path, target))
		case testPackage(target) && from.path == "e2e":
			// What judges a service from outside serves the whole stack, too.
		case f.test() && within(from.path, to.path):
			// A test of a part may stand on the whole.
		case !mayUse(from, to):
			found = append(found, fmt.Sprintf("%s: %s may not import %s", f.path, from.path, to.path))
		}
	}
	return found
}

// mayUse holds for the component itself, for its sub-packages that have rows
// of their own, and for what its row lists.
func mayUse(from, to layer) bool {
	if from.path == to.path || within(to.path, from.path) || slices.Contains(from.uses, to.path) {
		return true
	}
	return slices.Contains(from.uses, "...") && !slices.Contains(programs, to.path)
}

func ownership(f file) []string {
	from, _ := component(f.folder())
	var found []string
	for _, o := range owners {
		if slices.Contains(o.only, from.path) || o.code && f.test() {
			continue
		}
		for _, path := range f.imports {
			if path == o.path || !o.exact && within(path, o.path) {
				found = append(found, fmt.Sprintf("%s: only %s may import %s", f.path, strings.Join(o.only, ", "), path))
			}
		}
	}
	for _, o := range calls {
		if !slices.Contains(o.only, from.path) && !f.test() && slices.Contains(f.calls, o.path) {
			found = append(found, fmt.Sprintf("%s: only %s may use %s", f.path, strings.Join(o.only, ", "), o.path))
		}
	}
	return found
}

func purity(f file) []string {
	from, _ := component(f.folder())
	if f.test() || !slices.Contains(withoutIO, from.path) {
		return nil
	}
	var found []string
	for _, path := range f.imports {
		if slices.Contains(ioImports, path) {
			found = append(found, fmt.Sprintf("%s: %s is pure and may not import %s", f.path, from.path, path))
		}
	}
	return found
}

// folderSizes counts the non-test files of each package under services.
func folderSizes(files []file) []string {
	count := map[string]int{}
	for _, f := range files {
		if !f.test() && within(f.folder(), "services") {
			count[f.folder()]++
		}
	}
	var found []string
	for folder, n := range count {
		if n > maxServiceFiles {
			found = append(found, fmt.Sprintf("%s: %d files besides tests, at most %d", folder, n, maxServiceFiles))
		}
	}
	return found
}
