package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"testing"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/onion"
)

// colluders are a guard and an exit of one owner, this test, with a real node
// between them. A client, also of this test, makes circuits over the three, so
// that what the middle does to a cell can be computed beside it.
type colluders struct {
	*stage
	guard, exit *impostor
	middle      directory.Node
	toMiddle    *quic.Conn // nil before the first circuit
	atExit      *quic.Listener
	fromMiddle  *quic.Conn // nil before the first circuit
}

func newColluders(s *stage) *colluders {
	c := &colluders{stage: s, guard: &s.absent[0], exit: &s.absent[1], middle: s.real(1)}
	c.atExit = s.listen(c.exit, wideWindow)
	return c
}

// connected returns a link of the guard to the middle.
func (c *colluders) connected() (_ *quic.Conn, err error) {
	if c.toMiddle == nil || c.toMiddle.Context().Err() != nil {
		c.toMiddle, err = c.dial(c.middle, c.guard, wideWindow)
	}
	return c.toMiddle, err
}

// collusion is a circuit over the colluders.
type collusion struct {
	*rawCircuit                     // on the guard's channel to the middle
	shadow      *onion.RelayCircuit // does what the middle does
	exitLayer   *onion.RelayCircuit
	exitChannel *rawChannel
}

// start makes a circuit whose guard is this test.
func (c *colluders) start() (*rawCircuit, error) {
	conn, err := c.connected()
	if err != nil {
		return nil, err
	}
	ch, err := openRaw(c.t.Context(), conn)
	if err != nil {
		return nil, err
	}
	shake, create, err := onion.StartHandshake(rand.Reader, c.guard.ID, c.guard.OnionKey, onion.ClassStream, nil)
	if err != nil {
		return nil, err
	}
	created, keys, err := onion.AnswerHandshake(rand.Reader, c.guard.ID, c.guard.onion, create,
		func(onion.Class, []byte) ([]byte, error) { return nil, nil })
	if err != nil {
		return nil, err
	}
	r := &rawCircuit{rawChannel: ch}
	if _, err := r.addHop(shake, created); err != nil {
		return nil, err
	}
	r.guard = onion.NewRelayCircuit(keys)
	return r, nil
}

// collude runs a trial on a circuit over guard, middle and exit.
func (c *colluders) collude(t *testing.T, trial func(*collusion) error) {
	t.Helper()
	steady(t, func() error {
		p, err := c.circuit()
		if err != nil {
			return err
		}
		return trial(p)
	})
}

// circuit makes such a circuit.
func (c *colluders) circuit() (*collusion, error) {
	r, err := c.start()
	if err != nil {
		return nil, err
	}
	p := &collusion{rawCircuit: r}
	if p.shadow, err = r.create(c.middle); err != nil {
		return nil, err
	}
	shake, create, err := onion.StartHandshake(rand.Reader, c.exit.ID, c.exit.OnionKey, onion.ClassStream, nil)
	if err != nil {
		return nil, err
	}
	cells, err := r.seal(1, onion.CmdRelayEarly, onion.Extend(c.exit.ID, create))
	if err != nil {
		return nil, err
	}
	for _, cell := range cells {
		same := *cell
		p.shadow.Outbound(&same)
	}
	if err := r.write(cells...); err != nil {
		return nil, err
	}
	if err := c.acceptExit(p, create); err != nil {
		return nil, err
	}
	return p, p.extended(shake)
}

// acceptExit answers the middle's CREATE, which must be the given one: those of
// circuits that were lost may still be on their way. A middle that could send
// none ends the circuit; then the connection may be one that it gave up.
func (c *colluders) acceptExit(p *collusion, create []byte) (err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), testWait)
	defer cancel()
	defer context.AfterFunc(p.Context(), cancel)()
	for {
		if c.fromMiddle == nil || c.fromMiddle.Context().Err() != nil {
			if c.fromMiddle, err = c.atExit.Accept(ctx); err != nil {
				c.fromMiddle = nil
				return p.cause(err)
			}
		}
		str, err := c.fromMiddle.AcceptStream(ctx)
		if err != nil {
			_ = c.fromMiddle.CloseWithError(0, "")
			if ctx.Err() == nil {
				continue // it is lost; the middle makes another
			}
			return p.cause(err)
		}
		if p.exitChannel, err = newRawChannel(str); err != nil {
			return err
		}
		if p.exitLayer, err = c.exit.answer(p.exitChannel, create); err == nil {
			return nil
		}
	}
}

// cause returns why the circuit ended, if it did, in err's place.
func (p *collusion) cause(err error) error {
	if p.Context().Err() == nil {
		return err
	}
	_, err = p.read()
	return err
}

