package webui

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestPages(t *testing.T) {
	for path, page := range pages {
		w := get("GET", path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != page.contentType || w.Body.Len() == 0 {
			t.Errorf("GET %s: status %d, type %q, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
	}
	for _, path := range []string{"/index.html", "/dist/app.js", "/../webui.go", "/favicon.ico"} {
		if w := get("GET", path); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", path, w.Code)
		}
	}
	if w := get("POST", "/"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: status %d, want 405", w.Code)
	}
}

// Every built file must be in the table, or the app would miss it.
func TestEveryFileIsServed(t *testing.T) {
	served := map[string]bool{}
	for _, page := range pages {
		served[page.file] = true
	}
	err := fs.WalkDir(dist, "dist", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !served[path] {
			t.Errorf("%s is built but not served", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The content security policy forbids all of these; a build that needs one
// would be broken in the browser only.
func TestNothingInlineOrForeign(t *testing.T) {
	index := get("GET", "/").Body.String()
	for _, bad := range []string{"<style", "style=", "javascript:", "onload=", "http:", "https:", "//"} {
		if strings.Contains(index, bad) {
			t.Errorf("index.html contains %q", bad)
		}
	}
	if m := regexp.MustCompile(`<script[^>]*>[^<]`).FindString(index); m != "" {
		t.Errorf("index.html has an inline script: %s", m)
	}
	app := get("GET", "/app.js").Body.String()
	for _, bad := range []string{"eval(", "new Function(", "localStorage", "sourceMappingURL", "document.cookie"} {
		if strings.Contains(app, bad) {
			t.Errorf("app.js contains %q", bad)
		}
	}
	// Two names of XML namespaces and links in error messages of the framework
	// are the only addresses; nothing is fetched from them.
	known := regexp.MustCompile(`^https?://(www\.w3\.org/|svelte\.dev/)`)
	for _, url := range regexp.MustCompile(`https?://[a-zA-Z0-9./_-]+`).FindAllString(app, -1) {
		if !known.MatchString(url) {
			t.Errorf("app.js names %s", url)
		}
	}
}
