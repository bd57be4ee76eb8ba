package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sotto/internal/api"
)

func TestRefusals(t *testing.T) {
	s := account(t, newNet(), "alice")
	port := s.host[strings.LastIndex(s.host, ":"):]
	set := func(key, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(key, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for _, test := range []struct {
		name, method, path, body string
		change                   func(*http.Request)
		status                   int
		code                     api.Code
	}{
		{"no token", "GET", "/me", "", func(r *http.Request) { r.Header.Del("Authorization") }, 401, api.CodeToken},
		{"wrong token", "GET", "/me", "", set("Authorization", "Bearer "+strings.Repeat("A", len(s.token))), 401, api.CodeToken},
		{"token cut", "GET", "/me", "", set("Authorization", "Bearer "+s.token[1:]), 401, api.CodeToken},
		{"other scheme", "GET", "/me", "", set("Authorization", "Basic "+s.token), 401, api.CodeToken},
		{"token twice", "GET", "/me", "", func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+s.token) }, 401, api.CodeToken},
		{"token in the address", "GET", "/me?token=" + s.token, "", func(r *http.Request) { r.Header.Del("Authorization") }, 401, api.CodeToken},
		{"token in a cookie", "GET", "/me", "", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.Header.Set("Cookie", "token="+s.token)
		}, 401, api.CodeToken},
		{"events without token", "GET", "/events", "", func(r *http.Request) { r.Header.Del("Authorization") }, 401, api.CodeToken},

		{"host by name", "GET", "/me", "", host("localhost" + port), 421, api.CodeHost},
		{"rebound host", "GET", "/me", "", host("evil.example" + port), 421, api.CodeHost},
		{"other port", "GET", "/me", "", host("127.0.0.1:1"), 421, api.CodeHost},
		{"no port", "GET", "/me", "", host("127.0.0.1"), 421, api.CodeHost},

		{"foreign origin", "POST", "/take", "", set("Origin", "https://evil.example"), 403, api.CodeSite},
		{"null origin", "POST", "/take", "", set("Origin", "null"), 403, api.CodeSite},
		{"origin of another port", "POST", "/take", "", set("Origin", "http://127.0.0.1:1"), 403, api.CodeSite},
		{"https origin", "POST", "/take", "", set("Origin", "https://"+s.host), 403, api.CodeSite},
		{"cross-site", "GET", "/me", "", set("Sec-Fetch-Site", "cross-site"), 403, api.CodeSite},
		{"same-site", "GET", "/me", "", set("Sec-Fetch-Site", "same-site"), 403, api.CodeSite},
		{"typed address", "GET", "/me", "", set("Sec-Fetch-Site", "none"), 403, api.CodeSite},
		{"preflight", "OPTIONS", "/me", "", set("Origin", "https://evil.example"), 403, api.CodeSite},

		{"unknown path", "GET", "/nothing", "", nil, 404, api.CodeNotFound},
		{"below an endpoint", "GET", "/me/", "", nil, 404, api.CodeNotFound},
		{"long name in the path", "GET", "/chats/" + strings.Repeat("a", 200) + "/messages", "", nil, 404, api.CodeNotFound},
		{"wrong method", "DELETE", "/me", "", nil, 405, api.CodeMethod},
		{"get for post", "GET", "/take", "", nil, 405, api.CodeMethod},
		{"preflight from home", "OPTIONS", "/me", "", nil, 405, api.CodeMethod},

		{"form", "PATCH", "/me", `{"name":"x"}`, set("Content-Type", "text/plain"), 415, api.CodeMediaType},
		{"no type", "PATCH", "/me", `{"name":"x"}`, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, api.CodeMediaType},
		{"oversized", "PATCH", "/me", `{"name":"` + strings.Repeat("x", 600<<10) + `"}`, nil, 413, api.CodeTooLarge},
		{"long name", "PATCH", "/me", `{"name":"` + strings.Repeat("x", 1000) + `"}`, nil, 400, api.CodeName},
		{"not JSON", "PATCH", "/me", `name=x`, nil, 400, api.CodeMalformed},
		{"cut", "PATCH", "/me", `{"name":`, nil, 400, api.CodeMalformed},
		{"array", "PATCH", "/me", `[]`, nil, 400, api.CodeMalformed},
		{"null", "PATCH", "/me", `null`, nil, 400, api.CodeMalformed},
		{"unknown field", "PATCH", "/me", `{"name":"x","admin":true}`, nil, 400, api.CodeMalformed},
		{"wrong type", "PATCH", "/me", `{"name":7}`, nil, 400, api.CodeMalformed},
		{"two objects", "PATCH", "/me", `{"name":"x"}{}`, nil, 400, api.CodeMalformed},
		{"not UTF-8", "PATCH", "/me", "{\"name\":\"\xff\"}", nil, 400, api.CodeMalformed},
		{"limit 0", "GET", "/chats/" + s.client().ID() + "/messages?limit=0", "", nil, 400, api.CodeMalformed},
		{"limit too high", "GET", "/chats/" + s.client().ID() + "/messages?limit=1000", "", nil, 400, api.CodeMalformed},
		{"not an ID", "POST", "/chats/bob/read", "", nil, 400, api.CodeID},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			r := s.request(test.method, "/api/v1"+test.path, test.body)
			if test.change != nil {
				test.change(r)
			}
			status, a := s.do(r)
			if status != test.status || a.code() != test.code {
				t.Errorf("status %d, code %q; want %d, %q", status, a.code(), test.status, test.code)
			}
			if a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("the answer opens itself to other origins")
			}
		})
	}
	if name := s.client().Name(); name != "alice" {
		t.Errorf("a refused request changed the name to %q", name)
	}
}

func TestOwnPagesAreAdmitted(t *testing.T) {
	s := account(t, newNet(), "alice")
	r := s.request("GET", "/api/v1/me", "")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "http://"+s.host)
	if status, _ := s.do(r); status != http.StatusOK {
		t.Errorf("own page: status %d", status)
	}
	for site, want := range map[string]int{"none": 200, "same-origin": 200, "same-site": 403, "cross-site": 403} {
		r := s.request("GET", "/", "")
		r.Header.Set("Sec-Fetch-Site", site)
		if status, _ := s.do(r); status != want {
			t.Errorf("page opened from %s: status %d, want %d", site, status, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	s := account(t, newNet(), "alice")
	good, bad := s.request("GET", "/api/v1/me", ""), s.request("GET", "/api/v1/me", "")
	bad.Host = "evil.example"
	for _, r := range []*http.Request{good, bad, s.request("GET", "/", "")} {
		_, a := s.do(r)
		for key, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
				"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":                "no-store",
		} {
			if got := a.header.Get(key); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
	}
}

func TestListenOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", ":0", "localhost:0", "example.org:80"} {
		l, err := api.Listen(address)
		if err == nil {
			t.Errorf("listens on %s", address)
			_ = l.Close()
		}
	}
	if _, err := api.Listen("192.0.2.1:0"); !errors.Is(err, api.ErrNotLoopback) {
		t.Errorf("error %v, want ErrNotLoopback", err)
	}
}

func TestToken(t *testing.T) {
	token, err := api.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	var zero api.Token
	switch {
	case !token.Matches(token.Reveal()):
		t.Error("a token does not match itself")
	case token.Matches(""), token.Matches(zero.Reveal()):
		t.Error("a token matches another")
	case zero.Matches(zero.Reveal()):
		t.Error("the zero token admits somebody")
	}
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%+v %#v %s", token, token, token)} {
		if strings.Contains(text, token.Reveal()) {
			t.Errorf("formatting shows the token: %s", text)
		}
	}
}
