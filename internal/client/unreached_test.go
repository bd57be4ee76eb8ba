package client

import (
	"testing"

	"sotto/internal/circuit"
)

// What the circuits say of the connection is what a person reads, also if it was
// said before there was anybody to hear it; while mailboxes are read through
// what stands, it is no matter.
func TestConnectionSaysThatNoEntryNodeAnswers(t *testing.T) {
	const silent = "No entry node answers. Is this computer online?"
	n := &notifier{}
	cfg := NetworkConfig{Notify: n.notify, Unreached: n.unreached}
	cfg.pass(circuit.Event{Kind: circuit.EventOffline, Text: silent})
	c := &Client{kickContacts: newSignal(), kickCards: newSignal(), kickPrepare: newSignal(), kickDelete: newSignal(), kickDoor: newSignal(), kickOutbox: newSignal()}
	n.to(c)

	is := func(when, state, text string) {
		t.Helper()
		if got := c.Connection(); got.State != state || got.Text != text {
			t.Errorf("%s: %q, %q", when, got.State, got.Text)
		}
	}
	is("told before it began", ConnectionOffline, silent)
	cfg.pass(circuit.Event{Kind: circuit.EventBuilt, Text: "A path is ready."})
	is("after another event", ConnectionOffline, silent)
	cfg.pass(circuit.Event{Kind: circuit.EventOnline, Text: "The network answers again."})
	is("answered", ConnectionConnecting, textConnecting)

	c.standing(1)
	cfg.pass(circuit.Event{Kind: circuit.EventOffline, Text: silent})
	is("with a subscription", ConnectionOnline, textOnline)
	c.standing(-1)
	is("without one", ConnectionOffline, silent)
	c.standing(1)
	c.standing(-1)
	is("after one stood again", ConnectionConnecting, textConnecting)
}
