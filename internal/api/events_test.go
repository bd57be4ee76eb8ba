package api_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"sotto/internal/api"
	"sotto/internal/client"
)

// stream reads an event stream.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
}

func (s *server) stream() *stream {
	s.t.Helper()
	a, err := s.http.Do(s.request("GET", "/api/v1/events", ""))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = a.Body.Close() })
	if kind := a.Header.Get("Content-Type"); a.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		s.t.Fatalf("status %d, type %q", a.StatusCode, kind)
	}
	return &stream{s.t, bufio.NewScanner(a.Body)}
}

func (s *stream) next() api.Event {
	s.t.Helper()
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				s.t.Fatal(err)
			}
			return e
		}
	}
	s.t.Fatal("the stream has ended")
	return api.Event{}
}

func (s *stream) wantState(want client.State) {
	s.t.Helper()
	if e := s.next(); e.Type != api.EventStatus || e.State != want {
		s.t.Fatalf("event %+v, want the state %s", e, want)
	}
}

func TestEvents(t *testing.T) {
	net := newNet()
	alice, bob := account(t, net, "alice"), account(t, net, "bob")
	stream := alice.stream()
	stream.wantState(client.StateReady)
	alice.must("POST", "/chats/"+bob.client().ID()+"/messages", `{"text":"Hello"}`)
	if e := stream.next(); e.Type != client.EventMessage || e.Message.Text != "Hello" {
		t.Errorf("event %+v, want the message", e)
	}
	for _, want := range []string{"sending", "stored"} {
		if e := stream.next(); e.Type != client.EventState || e.Message.State != want {
			t.Errorf("event %+v, want %s", e, want)
		}
	}
	alice.client().SetOffline(true)
	if e := stream.next(); e.Type != client.EventConnection || e.Connection.State != client.ConnectionOffline {
		t.Errorf("event %+v, want offline", e)
	}
}

func TestEventsOutliveLocking(t *testing.T) {
	s := serve(t, newNet().App())
	stream := s.stream()
	stream.wantState(client.StateEmpty)
	s.must("POST", "/account/create", `{"name":"alice","passphrase":"`+passphrase+`"}`)
	stream.wantState(client.StateReady)
	s.must("POST", "/account/lock", "")
	stream.wantState(client.StateLocked)
	s.must("POST", "/account/unlock", `{"passphrase":"`+passphrase+`"}`)
	stream.wantState(client.StateReady)
	s.must("POST", "/paths/renew", "")
	if e := stream.next(); e.Type != client.EventPath {
		t.Errorf("event %+v after unlocking, want the path", e)
	}
}

func TestEventsAreBounded(t *testing.T) {
	const maxStreams = 32 // limits.go
	s := account(t, newNet(), "alice")
	for range maxStreams {
		s.stream().wantState(client.StateReady)
	}
	if status, a := s.call("GET", "/events", ""); status != http.StatusServiceUnavailable || a.code() != api.CodeBusy {
		t.Errorf("one more: %d %s", status, a.raw)
	}
}

func TestStopEndsStreams(t *testing.T) {
	s := account(t, newNet(), "alice")
	stream := s.stream()
	stream.wantState(client.StateReady)
	s.stop()
	for stream.lines.Scan() { // what was under way, and the end
		if stream.lines.Text() != "" {
			t.Errorf("the stream goes on: %s", stream.lines.Text())
		}
	}
	if _, err := s.http.Do(s.request("GET", "/api/v1/status", "")); err == nil {
		t.Error("the server still answers")
	}
}
