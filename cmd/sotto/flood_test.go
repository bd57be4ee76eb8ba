package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// dialFrom is dial as a client at the address. What it returns ends the link.
func (s *stage) dialFrom(ctx context.Context, host netip.Addr, to directory.Node) (*quic.Conn, func(), error) {
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
	if err != nil {
		return nil, nil, err
	}
	tr := &quic.Transport{Conn: pc}
	end := func() { _ = tr.Close(); _ = pc.Close() }
	conn, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(to.Addr), hostileTLS(link.ProtocolCells), hostileQUIC(wideWindow))
	if err != nil {
		end()
		return nil, nil, err
	}
	return conn, end, nil
}

// offer makes a CREATE for n with work of an effort.
func offer(n directory.Node, effort uint8) ([]byte, error) {
	_, create, err := onion.PaidHandshake(rand.Reader, n.ID, n.OnionKey, onion.ClassStream, nil, onion.Payment{Effort: effort, At: time.Now()})
	return create, err
}

const (
	// redialAfter is a flooder's pause before it dials anew: a node that keeps it
	// out would be busy with nothing but this process's cryptography, on cores
	// that the two share.
	redialAfter = 50 * time.Millisecond
	// linkBusy is the code of a link that was closed as one too many
	// (spec/link.md §6).
	linkBusy = 1
)

// flooder offers one CREATE on a link again and again, as fast as it can, and
// dials anew when its link is closed.
type flooder struct {
	offered, links atomic.Int64
	lost           atomic.Int64 // links that were not closed by the node: the next begins with a full bucket
}

func (f *flooder) run(ctx context.Context, s *stage, host netip.Addr, to directory.Node, create []byte) {
	pause := time.NewTicker(redialAfter)
	defer pause.Stop()
	for ctx.Err() == nil {
		conn, end, err := s.dialFrom(ctx, host, to)
		if err != nil {
			continue // too slow
		}
		f.links.Add(1)
		for ctx.Err() == nil {
			str, err := conn.OpenStreamSync(ctx)
			if err != nil {
				break
			}
			ch, err := newRawChannel(str)
			if err != nil || ch.writeShake(onion.CmdCreate, create) != nil && conn.Context().Err() != nil {
				break
			}
			f.offered.Add(1)
		}
		var closed *quic.ApplicationError
		if ctx.Err() == nil && (!errors.As(context.Cause(conn.Context()), &closed) || closed.ErrorCode != linkBusy) {
			f.lost.Add(1)
		}
		end()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// buildTimes builds circuits one after another, on a link of its own.
func (s *stage) buildTimes(n int) (took []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), testWait)
	defer cancel()
	conn, end, err := s.dialFrom(ctx, netip.AddrFrom4([4]byte{127, 0, 0, 1}), s.real(1))
	if err != nil {
		return nil, err
	}
	defer end()
	for range n {
		start := time.Now()
		c, err := newRawCircuit(ctx, conn, s.real(1), s.real(2), s.real(3))
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
		c.CancelRead(0)
		c.CancelWrite(0)
	}
	slices.Sort(took)
	return took, nil
}

const handshakesTotal = "sotto_relay_handshakes_total"

