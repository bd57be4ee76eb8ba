package api_test

import (
	"net/http"
	"strings"
	"testing"

	"sotto/internal/api"
	"sotto/internal/client"
)

func TestAccount(t *testing.T) {
	net := newNet()
	s := serve(t, net.App())
	if a := s.must("GET", "/status", ""); a.str("state") != string(client.StateEmpty) || a.str("version") != "v1" {
		t.Errorf("status %s", a.raw)
	}
	if status, a := s.call("GET", "/me", ""); status != http.StatusConflict || a.code() != api.CodeState {
		t.Errorf("me without an account: %d %s", status, a.raw)
	}
	if status, a := s.call("POST", "/account/create", `{"name":"alice","passphrase":"short"}`); status != 400 || a.code() != api.CodeNewPass {
		t.Errorf("short passphrase: %d %s", status, a.raw)
	}
	phrase := s.must("POST", "/account/create", `{"name":"alice","passphrase":"`+passphrase+`"}`).str("phrase")
	if n := len(strings.Fields(phrase)); n != 24 {
		t.Fatalf("phrase of %d words", n)
	}
	id := s.must("GET", "/me", "").str("id")
	if status, a := s.call("POST", "/account/create", `{"name":"alice","passphrase":"`+passphrase+`"}`); status != 409 || a.code() != api.CodeState {
		t.Errorf("second account: %d %s", status, a.raw)
	}
	if a := s.must("PATCH", "/me", `{"name":"Alice B."}`); a.str("name") != "Alice B." {
		t.Errorf("renamed: %s", a.raw)
	}

	s.must("POST", "/account/lock", "")
	if status, a := s.call("GET", "/chats", ""); status != 409 || a.code() != api.CodeLocked {
		t.Errorf("chats while locked: %d %s", status, a.raw)
	}
	if status, a := s.call("POST", "/account/unlock", `{"passphrase":"wrong"}`); status != 403 || a.code() != api.CodePassphrase {
		t.Errorf("wrong passphrase: %d %s", status, a.raw)
	}
	s.must("POST", "/account/unlock", `{"passphrase":"`+passphrase+`"}`)

	other := serve(t, net.App())
	words := strings.Fields(phrase)
	words[6] = "sottoo"
	status, a := other.call("POST", "/account/restore", `{"phrase":"`+strings.Join(words, " ")+`","name":"a","passphrase":"`+passphrase+`"}`)
	if status != 400 || a.code() != api.CodePhrase || !strings.Contains(a.raw, "word 7") {
		t.Errorf("wrong word: %d %s", status, a.raw)
	}
	other.must("POST", "/account/restore", `{"phrase":"`+phrase+`","name":"a","passphrase":"`+passphrase+`"}`)
	if got := other.must("GET", "/me", "").str("id"); got != id {
		t.Errorf("restored as %s, not %s", got, id)
	}
}

func TestCheckID(t *testing.T) {
	net := newNet()
	s, other := account(t, net, "alice"), account(t, net, "bob")
	own, id := s.client().ID(), other.client().ID()
	for text, want := range map[string]string{
		id:                   `{"valid":true,"id":"` + id + `"}`,
		strings.ToUpper(id):  `{"valid":true,"id":"` + id + `"}`,
		own:                  `{"valid":true,"id":"` + own + `","self":true}`,
		id[:len(id)-1] + "b": `{"valid":false,"problem":"This is not a valid account ID: it`,
		"bob":                `{"valid":false,"problem":"This is not a valid account ID: it does not begin`,
	} {
		if a := s.must("POST", "/ids/check", `{"id":"`+text+`"}`); !strings.HasPrefix(a.raw, want) {
			t.Errorf("check of %q: %s, want %s", text, a.raw, want)
		}
	}
}
