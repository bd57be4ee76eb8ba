package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/simnet"
)

// simulated runs f with a world of two nodes in virtual time.
func simulated(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 20 * time.Millisecond})
		defer sim.Close()
		f(t, newWorld(t, 2, sim))
	})
}

// visit dials, lets a ticket arrive, hangs up, and says what was negotiated.
func visit(t *testing.T, e *Endpoint, node directory.Node) tls.ConnectionState {
	t.Helper()
	l, err := e.Dial(context.Background(), node)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	state := l.conn.ConnectionState().TLS
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestSecondVisitResumes(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		client := w.client()
		a, _ := w.node(0)
		defer closeAll(t, a, b, client)
		for name, from := range map[string]*Endpoint{"client": client, "node": a} {
			if visit(t, from, node).DidResume {
				t.Fatalf("%s: first visit resumed", name)
			}
			for range 3 {
				s := visit(t, from, node)
				if !s.DidResume {
					t.Errorf("%s: later visit did not resume", name)
				}
				if s.CurveID != tls.X25519MLKEM768 {
					t.Errorf("%s: resumed with key exchange %v", name, s.CurveID)
				}
				if id, err := certifiedNode(s.PeerCertificates); err != nil || id != node.ID {
					t.Errorf("%s: resumed with %v, %v", name, id, err)
				}
			}
		}
		if peer, ok := (<-b.acceptLinks).Peer(); ok && peer != w.nodes[0].Node.ID {
			t.Error("the first accepted link has the wrong peer")
		}
	})
}

// A resumed link of a node is known as that node's, and its service connection
// resumes as well.
func TestResumedNodeIsKnown(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		a, _ := w.node(0)
		b, node := w.node(1)
		defer closeAll(t, a, b)
		for i := range 2 {
			visit(t, a, node)
			if peer, ok := (<-b.acceptLinks).Peer(); !ok || peer != w.nodes[0].Node.ID {
				t.Fatalf("visit %d: peer is %v, %v", i, peer, ok)
			}
			s, err := a.dialService(context.Background(), node)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			if resumed := s.conn.ConnectionState().TLS.DidResume; resumed != (i == 1) {
				t.Errorf("service connection %d: resumed: %v", i, resumed)
			}
			if in := <-b.acceptServices; in.Peer() != w.nodes[0].Node.ID {
				t.Fatalf("service connection %d: wrong peer", i)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Everything that must keep two visits apart does.
func TestNoTicketIsUsed(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		defer closeAll(t, b)
		for name, between := range map[string]func(*Endpoint) *Endpoint{
			"after it expired": func(e *Endpoint) *Endpoint {
				time.Sleep(ticketLife)
				return e
			},
			"after sessions were forgotten": func(e *Endpoint) *Endpoint {
				e.ForgetSessions()
				return e
			},
			"by another endpoint": func(e *Endpoint) *Endpoint {
				closeAll(t, e)
				return w.client()
			},
			"after a failed attempt": func(e *Endpoint) *Endpoint {
				w.sim.SetDown(node.Addr.Addr(), true)
				if _, err := e.Dial(context.Background(), node); err == nil {
					t.Fatal("linked to a dead node")
				}
				w.sim.SetDown(node.Addr.Addr(), false)
				return e
			},
		} {
			e := w.client()
			visit(t, e, node)
			e = between(e)
			if visit(t, e, node).DidResume {
				t.Errorf("a ticket was used %s", name)
			}
			closeAll(t, e)
		}
	})
}

// A ticket that is still under way when sessions are forgotten is not kept.
func TestLateTicketIsForgotten(t *testing.T) {
	kept := newTickets(time.Now)
	late := kept.forDial(identity.NodeID{1}, ProtocolCells, netip.Addr{})
	kept.forget()
	late.Put("", &tls.ClientSessionState{})
	if len(kept.kept) != 0 {
		t.Fatal("a ticket of an earlier round was kept")
	}
	next := kept.forDial(identity.NodeID{1}, ProtocolCells, netip.Addr{})
	next.Put("", &tls.ClientSessionState{})
	for name, other := range map[string]tls.ClientSessionCache{
		"node":     kept.forDial(identity.NodeID{2}, ProtocolCells, netip.Addr{}),
		"protocol": kept.forDial(identity.NodeID{1}, ProtocolService, netip.Addr{}),
	} {
		if _, ok := other.Get(""); ok {
			t.Errorf("the ticket of another %s was handed out", name)
		}
	}
	if _, ok := next.Get(""); !ok {
		t.Error("the ticket was not handed out")
	}
	if _, ok := next.Get(""); ok {
		t.Error("the ticket was handed out twice")
	}
}

// A clock that was set back makes tickets useless, not eternal.
func TestTicketsOfTheFuture(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	kept := newTickets(func() time.Time { return now })
	d := kept.forDial(identity.NodeID{1}, ProtocolCells, netip.Addr{})
	d.Put("", &tls.ClientSessionState{})
	now = now.Add(-time.Hour)
	if _, ok := d.Get(""); ok {
		t.Error("a ticket of the future was handed out")
	}
}

// The listener's keys open a ticket for ticketLife at least and twice that at
// most, and what they cannot open leads to a full handshake.
func TestTicketKeysRotate(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		// The client's clock stands still, so that it keeps its ticket.
		frozen := time.Now()
		a.tickets.now = func() time.Time { return frozen }
		start := time.Now()
		b.ticketKeys.current()
		for _, at := range []struct {
			after   time.Duration
			resumes bool
		}{
			{0, false}, {ticketLife - time.Second, true}, // sealed by the first key
			{2*ticketLife - 2*time.Second, true}, // opened by it, as the second one
			{4 * ticketLife, false},
		} {
			time.Sleep(time.Until(start.Add(at.after)))
			if s := visit(t, a, node); s.DidResume != at.resumes {
				t.Errorf("after %v: resumed: %v", at.after, s.DidResume)
			}
		}
		// Another process of the same node knows no key of before.
		b.ticketKeys = newTicketKeys(time.Now)
		closeAll(t, b)
		b, node = w.node(1)
		if visit(t, a, node).DidResume {
			t.Error("a restarted node resumed a session")
		}
		if s, err := b.ticketKeys.unwrap([]byte("no ticket"), tls.ConnectionState{}); s != nil || err != nil {
			t.Errorf("rubbish opened: %v, %v", s, err)
		}
	})
}

