package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A file is what the rules look at in one Go file.
type file struct {
	path    string   // slash separated, from the root of the repository
	imports []string // import paths as written
	calls   []string // package functions named outside this package: "time.Now"
	lines   int
}

// test reports whether the file is built into tests only, by its own name or
// its package's.
func (f file) test() bool {
	return strings.HasSuffix(f.path, "_test.go") || testPackage(f.folder()) || within(f.folder(), "e2e")
}

// testPackage tells packages such as httptest: helpers that tests share.
func testPackage(folder string) bool {
	return strings.HasSuffix(folder, "test") && !strings.HasSuffix(folder, "/test")
}

// folder returns the folder of the file: its package's path in the module.
func (f file) folder() string {
	if i := strings.LastIndexByte(f.path, '/'); i >= 0 {
		return f.path[:i]
	}
	return "."
}

// parseTree parses every Go file of the repository whatever its build tags.
func parseTree(t *testing.T) []file {
	t.Helper()
	root := repositoryRoot(t)
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && skipped(d.Name(), path):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f, err := parseFile(filepath.ToSlash(rel), path)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatalf("parse tree: %v", err)
	}
	return files
}

// skipped tells the folders that the go command leaves out of ./... as well,
// and those that git ignores.
func skipped(name, path string) bool {
	if name[0] == '.' || name[0] == '_' || slices.Contains([]string{"bin", "dist", "testdata", "tmpdeps"}, name) {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find working directory: %v", err)
	}
	for ; filepath.Dir(dir) != dir; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

func parseFile(rel, path string) (file, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return file{}, err
	}
	return parseSource(rel, src)
}

func parseSource(rel string, src []byte) (file, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), rel, src, parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	f := file{path: rel, lines: bytes.Count(src, []byte("\n"))}
	names := map[string]string{} // local name to import path
	for _, spec := range tree.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, path)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	f.calls = selected(tree, names)
	return f, nil
}

// selected lists what the file names of its imports, called or passed on.
func selected(tree *ast.File, names map[string]string) []string {
	var found []string
	ast.Inspect(tree, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && names[id.Name] != "" {
			found = append(found, names[id.Name]+"."+sel.Sel.Name)
		}
		return true
	})
	return found
}
