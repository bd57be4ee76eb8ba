package api

import (
	"net/http"
	"sort"
	"strings"
)

// table finds an endpoint by path and method. It stands in for
// http.ServeMux's own rules so that every refusal is one of ours, in JSON, and
// no path is redirected or cleaned.
type table struct {
	routes []route
}

type route struct {
	method string
	parts  []string
	h      http.Handler
}

func newTable() *table { return &table{} }

// add takes "METHOD /path/{name}"; the path is below prefix.
func (t *table) add(pattern string, h http.Handler) {
	method, path, _ := strings.Cut(pattern, " ")
	t.routes = append(t.routes, route{method, strings.Split(path, "/")[1:], h})
}

// find returns the endpoint of a request and sets its path values; without
// one, allow lists the methods that the path has.
func (t *table) find(r *http.Request) (h http.Handler, allow string) {
	path, ok := strings.CutPrefix(r.URL.Path, prefix+"/")
	if !ok {
		return nil, ""
	}
	parts := strings.Split(path, "/")
	var methods []string
	for _, route := range t.routes {
		if !route.matches(parts) {
			continue
		}
		if route.method == r.Method {
			route.setValues(r, parts)
			return route.h, ""
		}
		methods = append(methods, route.method)
	}
	sort.Strings(methods)
	return nil, strings.Join(methods, ", ")
}

func (t route) matches(parts []string) bool {
	if len(parts) != len(t.parts) {
		return false
	}
	for i, p := range t.parts {
		if isName(p) && len(parts[i]) > 0 && len(parts[i]) <= maxPeer {
			continue
		}
		if p != parts[i] {
			return false
		}
	}
	return true
}

func (t route) setValues(r *http.Request, parts []string) {
	for i, p := range t.parts {
		if isName(p) {
			r.SetPathValue(strings.Trim(p, "{}"), parts[i])
		}
	}
}

func isName(part string) bool { return strings.HasPrefix(part, "{") }