// changing is a directory that a test replaces.
type changing struct{ *directory.Directory }

func (c *changing) Current() *directory.Directory { return c.Directory }
func (c *changing) Past() []*directory.Directory  { return nil }
func (c *changing) Changed() <-chan struct{}      { return nil }

// A node that the directory lists no longer is refused though its ticket opens.
func TestRemovedNodeCannotResume(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		a, _ := w.node(0)
		dir := &changing{w.dir.Current()}
		w.dir = dir
		b, node := w.node(1)
		defer closeAll(t, a, b)
		visit(t, a, node)
		if !visit(t, a, node).DidResume {
			t.Fatal("a listed node does not resume")
		}
		dir.Directory = newWorldOf(t, 1, 77).dir.Current()
		l, err := a.Dial(context.Background(), node)
		if err == nil {
			<-l.Done()
			err = context.Cause(l.conn.Context())
		}
		var refused *quic.TransportError
		if !errors.As(err, &refused) || !refused.Remote || !refused.ErrorCode.IsCryptoError() {
			t.Fatalf("got %v, want a TLS alert", err)
		}
	})
}

// The dialler refuses a session that is not the wanted node's.
func TestTicketOfAnotherNode(t *testing.T) {
	simulated(t, func(t *testing.T, w *world) {
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		visit(t, a, node)
		wrong := node
		wrong.ID = w.nodes[0].Node.ID
		a.tickets.kept[ticketFor{wrong.ID, ProtocolCells, netip.Addr{}}] = a.tickets.kept[ticketFor{node.ID, ProtocolCells, netip.Addr{}}]
		if _, err := a.Dial(context.Background(), wrong); !errors.Is(err, ErrIdentity) {
			t.Fatalf("got %v, want ErrIdentity", err)
		}
	})
}
