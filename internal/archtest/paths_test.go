package archtest

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// machinePath is a path that exists on one machine only: somebody's home, or a
// place where work is done. (Written so that it does not match itself.)
var machinePath = regexp.MustCompile(`(?:^|[^\w.~:/$}*-])(?:/(?:home|work|root|Users)/[\w.]|[A-Z]:\\+Users\\)`)

// TestNoMachinePaths: no committed text names a place on the machine where it
// was written.
func TestNoMachinePaths(t *testing.T) {
	top := root(t)
	for _, name := range committed(t, top) {
		content, err := os.ReadFile(filepath.Join(top, name))
		if os.IsNotExist(err) {
			continue // deleted, but not yet committed so
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(content[:min(len(content), 8000)], 0) >= 0 {
			continue // not text
		}
		for i, line := range bytes.Split(content, []byte("\n")) {
			if m := machinePath.Find(line); m != nil {
				t.Errorf("%s:%d: path of a machine: %q", name, i+1, m)
			}
		}
	}
}

// committed lists the files that version control knows, or where there is none
// (an unpacked archive) all files.
func committed(t *testing.T, top string) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = top
	if out, err := cmd.Output(); err == nil && len(out) > 0 {
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	}
	var all []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			all = append(all, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMachinePathsAreFound(t *testing.T) {
	slash := func(parts ...string) string { return "/" + strings.Join(parts, "/") }
	for text, want := range map[string]bool{
		slash("home", "ann", "sotto"):                   true,
		`"` + slash("work", "tree") + `"`:               true,
		"cd " + slash("root", "x"):                      true,
		`C:` + `\Users\ann`:                             true,
		"https://example.org" + slash("home", "page"):   false,
		"docs" + slash("work", "flow.md"):               false,
		slash("var", "lib", "sotto"):                    false,
		"a " + slash("home", "") + " or somewhere else": false,
	} {
		if got := machinePath.MatchString(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
