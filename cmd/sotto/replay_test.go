package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/mailbox"
	"sotto/internal/onion"
)

// restart ends a real node as kill -9 does, and starts it again.
func (s *stage) restart(i int) {
	s.t.Helper()
	if err := s.procs.Kill(i); err != nil {
		s.t.Fatal(err)
	}
	info, err := s.procs.Restart(s.t.Context(), i)
	if err != nil {
		s.t.Fatal(err)
	}
	setMetrics(s.layout, i, info.Metrics)
}

// TestReplayedCreate sends a recorded CREATE and the cells after it once more:
// on the same link, on another, and to the node after a restart. The node may
// answer, with keys that nobody can have and that have nothing in common with
// the first ones; the recorded cells are noise to them.
func TestReplayedCreate(t *testing.T) {
	s := newStage(t, 0, 5)
	steady(t, func() error {
		r, err := s.record()
		if err != nil {
			return err
		}
		for range 3 {
			if err := r.replay(t, r.conn, s.real(1)); err != nil {
				return fmt.Errorf("on the same link: %w", err)
			}
		}
		another, err := s.dial(s.real(1), nil, wideWindow)
		if err != nil {
			return err
		}
		if err := r.replay(t, another, s.real(1)); err != nil {
			return fmt.Errorf("on another link: %w", err)
		}
		if err := r.circuit.probe(0); err != nil {
			return fmt.Errorf("the circuit whose CREATE was replayed: %w", err)
		}
		s.restart(1)
		if another, err = s.dial(s.real(1), nil, wideWindow); err != nil {
			return err
		}
		if err := r.replay(t, another, s.real(1)); err != nil {
			return fmt.Errorf("after a restart: %w", err)
		}
		if another, err = s.dial(s.real(2), nil, wideWindow); err != nil {
			return err
		}
		ch, err := openRaw(t.Context(), another)
		if err != nil {
			return err
		}
		if err := ch.writeShake(onion.CmdCreate, r.create); err != nil {
			return err
		}
		_, err = ch.read()
		return endedWith(err, onion.ReasonProtocol)
	})
}

// recording is what somebody saw of a circuit of one hop.
type recording struct {
	conn    *quic.Conn
	circuit *rawCircuit
	create  []byte
	created [][]byte // all answers to it
	probe   onion.Cell
}

// record makes a circuit and uses it once.
func (s *stage) record() (*recording, error) {
	node := s.real(1)
	conn, err := s.dial(node, nil, wideWindow)
	if err != nil {
		return nil, err
	}
	ch, err := openRaw(s.t.Context(), conn)
	if err != nil {
		return nil, err
	}
	shake, create, err := onion.StartHandshake(rand.Reader, node.ID, node.OnionKey, onion.ClassStream, nil)
	if err != nil {
		return nil, err
	}
	if err := ch.writeShake(onion.CmdCreate, create); err != nil {
		return nil, err
	}
	created, err := ch.readShake(onion.CmdCreated)
	if err != nil {
		return nil, err
	}
	r := &recording{conn: conn, circuit: &rawCircuit{rawChannel: ch}, create: create, created: [][]byte{created}}
	shadow, err := r.circuit.addHop(shake, created)
	if err != nil {
		return nil, err
	}
	cells, err := r.circuit.seal(0, onion.CmdRelay, onion.Probe([8]byte{1}))
	if err != nil {
		return nil, err
	}
	if err := r.circuit.write(cells...); err != nil {
		return nil, err
	}
	if _, err := r.circuit.expect(0, onion.MsgProbeReply); err != nil {
		return nil, err
	}
	r.probe = *cells[0]
	// The layer that the cell was made for recognises it from its record: what
	// another layer refuses is refused because it is another.
	again := r.probe
	if mine, _, _ := shadow.Outbound(&again); !mine {
		return nil, errors.New("a recorded cell is noise to its own layer: the check sees nothing")
	}
	return r, nil
}

// replay sends the CREATE and the cell again.
func (r *recording) replay(t *testing.T, conn *quic.Conn, n directory.Node) error {
	t.Helper()
	ch, err := openRaw(t.Context(), conn)
	if err != nil {
		return err
	}
	if err := ch.writeShake(onion.CmdCreate, r.create); err != nil {
		return err
	}
	created, err := ch.readShake(onion.CmdCreated)
	if err != nil {
		return err
	}
	for _, earlier := range r.created {
		if common(created, earlier) {
			t.Errorf("two answers of %s to one CREATE have bytes in common", n.Operator)
		}
	}
	r.created = append(r.created, created)
	again := r.probe
	if err := ch.write(&again); err != nil {
		return err
	}
	_, err = ch.read()
	return endedWith(err, onion.ReasonProtocol)
}

// commonRun is how many equal bytes in a row show that two answers have
// something in common: by chance, one pair in 2^53 has so many.
const commonRun = 8

