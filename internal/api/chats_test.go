package api_test

import (
	"fmt"
	"testing"

	"sotto/internal/api"
)

func TestConversation(t *testing.T) {
	net := newNet()
	alice, bob := account(t, net, "alice"), account(t, net, "bob")
	toBob, toAlice := "/chats/"+bob.client().ID(), "/chats/"+alice.client().ID()

	sent := alice.must("POST", toBob+"/messages", `{"text":"Hello"}`)
	if sent.str("state") != "queued" || sent.str("id") == "" {
		t.Fatalf("sent: %s", sent.raw)
	}
	state := func() string { return alice.must("GET", "/messages/"+sent.str("id"), "").str("state") }
	if got := state(); got != "stored" {
		t.Errorf("to a stranger: state %q, want stored", got)
	}
	if n := len(bob.must("GET", "/chats", "").list("chats")); n != 0 {
		t.Errorf("a stranger is among %d chats", n)
	}
	if n := len(bob.must("GET", "/requests", "").list("requests")); n != 1 {
		t.Fatalf("%d requests, want 1", n)
	}
	bob.must("POST", "/requests/"+alice.client().ID()+"/accept", "")
	if got := state(); got != "delivered" {
		t.Errorf("accepted: state %q, want delivered", got)
	}
	bob.must("POST", toAlice+"/read", "")
	if got := state(); got != "read" {
		t.Errorf("seen: state %q, want read", got)
	}
	bob.must("PATCH", toAlice, `{"name":"Al"}`)
	chat := bob.must("GET", "/chats", "").list("chats")[0].(map[string]any)
	if chat["name"] != "Al" || chat["unread"] != 0.0 || chat["last"].(map[string]any)["text"] != "Hello" {
		t.Errorf("chat %v", chat)
	}

	bob.must("POST", toAlice+"/block", "")
	if status, a := bob.call("POST", toAlice+"/messages", `{"text":"Hi"}`); status != 409 || a.code() != api.CodeBlocked {
		t.Errorf("to a blocked contact: %d %s", status, a.raw)
	}
	bob.must("POST", toAlice+"/unblock", "")
	bob.must("POST", toAlice+"/messages", `{"text":"Hi"}`)
	if n := len(alice.must("POST", "/take", "").list("messages")); n != 1 {
		t.Errorf("took %d messages, want 1", n)
	}
	if n := len(alice.must("POST", "/take", "").list("messages")); n != 0 {
		t.Errorf("took %d messages again", n)
	}
}

func TestSendRefusals(t *testing.T) {
	net := newNet()
	alice, bob := account(t, net, "alice"), account(t, net, "bob")
	toBob := "/chats/" + bob.client().ID() + "/messages"
	for _, test := range []struct {
		path, text string
		status     int
		code       api.Code
	}{
		{toBob, "", 400, api.CodeText},
		{toBob, fmt.Sprintf("%020000d", 0), 400, api.CodeTextTooLong},
		{"/chats/" + alice.client().ID() + "/messages", "me", 400, api.CodeSelf},
		{"/chats/sotto1qqqq/messages", "x", 400, api.CodeID},
	} {
		if status, a := alice.call("POST", test.path, `{"text":"`+test.text+`"}`); status != test.status || a.code() != test.code {
			t.Errorf("%.20q to %.20s: %d %s", test.text, test.path, status, a.code())
		}
	}
}

func TestRetry(t *testing.T) {
	net := newNet()
	alice, bob := account(t, net, "alice"), account(t, net, "bob")
	id := alice.must("POST", "/chats/"+bob.client().ID()+"/messages", `{"text":"fail:nobody answers|Hi"}`).str("id")
	if a := alice.must("GET", "/messages/"+id, ""); a.str("state") != "failed" || a.str("reason") != "nobody answers" {
		t.Fatalf("failed message: %s", a.raw)
	}
	alice.must("POST", "/messages/"+id+"/retry", "")
	if status, a := alice.call("POST", "/messages/"+id+"/retry", ""); status != 409 || a.code() != api.CodeNotFailed {
		t.Errorf("retried twice: %d %s", status, a.raw)
	}
	if status, a := alice.call("POST", "/messages/00/retry", ""); status != 404 || a.code() != api.CodeUnknown {
		t.Errorf("retry of nothing: %d %s", status, a.raw)
	}
}

func TestPages(t *testing.T) {
	const total = 123
	net := newNet()
	alice, bob := account(t, net, "alice"), account(t, net, "bob")
	for i := range total {
		if _, err := alice.client().Send(t.Context(), bob.client().ID(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	path := "/chats/" + bob.client().ID() + "/messages?limit=50&before="
	next, before := total, ""
	for more := true; more; {
		a := alice.must("GET", path+before, "")
		list := a.list("messages")
		for i := len(list) - 1; i >= 0; i-- {
			next--
			if m := list[i].(map[string]any); m["text"] != fmt.Sprint(next) {
				t.Fatalf("message %v where %d should be", m["text"], next)
			}
		}
		before = list[0].(map[string]any)["id"].(string)
		more, _ = a.json["more"].(bool)
	}
	if next != 0 {
		t.Errorf("paging ended %d messages early", next)
	}
}

func TestNetwork(t *testing.T) {
	s := account(t, newNet(), "alice")
	if a := s.must("GET", "/connection", ""); a.str("state") != "online" || a.str("text") == "" {
		t.Errorf("connection %s", a.raw)
	}
	first := s.must("GET", "/paths", "").list("paths")[0].(map[string]any)
	for _, hop := range []string{"guard", "middle", "exit"} {
		if h, _ := first[hop].(map[string]any); h["operator"] == "" || h["id"] == "" {
			t.Errorf("%s: %v", hop, h)
		}
	}
	if first["rtt_ms"] != 81.0 {
		t.Errorf("rtt_ms %v", first["rtt_ms"])
	}
	fault := s.must("GET", "/members", "").list("faults")[0].(map[string]any)
	if node, _ := fault["node"].(map[string]any); node["operator"] == "" || fault["count"] != 1.0 {
		t.Errorf("fault of a member: %v", fault)
	}
	fork := s.must("GET", "/forks", "").list("forks")[0].(map[string]any)
	if kept, _ := fork["kept"].(map[string]any); fork["serial"] != 7.0 || kept["nodes"] != 15.0 || fork["proof"] != "cHJvb2Y=" {
		t.Errorf("fork of the directory: %v", fork)
	}
	s.must("POST", "/forks/forget", "")
	if left := s.must("GET", "/forks", "").list("forks"); len(left) != 0 {
		t.Errorf("%d forks after they were forgotten", len(left))
	}
	s.must("POST", "/paths/renew", "")
	if again := s.must("GET", "/paths", "").list("paths")[0].(map[string]any); again["id"] == first["id"] {
		t.Error("the path was not renewed")
	}
	s.must("POST", "/sync", "")
	s.must("POST", "/flush", "")
}
