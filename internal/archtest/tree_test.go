package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "sotto"

// pkg is a package of the module, without its test files.
type pkg struct {
	name  string // below internal/, or from the root for all others
	files []*source
}

// source is a parsed file, with its path from the root.
type source struct {
	path string
	ast  *ast.File
	test bool
}

// imports lists the import paths of a file with the names they go by there.
func (s *source) imports() map[string]string {
	out := map[string]string{}
	for _, spec := range s.ast.Imports {
		path, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		out[path] = name
	}
	return out
}

// root is the module's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

var (
	parsed   = token.NewFileSet()
	loadOnce sync.Once
	loaded   []*source
	loadErr  error
)

// sources parses every Go file of the module once.
func sources(t *testing.T) []*source {
	t.Helper()
	top := root(t)
	loadOnce.Do(func() {
		for _, dir := range []string{"cmd", "internal"} {
			if loadErr = load(top, dir); loadErr != nil {
				return
			}
		}
	})
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	return loaded
}

func load(top, dir string) error {
	return filepath.WalkDir(filepath.Join(top, dir), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(parsed, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		loaded = append(loaded, &source{
			path: filepath.ToSlash(rel),
			ast:  file,
			test: strings.HasSuffix(path, "_test.go"),
		})
		return nil
	})
}

// packages groups the files that are no tests.
func packages(t *testing.T) map[string]*pkg {
	out := map[string]*pkg{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		name := short(s.path[:strings.LastIndex(s.path, "/")])
		if out[name] == nil {
			out[name] = &pkg{name: name}
		}
		out[name].files = append(out[name].files, s)
	}
	return out
}

// short is the name that a package has in the policy.
func short(path string) string { return strings.TrimPrefix(path, "internal/") }

// uses lists the packages of the module that p imports, by their short names.
func (p *pkg) uses() []string {
	var out []string
	for _, f := range p.files {
		for path := range f.imports() {
			if rest, ok := strings.CutPrefix(path, module+"/"); ok && !slices.Contains(out, short(rest)) {
				out = append(out, short(rest))
			}
		}
	}
	slices.Sort(out)
	return out
}