// common reports whether two answers have so many bytes in a row in common at
// one place.
func common(a, b []byte) bool {
	for i := 0; i+commonRun <= min(len(a), len(b)); i++ {
		if bytes.Equal(a[i:i+commonRun], b[i:i+commonRun]) {
			return true
		}
	}
	return false
}

// TestReplayedCells sends recorded cells again, on their own circuit and on
// another one: that circuit ends, and those beside it go on.
func TestReplayedCells(t *testing.T) {
	s := newStage(t, 0, 5)
	for name, at := range map[string][2]int{"on its own circuit": {0, 0}, "on another circuit": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			steady(t, func() error {
				conn, err := s.dial(s.real(1), nil, wideWindow)
				if err != nil {
					return err
				}
				var circuits [3]*rawCircuit
				for i := range circuits {
					if circuits[i], err = newRawCircuit(t.Context(), conn, s.real(1), s.real(2), s.real(3)); err != nil {
						return err
					}
				}
				return replayCell(circuits[:], at[0], at[1])
			})
		})
	}
}

// replayCell sends a cell on one circuit and then on another or the same one.
func replayCell(circuits []*rawCircuit, from, to int) error {
	cells, err := circuits[from].seal(2, onion.CmdRelay, onion.Probe([8]byte{2}))
	if err != nil {
		return err
	}
	recorded := *cells[0]
	if err := circuits[from].write(cells...); err != nil {
		return err
	}
	if _, err := circuits[from].expect(2, onion.MsgProbeReply); err != nil {
		return fmt.Errorf("the first time: %w", err)
	}
	if err := circuits[to].write(&recorded); err != nil {
		return err
	}
	_, err = circuits[to].read()
	if err := endedWith(err, onion.ReasonProtocol); err != nil {
		return fmt.Errorf("the second time: %w", err)
	}
	for i, c := range circuits {
		if i == to {
			continue
		}
		if err := c.probe(2); err != nil {
			return fmt.Errorf("a circuit on which nothing was replayed: %w", err)
		}
	}
	return nil
}

// TestReplayedRequest sends a recorded sealed request again, as an exit could:
// on its stream, on another, over another exit, and after the member's restart.
// It is refused, and after the restart nobody can open it any more.
func TestReplayedRequest(t *testing.T) {
	s := newStage(t, 0, 6)
	member := s.real(4)
	over := func(exit int) (*rawCircuit, error) {
		conn, err := s.dial(s.real(1), nil, wideWindow)
		if err != nil {
			return nil, err
		}
		return newRawCircuit(t.Context(), conn, s.real(1), s.real(2), s.real(exit))
	}
	var frame []byte
	var fresh *mailbox.ReplyOpener // which counts answers, and so is copied
	steady(t, func() error {
		c, err := over(3)
		if err != nil {
			return err
		}
		first := c.begin(1, member)
		cert, err := first.askKeys()
		if err != nil {
			return err
		}
		if err := cert.Verify(member.ID, time.Now()); err != nil {
			return err
		}
		if frame, fresh, err = mailbox.SealRequest(rand.Reader, cert, time.Now(), &mailbox.Quote{}); err != nil {
			return err
		}
		answer, err := first.ask(frame)
		if err != nil {
			return err
		}
		opener := *fresh
		if resp, err := opener.Open(answer); err != nil || resp.Tag() != mailbox.TagQuoteReply {
			return fmt.Errorf("the first time: %v, %w", resp, err)
		}
		if err := refused(first, frame, fresh); err != nil {
			return fmt.Errorf("on its stream: %w", err)
		}
		if err := refused(c.begin(2, member), frame, fresh); err != nil {
			return fmt.Errorf("on another stream: %w", err)
		}
		if c, err = over(5); err != nil {
			return err
		}
		if err := refused(c.begin(1, member), frame, fresh); err != nil {
			return fmt.Errorf("over another exit: %w", err)
		}
		return nil
	})
	s.restart(4)
	steady(t, func() error {
		c, err := over(6) // which had no link to the member that has died
		if err != nil {
			return err
		}
		answer, err := c.begin(1, member).ask(frame)
		if err != nil {
			return err
		}
		if kind, err := mailbox.FrameType(answer); err != nil || kind != mailbox.FrameKeys {
			return fmt.Errorf("after a restart the member answers with a frame of type %d: %w", kind, err)
		}
		return nil
	})
}

// refused sends a recorded request and expects its refusal.
func refused(s *rawStream, frame []byte, fresh *mailbox.ReplyOpener) error {
	answer, err := s.ask(frame)
	if err != nil {
		return err
	}
	opener := *fresh
	resp, err := opener.Open(answer)
	if err != nil {
		return err
	}
	if no, ok := resp.(*mailbox.Failure); !ok || !errors.Is(no, mailbox.ErrReplay) {
		return fmt.Errorf("answered by %v", resp)
	}
	return nil
}
