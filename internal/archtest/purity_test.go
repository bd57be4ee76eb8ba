package archtest

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// pure packages take bytes and give bytes: clock and randomness are injected,
// so that everything they do can be repeated, simulated and fuzzed.
var pure = []string{
	"wire", "suite", "identity", "padding", "onion", "directory", "mailbox", "ratchet", "group",
}

// impureImports are not for pure packages, nor is anything below them, except
// for impureExceptions.
var impureImports = []string{
	"net", "os", "syscall", "log", "io/ioutil", "path/filepath", "plugin",
	"crypto/rand", "math/rand", "math/rand/v2", "golang.org/x/sys",
}

// impureExceptions are values without I/O behind them.
var impureExceptions = []string{"net/netip"}

// foreign lists the modules that a pure package may import: arithmetic,
// encodings and word lists.
var foreign = []string{
	"filippo.io/edwards25519", "golang.org/x/crypto", "golang.org/x/sys/cpu",
	"github.com/fxamacker/cbor/v2", "github.com/tyler-smith/go-bip39",
}

// clock names what the package time has that reads or waits for the clock.
var clock = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer",
}

func TestPurePackages(t *testing.T) {
	all := packages(t)
	for _, name := range pure {
		p := all[name]
		if p == nil {
			continue // not written yet
		}
		for _, used := range p.uses() {
			if !slices.Contains(pure, used) {
				t.Errorf("%s imports %s, which is not pure", name, used)
			}
		}
		for _, f := range p.files {
			for _, fault := range impurities(f) {
				t.Errorf("%s: %s", f.path, fault)
			}
		}
	}
}

// impurities lists what a file does that a pure package must not.
func impurities(f *source) []string {
	var out []string
	imports := f.imports()
	for path, name := range imports {
		switch {
		case name == ".":
			out = append(out, "imports "+path+" without its name")
		case under(path, foreign) || slices.Contains(impureExceptions, path):
		case under(path, impureImports):
			out = append(out, "imports "+path)
		case strings.Contains(path, ".") || path == "C":
			out = append(out, "imports "+path+", which is not on the list")
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, "starts a goroutine")
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && id.Name == imports["time"] && slices.Contains(clock, n.Sel.Name) {
				out = append(out, "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	slices.Sort(out)
	return out
}

func under(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

// The check itself finds what it is for.
func TestImpuritiesAreFound(t *testing.T) {
	f := parseText(t, `package p
import (
	"crypto/ed25519"
	"net/http"
	"net/netip"
	clock "time"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/unix"
	"example.org/x"
	. "strings"
)
func f() { go g(clock.Now, clock.Second, clock.Since) }
`)
	want := []string{
		"imports example.org/x, which is not on the list", "imports golang.org/x/sys/unix",
		"imports net/http", "imports strings without its name", "starts a goroutine",
		"uses time.Now", "uses time.Since",
	}
	if got := impurities(f); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