// TestFloodOfOneLink lets one client offer a node as many CREATEs as it can,
// while another builds circuits: the node makes the bucket's handshakes for the
// flood and no more, and the others' circuits take hardly longer than without.
func TestFloodOfOneLink(t *testing.T) {
	s := newStage(t, 0, 3)
	const builds, rounds = 55, 8
	create, err := offer(s.real(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	p95 := func(took []time.Duration) time.Duration { return took[len(took)*95/100] }
	best := 0.0
	for round := range rounds {
		var quiet, flooded []time.Duration
		steady(t, func() (err error) { quiet, err = s.buildTimes(builds); return err })

		before, start := metric(t, s.layout, 1, handshakesTotal), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var f flooder
		var done sync.WaitGroup
		done.Go(func() { f.run(ctx, s, netip.AddrFrom4([4]byte{127, 77, byte(round), 1}), s.real(1), create) })
		tries := 0
		steady(t, func() (err error) { tries++; flooded, err = s.buildTimes(builds); return err })
		cancel()
		done.Wait()
		took := time.Since(start)

		made := metric(t, s.layout, 1, handshakesTotal) - before
		buckets := float64(1 + f.lost.Load())
		allowed := float64(tries*builds) + buckets*(60+10*(took.Seconds()+1))
		ratio := float64(p95(flooded)) / float64(p95(quiet))
		t.Logf("round %d: %d CREATEs over %d links in %v, %.0f handshakes of %.0f allowed; building p50 %v and %v, p95 %v and %v: ratio %.2f",
			round+1, f.offered.Load(), f.links.Load(), took.Round(time.Millisecond), made, allowed,
			quiet[builds/2].Round(10*time.Microsecond), flooded[builds/2].Round(10*time.Microsecond),
			p95(quiet).Round(10*time.Microsecond), p95(flooded).Round(10*time.Microsecond), ratio)
		if made > allowed {
			t.Errorf("%.0f handshakes, of which the bucket allows %.0f", made, allowed)
		}
		if f.offered.Load() < 256 {
			t.Errorf("the flood was %d CREATEs", f.offered.Load())
		}
		if best == 0 || ratio < best {
			best = ratio
		}
		if best < 1.5 && round >= 2 {
			break
		}
	}
	if best >= 1.5 {
		t.Errorf("beside a flood, building took %.2f times as long at best (p95)", best)
	}
}

// errPaidRefused is the one thing that a flood may not do.
var errPaidRefused = errors.New("a CREATE with work was refused as busy")

// TestFloodOfManyLinks floods a node from many networks at once, each within its
// bucket, with more than it can answer: those that pay nothing are refused as
// busy, and one that pays is answered each time.
func TestFloodOfManyLinks(t *testing.T) {
	s := newStage(t, 0, 1)
	for round := range 8 {
		var busy, paid int
		steady(t, func() (err error) { busy, paid, err = s.crowd(byte(round)); return err })
		t.Logf("round %d: beside the crowd, %d of 30 CREATEs without work were refused as busy, %d of 30 with work answered; the node refused %.0f so far",
			round+1, busy, paid, metric(t, s.layout, 1, `sotto_relay_creates_refused_total{reason="busy"}`))
		if busy > 0 {
			return
		}
	}
	t.Error("the crowd did not make the node busy")
}

// crowd lets 60 links offer 60 CREATEs each at once, and meanwhile offers 30
// with work and 30 without.
func (s *stage) crowd(round byte) (busy, paid int, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), testWait)
	defer cancel()
	node := s.real(1)
	free, err := offer(node, 0)
	if err != nil {
		return 0, 0, err
	}
	var dear [][]byte
	for range 30 {
		create, err := offer(node, 8)
		if err != nil {
			return 0, 0, err
		}
		dear = append(dear, create)
	}
	var conns []*quic.Conn
	for i := range 61 {
		host := netip.AddrFrom4([4]byte{127, 80 + round, byte(i), 1})
		conn, end, err := s.dialFrom(ctx, host, node)
		if err != nil {
			return 0, 0, err
		}
		defer end()
		conns = append(conns, conn)
	}
	var crowd sync.WaitGroup
	start := make(chan struct{})
	for _, conn := range conns[1:] {
		crowd.Go(func() {
			<-start
			for range 60 {
				ch, err := openRaw(ctx, conn)
				if err != nil {
					return // too slow, and the link is gone
				}
				_ = ch.writeShake(onion.CmdCreate, free) // it may be refused already
			}
		})
	}
	close(start)
	busy, paid, err = besideCrowd(ctx, conns[0], free, dear)
	crowd.Wait()
	return busy, paid, err
}

// besideCrowd offers CREATEs with work, and one without beside each, all on one
// link, whose bucket they empty.
func besideCrowd(ctx context.Context, conn *quic.Conn, free []byte, dear [][]byte) (busy, paid int, err error) {
	ask := func(create []byte) error {
		ch, err := openRaw(ctx, conn)
		if err != nil {
			return err
		}
		if err := ch.writeShake(onion.CmdCreate, create); err == nil {
			_, err = ch.readShake(onion.CmdCreated)
			ch.CancelRead(0)
			ch.CancelWrite(0)
			return err
		}
		_, err = ch.read() // says why it cannot be written
		return err
	}
	var mu sync.Mutex // guards busy, paid and err
	note := func(e error, works bool) {
		mu.Lock()
		defer mu.Unlock()
		isBusy := e != nil && resetCode(e) == int(onion.ReasonBusy)
		switch {
		case isBusy && works:
			err = errPaidRefused
		case isBusy:
			busy++
		case e != nil && err == nil:
			err = fmt.Errorf("beside the crowd: %w", e)
		case e == nil && works:
			paid++
		}
	}
	var all sync.WaitGroup
	for _, create := range dear {
		all.Go(func() { note(ask(free), false) })
		all.Go(func() { note(ask(create), true) })
		all.Wait() // each pair after the other, as one client would
	}
	return busy, paid, err
}
