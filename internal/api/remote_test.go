package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sotto/internal/api"
	"sotto/internal/client"
)

// dial reaches s by an endpoint file.
func (s *server) dial() *api.Remote {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := api.WriteEndpointFile(dir, s.Endpoint()); err != nil {
		s.t.Fatal(err)
	}
	r, err := api.Dial(s.t.Context(), dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.Close)
	return r
}

func TestRemote(t *testing.T) {
	net := newNet()
	as, bs := account(t, net, "alice"), account(t, net, "bob")
	alice, bob := as.dial(), bs.dial()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if alice.ID() != as.client().ID() || alice.Name() != "alice" {
		t.Errorf("dialled %q, %q", alice.ID(), alice.Name())
	}
	events := bob.Events(ctx)
	m, err := alice.Send(ctx, bob.ID(), "Hello")
	if err != nil || m.State != client.MessageQueued {
		t.Fatalf("sent %+v, %v", m, err)
	}
	if e := <-events; e.Type != client.EventMessage || e.Message.Text != "Hello" || e.Peer != alice.ID() {
		t.Errorf("event %+v", e)
	}
	if list, err := bob.Requests(ctx); err != nil || len(list) != 1 {
		t.Errorf("requests %v, %v", list, err)
	}
	if list, err := bob.Take(ctx); err != nil || len(list) != 1 || list[0].Text != "Hello" {
		t.Errorf("took %v, %v", list, err)
	}
	if err := bob.Accept(ctx, alice.ID()); err != nil {
		t.Error(err)
	}
	if list, err := bob.Messages(ctx, alice.ID(), "", 10); err != nil || len(list) != 1 || list[0].Text != "Hello" {
		t.Errorf("messages %v, %v", list, err)
	} else if before, err := bob.Messages(ctx, alice.ID(), list[0].ID, 10); err != nil || len(before) != 0 {
		t.Errorf("messages before the first: %v, %v", before, err)
	}
	if m, err := alice.Message(ctx, m.ID); err != nil || m.State != client.MessageDelivered {
		t.Errorf("message %+v, %v", m, err)
	}
	if list, err := bob.Chats(ctx); err != nil || len(list) != 1 {
		t.Errorf("chats %v, %v", list, err)
	}
	if err := errors.Join(bob.Block(ctx, alice.ID()), bob.Unblock(ctx, alice.ID()), bob.Sync(ctx), bob.Flush(ctx)); err != nil {
		t.Error(err)
	}
	var told *api.Error
	if _, err := alice.Send(ctx, alice.ID(), "me"); !errors.As(err, &told) || told.Code != api.CodeSelf {
		t.Errorf("to oneself: %v", err)
	}
	if err := bob.DeleteRequest(ctx, "nobody"); !errors.As(err, &told) || told.Code != api.CodeID {
		t.Errorf("request of nobody: %v", err)
	}
	bs.must("POST", "/account/lock", "")
	for range events { // ends with the lock
	}
}

func TestRemoteEventsEndWithTheDaemon(t *testing.T) {
	s := account(t, newNet(), "alice")
	r := s.dial()
	events := r.Events(t.Context())
	s.stop()
	for range events {
	}
	if _, open := <-r.Events(t.Context()); open {
		t.Error("events from a daemon that has stopped")
	}
}

func TestDialRefusals(t *testing.T) {
	s := account(t, newNet(), "alice")
	good := s.Endpoint()
	dial := func(e api.Endpoint) error {
		dir := t.TempDir()
		if err := api.WriteEndpointFile(dir, e); err != nil {
			t.Fatal(err)
		}
		r, err := api.Dial(t.Context(), dir)
		if err == nil {
			r.Close()
		}
		return err
	}
	wrong, foreign, named := good, good, good
	wrong.Token = strings.Repeat("A", len(good.Token))
	foreign.URL = "http://192.0.2.1:80/"
	named.URL = "https://" + s.host + "/"
	for name, e := range map[string]api.Endpoint{"wrong token": wrong, "foreign": foreign, "https": named, "empty": {}} {
		if err := dial(e); !errors.Is(err, api.ErrNoDaemon) {
			t.Errorf("%s: %v, want ErrNoDaemon", name, err)
		}
	}
	s.must("POST", "/account/lock", "")
	var told *api.Error
	if err := dial(good); !errors.As(err, &told) || told.Code != api.CodeLocked {
		t.Errorf("locked: %v", err)
	}
	s.stop()
	if err := dial(good); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("stopped: %v, want ErrNoDaemon", err)
	}
	if _, err := api.Dial(t.Context(), t.TempDir()); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("no file: %v, want ErrNoDaemon", err)
	}
}

// TestDialTrustsNoImpostor lets another program have the port of a daemon that
// was killed: it answers everything, and is told nothing.
func TestDialTrustsNoImpostor(t *testing.T) {
	told := make(chan string, 16)
	impostor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("Authorization")
		_, _ = io.WriteString(w, `{"id":"sotto1","name":"alice","proof":"AAAA"}`)
	}))
	defer impostor.Close()
	dir := t.TempDir()
	secret := strings.Repeat("A", 43)
	if err := api.WriteEndpointFile(dir, api.Endpoint{URL: impostor.URL + "/", Token: secret}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Dial(t.Context(), dir); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("dialled an impostor: %v", err)
	}
	close(told)
	for s := range told {
		if s != "" {
			t.Errorf("an impostor was sent %q", s)
		}
	}
}

func TestEndpointFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, api.EndpointFile)
	mine := api.Endpoint{URL: "http://127.0.0.1:1/", Token: "secret", PID: 7}
	if err := api.WriteEndpointFile(dir, mine); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if got, err := api.ReadEndpointFile(dir); err != nil || got != mine {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := api.RemoveEndpointFile(dir, api.Endpoint{PID: 8}); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ReadEndpointFile(dir); !errors.Is(err, api.ErrEndpointMode) {
		t.Errorf("open to others: %v, want ErrEndpointMode", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := api.RemoveEndpointFile(dir, mine); err != nil {
		t.Error(err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}
