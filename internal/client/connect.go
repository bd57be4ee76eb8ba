package client

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"

	"sotto/internal/circuit"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/padding"
)

// circuits is the Network of circuits through links.
type circuits struct {
	endpoint *link.Endpoint
	manager  *circuit.Manager
}

// connectCircuits opens an endpoint and begins to build circuits.
func (a *App) connectCircuits(cfg NetworkConfig) (Network, error) {
	endpoint, err := a.openEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	manager, err := circuit.NewManager(circuit.Config{
		Directory: cfg.Directory, Endpoint: endpoint, State: cfg.Guards, Now: a.cfg.Now, Rand: a.cfg.Rand, Logger: a.cfg.Logger,
		OnEvent: cfg.pass,
	})
	if err != nil {
		return nil, errors.Join(err, endpoint.Close())
	}
	return &circuits{endpoint, manager}, nil
}

// pass passes an event on.
func (cfg *NetworkConfig) pass(e circuit.Event) {
	switch e.Kind {
	case circuit.EventOffline:
		cfg.Unreached(e.Text)
	case circuit.EventOnline:
		cfg.Unreached("")
	}
	cfg.Notify(e.Text)
}

// openEndpoint opens the profile's endpoint: on the socket that it is given, or
// else one that opens its own and follows the computer between networks.
func (a *App) openEndpoint(cfg NetworkConfig) (*link.Endpoint, error) {
	c := link.Config{Directory: cfg.Directory, Logger: a.cfg.Logger, Now: a.cfg.Now}
	if a.cfg.PacketConn == nil {
		c.Sockets = link.OpenSocket
		return link.NewEndpoint(nil, c)
	}
	pc, err := a.cfg.PacketConn()
	if err != nil {
		return nil, err
	}
	endpoint, err := link.NewEndpoint(pc, c)
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	return endpoint, nil
}

// OpenStream implements Network.
func (n *circuits) OpenStream(ctx context.Context, iso circuit.Isolation, avoid []circuit.Isolation, node identity.NodeID) (Stream, error) {
	s, err := n.manager.OpenStream(ctx, iso, node, circuit.AvoidExitOf(avoid...))
	if err != nil {
		return nil, err // and no interface around a nil stream
	}
	return s, nil
}

// Paths implements Network.
func (n *circuits) Paths() []Path {
	infos := n.manager.Paths()
	out := make([]Path, 0, len(infos))
	for _, p := range infos {
		purpose := "ready"
		if p.State == circuit.PathInUse || p.State == circuit.PathRetiring {
			purpose = p.Isolation.Purpose.String()
		}
		out = append(out, Path{
			ID: strconv.FormatUint(p.ID, 10), Purpose: purpose, State: string(p.State),
			Guard: hopOf(p.Guard), Middle: hopOf(p.Middle), Exit: hopOf(p.Exit),
			BuiltAt: p.BuiltAt, RTT: p.RTT, Streams: p.Streams,
		})
	}
	return out
}

func hopOf(h circuit.Hop) Hop {
	return Hop{ID: h.ID.String(), Operator: h.Operator, Address: h.Addr.String()}
}

// NewPath implements Network. What could join old paths to new ones is
// forgotten as well (spec/link.md §5.4).
func (n *circuits) NewPath() {
	n.endpoint.ForgetSessions()
	n.manager.NewPath()
}

// SetCover implements Network.
func (n *circuits) SetCover(l padding.Level) { n.manager.SetCover(l) }

// Chatting implements Network.
func (n *circuits) Chatting() { n.manager.Chatting() }

// Close implements Network.
func (n *circuits) Close() error { return errors.Join(n.manager.Close(), n.endpoint.Close()) }

// lockedReader makes a source of randomness safe for several goroutines.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