// extended reads the middle's EXTENDED, and makes its cells beside it.
func (p *collusion) extended(shake *onion.ClientHandshake) error {
	for len(p.heard) == 0 {
		cell, err := p.read()
		if err != nil {
			return err
		}
		seen := *cell
		p.guard.Inbound(cell)
		_, payload, _, err := p.layers.Open(cell)
		if err != nil {
			return err
		}
		var same onion.Cell
		same.SetHeader(p.id, onion.CmdRelay)
		if _, err := p.shadow.Originate(&same, payload); err != nil {
			return err
		}
		if same != seen {
			return errors.New("the shadow does not do what the middle does")
		}
		if _, err := p.unpack[1].Feed(payload, func(m onion.Message) error {
			m.Data = slices.Clone(m.Data)
			p.heard = append(p.heard, m)
			return nil
		}); err != nil {
			return err
		}
	}
	created, err := p.heard[0].Created()
	p.heard = nil
	if err != nil {
		return err
	}
	_, err = p.addHop(shake, created)
	return err
}

// marks are what a relay can do to six cells in the hope of finding it again
// behind the next one. The first `intact` cells arrive as they were.
var marks = []struct {
	name   string
	intact int
	change func([]onion.Cell) []onion.Cell
}{
	{"first bit", 2, flipBit(0)},
	{"first bit of the payload", 2, flipBit(8 * onion.TagSize)},
	{"a bit in the middle", 2, flipBit(4 * onion.BodySize)},
	{"last bit", 2, flipBit(8*onion.BodySize - 1)},
	{"a pattern over the body", 2, func(c []onion.Cell) []onion.Cell {
		for i := range c[2].Body() {
			c[2].Body()[i] ^= 0xa5
		}
		return c
	}},
	{"a body of zeros", 2, func(c []onion.Cell) []onion.Cell { clear(c[2].Body()); return c }},
	{"swapped halves", 2, func(c []onion.Cell) []onion.Cell {
		half := slices.Clone(c[2].Body()[:onion.BodySize/2])
		copy(c[2].Body(), c[2].Body()[onion.BodySize/2:])
		copy(c[2].Body()[onion.BodySize/2:], half)
		return c
	}},
	{"swapped cells", 2, func(c []onion.Cell) []onion.Cell { c[2], c[3] = c[3], c[2]; return c }},
	{"reversed cells", 2, func(c []onion.Cell) []onion.Cell { slices.Reverse(c[2:]); return c }},
	{"a dropped cell", 2, func(c []onion.Cell) []onion.Cell { return slices.Delete(c, 2, 3) }},
	{"a repeated cell", 3, func(c []onion.Cell) []onion.Cell { return slices.Insert(c, 3, c[2]) }},
	{"an inserted cell", 2, func(c []onion.Cell) []onion.Cell { return slices.Insert(c, 2, c[0]) }},
}

func flipBit(bit int) func([]onion.Cell) []onion.Cell {
	return func(c []onion.Cell) []onion.Cell {
		c[2].Body()[bit/8] ^= 0x80 >> (bit % 8)
		return c
	}
}

// The share of bits in which what arrives differs from anything that was to
// arrive, or two of what arrives from each other: of 9,152 random bits half are
// equal, and 40 % are 19 standard deviations away.
const leastNoise, mostNoise = 0.4, 0.6

// likeness says which two bodies of got and sent, or of got alone, are like one
// another; "" if all is noise.
func likeness(got, sent []onion.Cell) string {
	for i := range got {
		for j := range sent {
			if d := distance(&got[i], &sent[j]); d < leastNoise || d > mostNoise {
				return fmt.Sprintf("cell %d differs from what was to be cell %d in %.3f of its bits", i, j, d)
			}
		}
		for j := range i {
			if d := distance(&got[i], &got[j]); d < leastNoise || d > mostNoise {
				return fmt.Sprintf("cells %d and %d differ in %.3f of their bits", j, i, d)
			}
		}
	}
	return ""
}

func distance(a, b *onion.Cell) float64 {
	n := 0
	for i, x := range a.Body() {
		n += bits.OnesCount8(x ^ b.Body()[i])
	}
	return float64(n) / (8 * onion.BodySize)
}

