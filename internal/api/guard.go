package api

import (
	"net/http"
	"strings"
)

// csp lets a page use this server's files and nothing else.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// securityHeaders stand on every answer, refusals included. Nothing is cached,
// the app's own files neither: a browser's cache is a trace on the disk.
var securityHeaders = [][2]string{
	{"Content-Security-Policy", csp},
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Embedder-Policy", "require-corp"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"},
	{"X-Frame-Options", "DENY"},
	{"Cache-Control", "no-store"},
}

// guard sets the headers and refuses what does not come from our own pages or
// from a program that means this server (docs/api.md §3).
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range securityHeaders {
			w.Header().Set(h[0], h[1])
		}
		switch {
		case r.Host != s.host:
			s.writeError(w, errHost)
		case !s.sameSite(r):
			s.writeError(w, errSite)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// sameSite refuses requests that another page caused. Browsers set both
// headers and pages cannot; programs that are no browsers send neither.
// A page of ours may be opened by the user ("none"), the API may not: another
// port of 127.0.0.1 counts as "same-site" and is refused as well.
func (s *Server) sameSite(r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		if origin != "http://"+s.host {
			return false
		}
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		opened := site == "none" && !isAPI(r.URL.Path)
		if site != "same-origin" && !opened {
			return false
		}
	}
	return true
}

func isAPI(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// authorized refuses a request without the token, which counts in this header
// only: browsers never add it by themselves.
func (s *Server) authorized(r *http.Request) bool {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	return ok && s.token.Matches(token)
}
