package relay

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// ExitDialer opens service streams to nodes for circuits that end here. A
// stream's Read and Write may run at the same time, and Close makes both
// return. If it has CloseWrite() error, that ends its direction alone; if it
// has Abort(), that is used in Close's place to drop what is under way.
type ExitDialer interface {
	OpenStream(ctx context.Context, node identity.NodeID) (io.ReadWriteCloser, error)
}

// Config describes a relay. Logger, Metrics, Limits, Rand and Now may be
// zero.
type Config struct {
	Identity    identity.NodeID // the node's
	OnionSecret suite.DHPrivate // answers CREATE
	Directory   directory.Source
	Endpoint    *link.Endpoint // accepts previous neighbours, dials next ones
	Exit        ExitDialer     // nil: BEGIN is refused
	Limits      Limits
	Metrics     *Metrics
	Logger      *slog.Logger
	Rand        io.Reader
	Now         func() time.Time // the clock that work in a CREATE is bound to
}

// Relay switches the circuits of one node.
type Relay struct {
	cfg      Config
	limits   Limits
	metrics  *Metrics
	memory   memory
	halfOpen halfOpen
	creation creations
	links    *links
	targets  targets
	open     func(context.Context, directory.Node) (channel, error)

	mu       sync.Mutex // guards what follows
	circuits map[*circuit]struct{}
	draining draining
}

// New returns a relay; Serve makes it work.
func New(cfg Config) *Relay {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Relay{
		cfg:      cfg,
		limits:   cfg.Limits.withDefaults(),
		metrics:  cfg.Metrics,
		circuits: make(map[*circuit]struct{}),
	}
	r.open = r.openChannel
	r.memory.max, r.memory.gauge = r.limits.MaxMemory, r.metrics.queued
	r.halfOpen.max, r.halfOpen.gauge = r.limits.MaxHalfOpen, r.metrics.halfOpen
	r.creation.max, r.creation.maxWaiting, r.creation.gauge = r.limits.MaxHandshakes, r.limits.MaxWaiting, r.metrics.waiting
	r.links = newLinks(r.limits.MaxClientLinks)
	r.targets.max = r.limits.MaxTargetStreams
	return r
}

// Serve accepts links and serves their circuits until ctx is done or the
// endpoint is closed. When it returns, no circuit and no goroutine is left.
func (r *Relay) Serve(ctx context.Context) error {
	var links sync.WaitGroup
	defer links.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	links.Go(func() { r.endIdle(ctx) })
	for {
		l, err := r.cfg.Endpoint.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		links.Go(func() { r.serveLink(ctx, l) })
	}
}

// serveLink serves the channels of one link until it dies.
func (r *Relay) serveLink(ctx context.Context, l *link.Link) {
	var circuits sync.WaitGroup
	defer circuits.Wait()
	defer l.Close()
	n := r.newNeighbour(l, time.Now())
	if !n.isNode {
		if !r.links.add(n, time.Now()) {
			n.refuse()
			return
		}
		defer r.links.remove(n)
	}
	for {
		ch, err := l.Accept(ctx)
		if err != nil {
			return
		}
		if r.isDraining() {
			ch.Abort(link.Code(onion.ReasonShutdown))
			continue
		}
		wait, ok := n.admit(time.Now())
		if !ok {
			ch.Abort(link.Code(onion.ReasonLimit))
			r.metrics.refused(onion.ReasonLimit)
			if n.incorrigible() {
				r.links.flooded(n, time.Now())
				n.refuse()
				return
			}
			continue
		}
		n.circuits.Add(1)
		circuits.Go(func() {
			defer n.circuits.Add(-1)
			r.serveCircuit(ctx, ch, n, wait)
		})
	}
}

// add counts a new circuit. One that was half-open when the relay began to
// drain is refused.
func (r *Relay) add(c *circuit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining.on {
		return false
	}
	r.circuits[c] = struct{}{}
	r.metrics.created.Inc()
	r.metrics.open.Inc()
	return true
}

func (r *Relay) remove(c *circuit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.circuits, c)
	r.metrics.open.Dec()
	r.drainedLocked()
}