// TestTagging is about a guard and an exit that know one another: whatever the
// guard does to the cells of a circuit, at the exit there is noise alike, which
// nobody recognises, from the first changed cell on; and the same from the exit
// to the guard.
func TestTagging(t *testing.T) {
	c := newColluders(newStage(t, 2, 5))
	for _, m := range marks {
		t.Run("away, "+m.name, func(t *testing.T) {
			c.collude(t, func(p *collusion) error {
				sent, planned := p.batch(t, true)
				got, err := pass(p.rawChannel, m.change(sent), p.exitChannel)
				if err != nil {
					return err
				}
				checkMark(t, got, planned, m.intact)
				for i := range got {
					if mine, _, _ := p.exitLayer.Outbound(&got[i]); mine != (i < m.intact) {
						t.Errorf("the exit recognises cell %d: %v", i, mine)
					}
				}
				return nil
			})
		})
		t.Run("toward, "+m.name, func(t *testing.T) {
			c.collude(t, func(p *collusion) error {
				sent, planned := p.batch(t, false)
				got, err := pass(p.exitChannel, m.change(sent), p.rawChannel)
				if err != nil {
					return err
				}
				checkMark(t, got, planned, m.intact)
				for i := range m.intact + 1 { // a client's circuit ends with the first that it refuses
					p.guard.Inbound(&got[i])
					if _, _, _, err := p.layers.Open(&got[i]); (err == nil) != (i < m.intact) {
						t.Errorf("the client opens cell %d: %v", i, err)
					}
				}
				return nil
			})
		})
	}
	t.Run("the check sees a mark", func(t *testing.T) {
		c.collude(t, func(p *collusion) error {
			_, planned := p.batch(t, true)
			for _, m := range marks { // as if the middle's layer were malleable
				if likeness(m.change(slices.Clone(planned))[m.intact:], planned) == "" {
					t.Errorf("%s is not seen behind a layer that lets it through", m.name)
				}
			}
			return nil
		})
	})
}

// batch makes six cells for the exit, or of it, and what the middle makes of
// them when nothing happens to them.
func (p *collusion) batch(t *testing.T, away bool) (sent, planned []onion.Cell) {
	t.Helper()
	for range 6 {
		m := onion.Message{Command: onion.MsgDrop, Data: make([]byte, 1000)}
		_, _ = rand.Read(m.Data)
		if away {
			cells, err := p.seal(2, onion.CmdRelay, m)
			if err != nil {
				t.Fatal(err)
			}
			same := *cells[0]
			p.shadow.Outbound(&same)
			sent, planned = append(sent, *cells[0]), append(planned, same)
			continue
		}
		var packer onion.Packer
		if err := packer.Add(m); err != nil {
			t.Fatal(err)
		}
		var cell onion.Cell
		cell.SetHeader(p.exitChannel.id, onion.CmdRelay)
		packer.Next(cell.Payload())
		if _, err := p.exitLayer.Originate(&cell, cell.Payload()); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, cell)
		p.shadow.Inbound(&cell)
		planned = append(planned, cell)
	}
	return sent, planned
}

// pass writes cells at one end and reads as many at the other.
func pass(from *rawChannel, cells []onion.Cell, to *rawChannel) (got []onion.Cell, err error) {
	for i := range cells {
		if err := from.write(&cells[i]); err != nil {
			return nil, err
		}
	}
	for range cells {
		cell, err := to.read()
		if err != nil {
			return nil, err
		}
		if onion.CheckHeader(cell) != nil || cell.Command() != onion.CmdRelay || cell.CircID() != to.id {
			return nil, fmt.Errorf("header of a cell: %x", cell[:onion.HeaderSize])
		}
		got = append(got, *cell)
	}
	return got, nil
}

func checkMark(t *testing.T, got, planned []onion.Cell, intact int) {
	t.Helper()
	for i := range intact {
		if d := distance(&got[i], &planned[i]); d != 0 {
			t.Fatalf("cell %d, which was not touched, differs in %.3f of its bits", i, d)
		}
	}
	if like := likeness(got[intact:], planned); like != "" {
		t.Error(like)
	}
}

// TestTaggedCircuitDies puts a real exit in the colluder's place: whatever the
// guard did, the circuit ends, and nothing of it reaches the swarm.
func TestTaggedCircuitDies(t *testing.T) {
	s := newStage(t, 2, 6)
	c := newColluders(s)
	const piece = 100
	exitBytes := func() float64 { return metric(t, s.layout, 2, `sotto_relay_exit_bytes_total{direction="away"}`) }
	for _, m := range marks {
		t.Run(m.name, func(t *testing.T) {
			steady(t, func() error {
				r, err := c.overRealExit()
				if err != nil {
					return err
				}
				before := exitBytes()
				var cells []onion.Cell
				for range 6 {
					sealed, err := r.seal(2, onion.CmdRelay, onion.Message{Command: onion.MsgData, Stream: 1, Data: make([]byte, piece)})
					if err != nil {
						return err
					}
					cells = append(cells, *sealed[0])
				}
				cells = m.change(cells)
				for i := range cells {
					if err := r.write(&cells[i]); err != nil {
						break // it has ended already
					}
				}
				for err == nil {
					_, err = r.read()
				}
				if n := exitBytes() - before; n > float64(m.intact*piece) {
					t.Errorf("%v bytes left the exit, of %d that were not touched", n, m.intact*piece)
				}
				return endedWith(err, onion.ReasonProtocol)
			})
		})
	}
	if exitBytes() == 0 {
		t.Error("no bytes were counted at the exit: the check sees nothing")
	}
}

