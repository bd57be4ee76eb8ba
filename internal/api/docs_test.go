package api

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/api.md is what callers rely on: no code and no endpoint without a line
// in it.
func TestDocumentation(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	doc := read("../../docs/api.md")
	codes := regexp.MustCompile(`Code\s+= "(\w+)"`).FindAllStringSubmatch(read("errors.go"), -1)
	if len(codes) < 20 {
		t.Fatalf("found %d codes", len(codes))
	}
	for _, code := range codes {
		if !strings.Contains(doc, "| `"+code[1]+"` |") {
			t.Errorf("code %q is not documented", code[1])
		}
	}
	routes := regexp.MustCompile(`"((?:GET|POST|PATCH) /[a-z/{}]+)"`).FindAllStringSubmatch(read("routes.go"), -1)
	if len(routes) < 20 {
		t.Fatalf("found %d routes", len(routes))
	}
	for _, route := range routes {
		// The verbs of one chat share a line, where only the first is in full.
		last := route[1][strings.LastIndex(route[1], "/"):]
		if !strings.Contains(doc, "`"+route[1]) && !strings.Contains(doc, "`"+last+"`") {
			t.Errorf("endpoint %q is not documented", route[1])
		}
	}
}
