package relay

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/simnet"
)

// record keeps what is logged.
type record struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// Whatever a client does and however it is refused, no line of a relay's log, at
// any level, and no figure of its metrics tells its address, its circuits'
// numbers, a node that it goes by or one that it asks for.
func TestRelaysKeepSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: linkLatency})
		defer sim.Close()
		var log record
		limits := Limits{MaxTargetStreams: 2, MaxClientCircuits: 8, MaxClientLinks: 4}
		w := newLoggedNetwork(t, 4, sim, limits, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		hosts := []netip.Addr{netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("198.51.100.9")}
		w.misbehave(hosts)
		time.Sleep(time.Minute)
		w.close()

		text := log.String()
		for _, n := range w.nodes {
			families, err := n.registry.Gather()
			check(t, err)
			for _, f := range families {
				text += fmt.Sprintln(f)
			}
		}
		if !strings.Contains(text, "circuit ended") || !strings.Contains(text, "handshakes_total") {
			t.Fatal("neither log nor metrics were kept: the search would find nothing")
		}
		secrets := map[string]string{
			"the network of a client's address":  "203.0.113",
			"the network of the other's address": "198.51.100",
		}
		for i, n := range w.nodes {
			secrets[fmt.Sprintf("node %d's ID", i)] = n.ID.String()[:12]
			secrets[fmt.Sprintf("node %d's ID in hex", i)] = hex.EncodeToString(n.ID[:6])
			secrets[fmt.Sprintf("node %d's ID in base64", i)] = base64.StdEncoding.EncodeToString(n.ID[:6])
			secrets[fmt.Sprintf("node %d's address", i)] = n.Addr.Addr().String()
			secrets[fmt.Sprintf("node %d's operator", i)] = n.Operator
		}
		for what, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("log or metrics hold %s", what)
			}
		}
	})
}

// misbehave does all that clients may and may not do.
func (w *network) misbehave(hosts []netip.Addr) {
	w.t.Helper()
	guard, middle, exit, target := w.nodes[0], w.nodes[1], w.nodes[2], w.nodes[3]
	var cutOff atomic.Bool
	exit.exit.dial = func(_ context.Context, node identity.NodeID) error {
		if cutOff.Load() {
			return errors.New("no way to " + node.String())
		}
		return nil
	}
	through := func(do func(*client)) {
		c := w.dialFrom(hosts[0], guard)
		c.create(guard)
		c.done.Go(c.read)
		c.extend(middle)
		c.extend(exit)
		do(c)
		time.Sleep(10 * linkLatency)
		c.close()
	}
	through(func(c *client) { bulk(w.t, c, 1, target.ID, 100_000) })
	through(func(c *client) {
		cutOff.Store(true)
		c.send(onion.Begin(1, target.ID), onion.Begin(2, identity.NodeID{1}), onion.Begin(3, middle.ID))
		time.Sleep(10 * linkLatency)
		cutOff.Store(false)
	})
	through(func(c *client) {
		for id := range uint16(4) {
			c.send(onion.Begin(id+1, target.ID)) // more than the target's places
		}
	})
	through(func(c *client) { c.send(onion.Sendme(onion.Tag{1})) })
	through(func(c *client) { _ = c.trySendAs(onion.CmdRelayEarly, 2, w.extension(target)) })
	for _, to := range []identity.NodeID{guard.ID, {9}} {
		c := w.dialFrom(hosts[0], guard)
		c.create(guard)
		c.done.Go(c.read)
		c.sendExtend(onion.Extend(to, make([]byte, onion.HandshakeSize)))
		for range c.events {
		}
		c.close()
	}
	wrong := [][]byte{make([]byte, onion.HandshakeSize), offered(w.t, middle, 0), offered(w.t, middle, 4)}
	for _, create := range wrong {
		c := w.dialFrom(hosts[0], guard)
		check(w.t, writeHandshake(c.ch, onion.CmdCreate, create))
		_, _ = readHandshake(c.ch, onion.CmdCreated)
		c.close()
	}
	w.crowdIn(hosts)
}

// crowdIn floods one link until it is closed, comes back, and takes more links
// than there are.
func (w *network) crowdIn(hosts []netip.Addr) {
	w.t.Helper()
	guard := w.nodes[0]
	c := w.dialFrom(hosts[0], guard)
	create := offered(w.t, guard, 0)
	l, err := c.endpoint.Get(context.Background(), guard.Node)
	check(w.t, err)
	for {
		ch, err := l.Open(context.Background())
		if err != nil {
			break
		}
		if writeHandshake(ch, onion.CmdCreate, create) != nil && !alive(l) {
			break
		}
	}
	check(w.t, c.endpoint.Close())
	if w.answers(guard, hosts[0]) {
		w.t.Error("whoever flooded comes back at once")
	}
	var crowd []*client
	for range 6 {
		c := w.dialFrom(hosts[1], guard)
		_ = writeHandshake(c.ch, onion.CmdCreate, create)
		_, _ = readHandshake(c.ch, onion.CmdCreated)
		crowd = append(crowd, c)
	}
	for _, c := range crowd {
		check(w.t, c.endpoint.Close())
	}
}

func alive(l interface{ Done() <-chan struct{} }) bool {
	select {
	case <-l.Done():
		return false
	default:
		return true
	}
}
