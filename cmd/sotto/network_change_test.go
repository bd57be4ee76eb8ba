package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/node"
)

// TestNoChangeWhileMailboxesMove asks nodes of this machine, as their pages
// tell, before the next directory is signed.
func TestNoChangeWhileMailboxesMove(t *testing.T) {
	const done = "sotto_swarm_moving_counted 1\nsotto_directory_serial 3\n"
	for name, tc := range map[string]struct {
		page    string
		refused string
	}{
		"done":               {done, ""},
		"newer":              {"sotto_swarm_moving_counted 1\nsotto_directory_serial 4\n", ""},
		"yet to get":         {done + "sotto_swarm_moving_sources 2\n", "2 nodes left to ask"},
		"yet to hand over":   {done + "sotto_swarm_moving_mailboxes 1\n", "1 mailboxes"},
		"not counted yet":    {"sotto_directory_serial 3\n", "not known yet"},
		"one directory late": {"sotto_swarm_moving_counted 1\nsotto_directory_serial 2\n", "has serial 2"},
	} {
		t.Run(name, func(t *testing.T) {
			pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Sotto-Run", "this")
				_, _ = io.WriteString(w, tc.page)
			}))
			defer pages.Close()
			dir := t.TempDir()
			run, err := json.Marshal(node.RunInfo{PID: 1, Run: "this", Metrics: pages.Listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			if err := node.ReplaceFile(filepath.Join(dir, "run.json"), run); err != nil {
				t.Fatal(err)
			}
			id := identity.NodeID{1}
			n := &directory.Network{Processes: map[identity.NodeID]directory.Process{id: {Dir: dir}}}
			n.Document.Serial, n.Document.Nodes = 3, []directory.Node{{ID: id}, {ID: identity.NodeID{2}}}
			err = settled(t.Context(), n)
			if tc.refused == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var moving *errMoving
			if !errors.As(err, &moving) || !strings.Contains(err.Error(), tc.refused) || !strings.Contains(err.Error(), "sotto node status") {
				t.Errorf("got %v", err)
			}
		})
	}
	// A node that does not run tells nothing.
	id := identity.NodeID{1}
	n := &directory.Network{Processes: map[identity.NodeID]directory.Process{id: {Dir: t.TempDir()}}}
	n.Document.Nodes = []directory.Node{{ID: id}}
	if err := settled(t.Context(), n); err != nil {
		t.Error(err)
	}
}