// overRealExit makes a circuit over the guard and two real nodes on which a
// stream to a swarm has been answered once.
func (c *colluders) overRealExit() (*rawCircuit, error) {
	r, err := c.start()
	if err != nil {
		return nil, err
	}
	if _, err := r.create(c.middle); err != nil {
		return nil, err
	}
	if err := r.extend(c.real(2)); err != nil {
		return nil, err
	}
	_, err = r.begin(1, c.real(3)).askKeys()
	return r, err
}

// TestMarkedHeaders is about what no layer covers: the eight bytes before a
// cell's body, resets and their codes, and cells cut short. The circuit ends, or
// nothing happens to it; the other colluder sees no more than that.
func TestMarkedHeaders(t *testing.T) {
	c := newColluders(newStage(t, 2, 5))
	header := func(at int, b byte) func(*rawChannel, onion.Cell) error {
		return func(ch *rawChannel, cell onion.Cell) error {
			cell[at] = b
			_, err := ch.Write(cell[:])
			return err
		}
	}
	for name, act := range map[string]func(*rawChannel, onion.Cell) error{
		"another circuit": header(3, 0xff),
		"a CREATE":        header(4, byte(onion.CmdCreate)),
		"a CREATED":       header(4, byte(onion.CmdCreated)),
		"command 200":     header(4, 200),
		"version 2":       header(5, 2),
		"part 1":          header(6, 1),
		"reserved byte":   header(7, 1),
		"half a cell": func(ch *rawChannel, cell onion.Cell) error {
			_, err := ch.Write(cell[:500])
			return errors.Join(err, ch.Close())
		},
		"a DESTROY": func(ch *rawChannel, cell onion.Cell) error {
			cell.SetDestroy(ch.id, 77)
			return ch.write(&cell)
		},
		"a reset": func(ch *rawChannel, _ onion.Cell) error {
			ch.CancelWrite(77)
			ch.CancelRead(77)
			return nil
		},
	} {
		t.Run("away, "+name, func(t *testing.T) {
			c.collude(t, func(p *collusion) error {
				sent, _ := p.batch(t, true)
				if err := act(p.rawChannel, sent[0]); err != nil {
					return err
				}
				_, err := p.exitChannel.read()
				return endedWith(err, onion.ReasonDone)
			})
		})
		t.Run("toward, "+name, func(t *testing.T) {
			c.collude(t, func(p *collusion) error {
				sent, _ := p.batch(t, false)
				if err := act(p.exitChannel, sent[0]); err != nil {
					return err
				}
				_, err := p.read()
				return endedWith(err, onion.Reason(resetCode(err)).Known())
			})
		})
	}
	t.Run("RELAY_EARLY away", func(t *testing.T) {
		c.collude(t, func(p *collusion) error {
			sent, planned := p.batch(t, true)
			sent[0].SetHeader(p.id, onion.CmdRelayEarly)
			if err := p.write(&sent[0]); err != nil {
				return err
			}
			cell, err := p.exitChannel.read()
			if err != nil {
				return err
			}
			if like := likeness([]onion.Cell{*cell}, planned); like != "" {
				t.Error(like)
			}
			if mine, _, _ := p.exitLayer.Outbound(cell); mine {
				t.Error("the exit recognises a cell whose command was changed")
			}
			return nil
		})
	})
	t.Run("RELAY_EARLY toward", func(t *testing.T) {
		c.collude(t, func(p *collusion) error {
			sent, _ := p.batch(t, false)
			sent[0].SetHeader(p.exitChannel.id, onion.CmdRelayEarly)
			if err := p.exitChannel.write(&sent[0]); err != nil {
				return err
			}
			_, err := p.read()
			return endedWith(err, onion.ReasonProtocol)
		})
	})
	t.Run("padding", func(t *testing.T) {
		c.collude(t, func(p *collusion) error {
			sent, planned := p.batch(t, true)
			var padding onion.Cell
			padding.SetHeader(p.id, onion.CmdPadding)
			_, _ = rand.Read(padding.Body())
			if err := p.write(&sent[0], &padding, &sent[1]); err != nil {
				return err
			}
			for i := 0; i < 2; i++ { // padding goes no further, and harms nothing
				var cell onion.Cell
				if _, err := io.ReadFull(p.exitChannel, cell[:]); err != nil {
					return err
				}
				if cell.Command() == onion.CmdPadding && cell != padding { // the middle's own
					i--
					continue
				}
				if d := distance(&cell, &planned[i]); d != 0 {
					t.Errorf("cell %d behind a middle that got padding differs in %.3f of its bits", i, d)
				}
			}
			return nil
		})
	})
}
