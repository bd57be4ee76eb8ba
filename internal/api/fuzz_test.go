package api

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
)

// FuzzAPIJSON gives any body to the parser of every request. What is accepted
// must survive being written and read again.
func FuzzAPIJSON(f *testing.F) {
	for _, seed := range []string{
		`{"name":"alice","passphrase":"correct horse"}`,
		`{"phrase":"abandon abandon","name":"alice","passphrase":"correct horse"}`,
		`{"passphrase":"x"}`, `{"name":"é"}`, `{"text":"a\nb"}`, `{"id":"sotto1q"}`,
		`{}`, `{"a":1}`, `[]`, `null`, `{"text":"\ud800"}`, `{"text":"x"}{}`, ` {"text":""} `, "{\"text\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{&createBody{}, &restoreBody{}, &unlockBody{}, &nameBody{}, &textBody{}, &idBody{}} {
			if decode(b, v) != nil {
				continue
			}
			again, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("accepted %q as %T but cannot write it: %v", b, v, err)
			}
			if err := decode(again, v); err != nil {
				t.Fatalf("wrote %q but refuse it: %v", again, err)
			}
		}
	})
}

// FuzzRoute gives any path to the table of endpoints.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{"/api/v1/me", "/api/v1/chats/x/read", "/api/v1/chats//read", "/api//v1/me", "/api/v1/../v1/me"} {
		f.Add(seed)
	}
	t := newTable()
	t.add("GET /me", nil)
	t.add("POST /chats/{peer}/read", nil)
	f.Fuzz(func(_ *testing.T, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		t.find(r)
	})
}
