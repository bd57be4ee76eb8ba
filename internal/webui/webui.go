// Package webui holds the built web app and serves its files. The app's source
// is in app/; its build is committed in dist/, so that a checkout needs Go
// alone (docs/decisions and CONTRIBUTING.md say how to rebuild it).
//
// It serves public files and knows no account: internal/api decides who may
// ask, sets the security headers and is what the app talks to.
package webui

import (
	"embed"
	"net/http"
)

//go:embed dist
var dist embed.FS

// pages lists what is served, by path. A path that is not here does not exist:
// there is no directory to walk and no type to guess.
var pages = map[string]struct{ file, contentType string }{
	"/":            {"dist/index.html", "text/html; charset=utf-8"},
	"/app.js":      {"dist/app.js", "text/javascript; charset=utf-8"},
	"/app.css":     {"dist/app.css", "text/css; charset=utf-8"},
	"/favicon.svg": {"dist/favicon.svg", "image/svg+xml"},
	"/licenses.md": {"dist/licenses.md", "text/plain; charset=utf-8"},
}

// Handler serves the app.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		b, err := dist.ReadFile(page.file)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", page.contentType)
		_, _ = w.Write(b)
	})
}
