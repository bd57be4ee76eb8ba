package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/padding"
)

const (
	// ipHeaders is what IPv4 and UDP add to a packet's payload.
	ipHeaders = 20 + 8
	// quietSeconds is how long a link is left alone: some keep-alives.
	quietSeconds = 12
	// trainPause keeps trains apart, as messages are; keep-alives wait longer.
	trainPause = 80 * time.Millisecond
	// trainRounds is how many trains of each kind are measured.
	trainRounds = 60
)

// What an idle client holds (spec/circuit.md §5.4, §5.6).
const (
	idleLinks    = 2                // to the guard in use and to the hot spare
	idleCircuits = 3                // kept ready, of which carriers are over the guard in use
	idleCarriers = 2                //
	idleLife     = 27 * time.Minute // until an unused circuit is replaced, on average
	idleProbes   = 90 * time.Second // between two probes of an idle circuit, on average
	buildCells   = 12               // of a circuit's three handshakes, both directions
	day          = 24 * time.Hour
)

// paddings measures what cover traffic is made of, and what a day of each level
// costs a client without a conversation (docs/benchmarks.md).
func paddings(ctx context.Context, r Run) error {
	return measurePadding(ctx, r, quietSeconds, trainRounds)
}

func measurePadding(ctx context.Context, r Run, quiet, rounds int) (err error) {
	p, err := newPaddedLink(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	r.Note("sending %d trains of each kind, then leaving the link alone for %d s", rounds, quiet)
	var parts coverParts
	for _, m := range []struct {
		to    *float64
		train func() error
	}{
		{new(float64), func() error { return p.send(p.near, p.far, 1) }}, // while the path's packet size is found
		{&parts.cell, func() error { return p.send(p.near, p.far, 1) }},
		{&parts.put, p.put},
		{&parts.push, func() error { return p.send(p.far, p.near, padding.PushTrain) }},
	} {
		if *m.to, err = p.measure(ctx, rounds, trainPause, m.train); err != nil {
			return err
		}
	}
	// Last: now nothing is under way but keep-alives.
	if parts.keepAlive, err = p.measure(ctx, quiet, time.Second, func() error { return nil }); err != nil {
		return err
	}
	return r.emit(parts.figures()...)
}

// coverParts are bytes on the wire, both directions together.
type coverParts struct {
	keepAlive float64 // a second, of a link that stands
	cell      float64 // a cell alone, with what acknowledges it
	put       float64 // a put's train, its answer's and its end's
	push      float64 // a push's train
}

func (p coverParts) figures() []Figure {
	f := []Figure{
		{Bench: "padding", Name: "keepalive", Value: p.keepAlive, Unit: "bytes/s"},
		{Bench: "padding", Name: "cell", Value: p.cell, Unit: "bytes"},
		{Bench: "padding", Name: "put_train", Value: p.put, Unit: "bytes"},
		{Bench: "padding", Name: "push_train", Value: p.push, Unit: "bytes"},
	}
	for _, l := range padding.Levels {
		f = append(f, Figure{Bench: "padding", Name: l.String() + "_day", Value: p.perDay(l.Mean(false)), Unit: "bytes"})
	}
	hour := (p.perDay(padding.Active.Mean(true)) - p.perDay(padding.Low.Mean(false))) / 24
	return append(f, Figure{Bench: "padding", Name: "active_chat_hour", Value: hour, Unit: "bytes"})
}

// perDay adds up what an idle client sends and receives in a day, if trains of
// each direction are mean apart: per link keep-alives and link padding, and
// over both what keeps circuits ready, and the trains.
func (p coverParts) perDay(mean time.Duration) float64 {
	builds := float64(idleCircuits) * float64(day) / float64(idleLife)
	probes := float64(idleCircuits) * float64(day) / float64(idleProbes)
	cells, trains := builds*buildCells+2*probes, 0.0
	if mean > 0 {
		trains = float64(day) / float64(mean)
		// A new carrier's middle and exit are told, and those of an old one.
		cells += 2 * builds * idleCarriers / idleCircuits
	}
	// Whatever is sent starts the timer of link padding anew.
	events := (builds + probes) / idleLinks / day.Seconds()
	pads := paddingRate(events) + paddingRate(events+2*trains/day.Seconds())
	return idleLinks*day.Seconds()*p.keepAlive + pads*day.Seconds()*p.cell + cells*p.cell + trains*(p.put+p.push)
}

// paddingRate is how many cells of link padding a second a link carries, both
// ends together, on which others fall at random at the given rate. The timer is
// the first of two, each the greater of two uniform delays (spec/padding.md
// §5.2); others start it anew, so that of what falls between two of them a share
// p/(1−p) is padding, p being the probability that the timer runs out before.
func paddingRate(others float64) float64 {
	const steps = 10_000
	low, width := padding.LinkMin.Seconds(), (padding.LinkMax - padding.LinkMin).Seconds()
	p, mean := 0.0, 0.0
	for i := range steps {
		u := (float64(i) + 0.5) / steps
		density := 4 * u * (1 - u*u) / steps
		p += density * math.Exp(-others*(low+width*u))
		mean += density * (low + width*u)
	}
	if others == 0 {
		return 1 / mean
	}
	return others * p / (1 - p)
}

// paddedLink is a link between a client and a node on loopback, with a channel
// that is not padded and whose bytes are counted.
type paddedLink struct {
	ends      []*link.Endpoint
	meter     *meteredConn
	near, far *link.Channel
}

func newPaddedLink(ctx context.Context) (*paddedLink, error) {
	conns, port, err := listenLoopback(2) // the node's and the client's
	if err != nil {
		return nil, err
	}
	network, local, err := directory.Local(directory.LocalConfig{
		Nodes: 2, Swarm: 1, Port: uint16(port), Created: time.Now().Add(-time.Hour), Rand: rand.Reader,
	})
	var d *directory.Directory
	if err == nil {
		d, err = network.Directory()
	}
	if err != nil {
		return nil, errors.Join(err, conns[0].Close(), conns[1].Close())
	}
	p := &paddedLink{meter: &meteredConn{PacketConn: conns[1]}}
	node, err := link.NewEndpoint(conns[0], link.Config{Identity: local[0].Identity, Directory: directory.Fixed(d)})
	if err != nil {
		return nil, errors.Join(err, conns[0].Close(), conns[1].Close())
	}
	p.ends = append(p.ends, node)
	client, err := link.NewEndpoint(p.meter, link.Config{Directory: directory.Fixed(d)})
	if err != nil {
		return nil, errors.Join(err, conns[1].Close(), p.close())
	}
	p.ends = append(p.ends, client)
	if err := p.connect(ctx, client, node, local[0].Node); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// connect opens the channel, which the node knows of once a cell has arrived.
func (p *paddedLink) connect(ctx context.Context, client, node *link.Endpoint, to directory.Node) error {
	out, err := client.Get(ctx, to)
	if err != nil {
		return err
	}
	in, err := node.Accept(ctx)
	if err != nil {
		return err
	}
	if p.near, err = out.Open(ctx); err != nil {
		return err
	}
	var cell onion.Cell
	if err := p.near.WriteCells(&cell); err != nil {
		return err
	}
	if p.far, err = in.Accept(ctx); err != nil {
		return err
	}
	return p.far.ReadCell(&cell)
}

// send sends cells in one piece and waits for them.
func (p *paddedLink) send(from, to *link.Channel, cells int) error {
	b := link.NewBatch()
	defer b.Release()
	for range cells {
		b.Next().SetHeader(from.CircID(), onion.CmdRelay)
	}
	if err := from.WriteBatch(b); err != nil {
		return err
	}
	var cell onion.Cell
	for range cells {
		if err := to.ReadCell(&cell); err != nil {
			return err
		}
	}
	return nil
}

// put sends what a put takes: it, its answer, and its end.
func (p *paddedLink) put() error {
	return errors.Join(
		p.send(p.near, p.far, padding.PutTrain),
		p.send(p.far, p.near, padding.AnswerTrain),
		p.send(p.near, p.far, padding.EndTrain),
	)
}

// measure returns the bytes of the middle one of several rounds, each followed
// by a pause: a packet that a busy machine takes for lost is sent twice.
func (p *paddedLink) measure(ctx context.Context, rounds int, pause time.Duration, round func() error) (float64, error) {
	var each []float64
	for range rounds {
		before := p.meter.bytes.Load()
		if err := round(); err != nil {
			return 0, fmt.Errorf("bench: sending cells: %w", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		each = append(each, float64(p.meter.bytes.Load()-before))
	}
	return middle(each), nil
}

func (p *paddedLink) close() error {
	var err error
	for _, e := range p.ends {
		err = errors.Join(err, e.Close())
	}
	return err
}

// meteredConn counts the bytes of packets, with IP and UDP headers.
type meteredConn struct {
	net.PacketConn
	bytes atomic.Int64
}

// SetReadBuffer and SetWriteBuffer are what quic-go asks of a socket.
func (m *meteredConn) SetReadBuffer(n int) error { return m.setBuffer(n, (*net.UDPConn).SetReadBuffer) }

// SetWriteBuffer is SetReadBuffer for the other direction.
func (m *meteredConn) SetWriteBuffer(n int) error {
	return m.setBuffer(n, (*net.UDPConn).SetWriteBuffer)
}

func (m *meteredConn) setBuffer(n int, set func(*net.UDPConn, int) error) error {
	if udp, ok := m.PacketConn.(*net.UDPConn); ok {
		return set(udp, n)
	}
	return nil
}

// ReadFrom implements net.PacketConn.
func (m *meteredConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := m.PacketConn.ReadFrom(b)
	if err == nil {
		m.bytes.Add(int64(n + ipHeaders))
	}
	return n, addr, err
}

// WriteTo implements net.PacketConn.
func (m *meteredConn) WriteTo(b []byte, to net.Addr) (int, error) {
	m.bytes.Add(int64(len(b) + ipHeaders))
	return m.PacketConn.WriteTo(b, to)
}
