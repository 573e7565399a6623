package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pkg is one folder with Go files, all build tags included.
type pkg struct {
	path    string // relative to the module: internal/commands
	name    string // of its package clause, without _test
	docs    []string
	imports []imported
	files   []source
}

// imported is one import of one file.
type imported struct {
	path string
	file string
	test bool
}

type source struct {
	path string
	test bool
	tree *ast.File
}

// load parses every Go file of the module. It reads the files itself rather than asking the go command, so that all
// build tags count, and so that Go's test cache sees what the result depends on.
func load(t *testing.T) []pkg {
	t.Helper()
	root := moduleRoot(t)
	found := map[string]*pkg{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skipped(root, path, entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		tree, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		if found[dir] == nil {
			found[dir] = &pkg{path: dir}
		}
		found[dir].add(filepath.ToSlash(rel), tree)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(found), 10, "the module was not found where it should be: %s", root)

	packages := make([]pkg, 0, len(found))
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		packages = append(packages, *found[dir])
	}
	return packages
}

// add takes a parsed file into its package.
func (p *pkg) add(file string, tree *ast.File) {
	test := strings.HasSuffix(file, "_test.go")
	p.files = append(p.files, source{path: file, test: test, tree: tree})
	p.name = strings.TrimSuffix(tree.Name.Name, "_test")
	if tree.Doc != nil && tree.Doc.Text() != "" {
		p.docs = append(p.docs, tree.Doc.Text())
	}
	for _, spec := range tree.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			path = spec.Path.Value
		}
		p.imports = append(p.imports, imported{path: path, file: file, test: test})
	}
}

// skipped tells folders that hold no package of this module.
func skipped(root, path, name string) bool {
	if path == root {
		return false
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}

// moduleRoot is the folder of go.mod above the test's own.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, dir, parent, "no go.mod above the test")
		dir = parent
	}
}

// under tells whether an import path is the prefix or lies below it.
func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// underAny tells whether an import path is one of the prefixes or lies below one.
func underAny(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return under(path, prefix) })
}

// standard tells whether an import path is of the standard library: its first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first != module && !strings.Contains(first, ".")
}
