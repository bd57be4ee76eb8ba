package swarm

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	crand "crypto/rand"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// slowDialer fails once, and from then on says nothing until an attempt ends.
type slowDialer struct{ attempts int }

func (d *slowDialer) OpenStream(ctx context.Context, _ identity.NodeID) (io.ReadWriteCloser, error) {
	if d.attempts++; d.attempts == 1 {
		return nil, errAway
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestNothingGathersForAMemberThatIsAway calls a member that does not answer
// attempts to reach it: what waited for one of them would fail all at once.
func TestNothingGathersForAMemberThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialer := new(slowDialer)
		s := &Swarm{cfg: Config{Peers: dialer, Identity: must(suite.NewSigningKey(crand.Reader))}.withDefaults()}
		p := newPeer(s, identity.NodeID{1}, true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx) }()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			failed := false
			p.send(&call{op: opPut, done: func(_ []byte, err error) { failed = errors.Is(err, errPeerAway) }})
			if !failed {
				t.Fatal("a call waits for an attempt to reach the member")
			}
		}
		cancel()
		<-done
		if dialer.attempts < 2 {
			t.Error("the member was not tried again")
		}
	})
}

// TestHintsOutliveTheClosing stops a coordinator while hints gather.
func TestHintsOutliveTheClosing(t *testing.T) {
	w := newWorld(t, 5)
	n, away, b := w.nodes[0], w.nodes[4], newBox(w)
	c := w.client(n)
	c.open(b, 1<<20)
	away.stop()
	var sent []mailbox.Digest
	for range 2 * hintBatch {
		sent = append(sent, c.send(b, randomEnvelope(4096)))
	}
	n.stop()
	n.start()
	for _, d := range sent {
		if !n.holds(away, store.KindEnvelope, b.Address(), d) {
			t.Fatal("a hint is lost")
		}
	}
}
