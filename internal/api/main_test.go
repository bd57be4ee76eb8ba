package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sotto/internal/api"
	"sotto/internal/api/apitest"
)

const passphrase = "correct horse battery"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a Server at work with what a test needs to ask it.
type server struct {
	*api.Server
	t     *testing.T
	app   *apitest.App
	token string
	host  string
	http  *http.Client
	stop  func()
}

func newNet() *apitest.Net {
	return apitest.NewNet(func() time.Time { return time.Date(2026, 5, 4, 9, 30, 0, 0, time.UTC) })
}

// serve runs a server for app until the test ends.
func serve(t *testing.T, app *apitest.App) *server {
	t.Helper()
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	token, err := api.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	s := &server{
		Server: api.New(l, api.Config{App: app, Token: token, Pages: pages, Version: "v1"}),
		t:      t, app: app, token: token.Reveal(), host: l.Addr().String(),
		http: &http.Client{Transport: &http.Transport{}},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		s.http.CloseIdleConnections()
	}
	t.Cleanup(s.stop)
	return s
}

// account is a server of a new account.
func account(t *testing.T, net *apitest.Net, name string) *server {
	t.Helper()
	app := net.App()
	if _, err := app.Create(t.Context(), name, passphrase); err != nil {
		t.Fatal(err)
	}
	return serve(t, app)
}

func (s *server) client() *apitest.Client {
	s.t.Helper()
	c, err := s.app.Client()
	if err != nil {
		s.t.Fatal(err)
	}
	return c.(*apitest.Client)
}

func (s *server) request(method, path, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.host+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// do returns the answer's status and what its JSON holds.
func (s *server) do(r *http.Request) (int, answer) {
	s.t.Helper()
	a, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	out := answer{header: a.Header, raw: string(b)}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(b, &out.json); err != nil {
			s.t.Fatalf("answer %q: %v", b, err)
		}
	}
	return a.StatusCode, out
}

func (s *server) call(method, path, body string) (int, answer) {
	s.t.Helper()
	return s.do(s.request(method, "/api/v1"+path, body))
}

// must is call for what must succeed.
func (s *server) must(method, path, body string) answer {
	s.t.Helper()
	status, a := s.call(method, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s: status %d: %s", method, path, status, a.raw)
	}
	return a
}

type answer struct {
	header http.Header
	raw    string
	json   map[string]any
}

func (a answer) str(key string) string { s, _ := a.json[key].(string); return s }

func (a answer) list(key string) []any { l, _ := a.json[key].([]any); return l }

// code is the code of a refusal.
func (a answer) code() api.Code {
	e, _ := a.json["error"].(map[string]any)
	code, _ := e["code"].(string)
	if message, _ := e["message"].(string); code != "" && message == "" {
		return "without words"
	}
	return api.Code(code)
}
