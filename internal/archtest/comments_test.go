package archtest

import (
	"go/parser"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func parseText(t *testing.T, text string) *source {
	t.Helper()
	file, err := parser.ParseFile(parsed, "text.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return &source{path: "text.go", ast: file}
}

// TestPackageComments: each package says what it is, in one file.
func TestPackageComments(t *testing.T) {
	all := packages(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var found []string
		for _, f := range all[name].files {
			if f.ast.Doc == nil {
				continue
			}
			found = append(found, f.path)
			begin := "Package " + f.ast.Name.Name + " "
			if f.ast.Name.Name == "main" {
				begin = "Command "
			}
			if !strings.HasPrefix(f.ast.Doc.Text(), begin) {
				t.Errorf("%s: the package comment does not begin with %q", f.path, begin)
			}
		}
		if len(found) != 1 {
			t.Errorf("%s has %d package comments, not one: %v", name, len(found), found)
		}
	}
}

var (
	// A document of spec/ and the sections that follow its name: "§4.2, §5".
	reference = regexp.MustCompile(`spec/([a-z0-9_-]+\.md)((?:,? (?:and )?§[0-9]+(?:\.[0-9]+)*)*)`)
	// Inside spec/, documents name one another without the folder.
	inner   = regexp.MustCompile("()`([a-z0-9_-]+\\.md)`?((?:,? (?:and )?§[0-9]+(?:\\.[0-9]+)*)+)")
	section = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)*`)
	heading = regexp.MustCompile(`(?m)^#+ ([0-9]+(?:\.[0-9]+)*)\.? `)
)

// headings returns the numbers of the headings of every document of spec/.
func headings(t *testing.T) map[string][]string {
	paths, err := filepath.Glob(filepath.Join(root(t), "spec", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		numbers := []string{}
		for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
			numbers = append(numbers, m[1])
		}
		out[filepath.Base(path)] = numbers
	}
	return out
}

// dangling lists the references in a text that lead nowhere.
func dangling(text string, known map[string][]string) []string {
	var out []string
	for _, m := range reference.FindAllStringSubmatch(strings.Join(strings.Fields(text), " "), -1) {
		numbers, ok := known[m[1]]
		if !ok {
			out = append(out, "spec/"+m[1])
			continue
		}
		for _, n := range section.FindAllString(m[2], -1) {
			if !slices.Contains(numbers, n) {
				out = append(out, "spec/"+m[1]+" §"+n)
			}
		}
	}
	return out
}

// TestSpecReferences: what comments and documents cite is there.
func TestSpecReferences(t *testing.T) {
	known := headings(t)
	for _, s := range sources(t) {
		for _, group := range s.ast.Comments {
			for _, missing := range dangling(group.Text(), known) {
				t.Errorf("%s:%d: %s does not exist", s.path, parsed.Position(group.Pos()).Line, missing)
			}
		}
	}
	for name := range known {
		text, err := os.ReadFile(filepath.Join(root(t), "spec", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, missing := range dangling(inner.ReplaceAllString(string(text), "spec/$2$3"), known) {
			t.Errorf("spec/%s: %s does not exist", name, missing)
		}
	}
}

func TestDanglingReferencesAreFound(t *testing.T) {
	known := map[string][]string{"a.md": {"1", "4", "4.2"}}
	for text, want := range map[string]string{
		"as in spec/a.md §4.2, §1 and §4.": "",
		"(spec/a.md)":                      "",
		"spec/a.md\n§4.3":                  "spec/a.md §4.3",
		"spec/a.md §4.2, §9":               "spec/a.md §9",
		"spec/b.md §1":                     "spec/b.md",
	} {
		if got := strings.Join(dangling(text, known), " "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
