package circuit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/directory"
	"sotto/internal/link"
	"sotto/internal/onion"
)

// circuit is a live circuit of three hops. Three goroutines serve it: run
// reads and ends it, writeLoop writes, keep probes it.
type circuit struct {
	id       uint64
	path     directory.Path
	link     liver
	ch       *link.Channel
	onion    *onion.ClientCircuit // Seal by writeLoop, Open by run
	now      func() time.Time
	token    func() ([8]byte, error)
	builtAt  time.Time
	replan   func()
	vanguard bool            // the middle is one: for receiving alone
	retiring chan struct{}   // closed when it retires
	leaving  atomic.Int32    // 1 + the first hop that said that it is going down
	done     chan struct{}   // closed when the circuit is dead
	wake     chan struct{}   // holds one: there may be something to write
	wrote    func(cells int) // tells the cover traffic
	failed   func(path directory.Path, lost bool, err error)
	carries  atomic.Bool // stands over the guard in use, for the cover traffic

	// Guarded by Manager.mu.
	used    bool // belongs to iso
	iso     Isolation
	usedAt  time.Time     // of the first stream
	lastUse time.Time     // of the last change in the number of streams
	life    time.Duration // how long it takes streams, from its building or first use
	retired bool
	left    bool // retired because a node is going down
	// unlisted: retired because the directory does not list one of its nodes.
	unlisted bool
	told     time.Duration // the mean that hops were told for dummies
	tellAt   time.Time     // when they are told of another; zero: told is right

	// The reader's.
	unpack  [hops]onion.Unpacker
	receive onion.ReceiveWindow

	mu      sync.Mutex // guards what follows and all streams' state
	err     error      // why the circuit is dead
	lost    bool       // the link died, too
	served  bool       // the exit has answered on a stream
	streams map[uint16]*Stream
	last    uint16    // the last stream's number
	ready   []*Stream // have something to send, in turn
	control onion.Packer
	window  onion.SendWindow
	rtt     time.Duration
	probe   probe
	trains  []train   // dummies that wait to be written
	answers [hops]int // DROPs that are due as answers to dummies
	dropped [hops]int // others
}

func newCircuit(b *build, t *telescope, m *Manager) *circuit {
	now := m.cfg.Now()
	c := &circuit{
		id: b.id, path: b.path, vanguard: b.vanguard, link: t.link, ch: t.ch, onion: &t.onion,
		now: m.cfg.Now, token: m.probeToken, replan: m.kickMaintain, failed: m.channelFailed, builtAt: now,
		life:     m.shortened(maxIdleAge),
		retiring: make(chan struct{}),
		done:     make(chan struct{}), wake: make(chan struct{}, 1),
		streams: make(map[uint16]*Stream), rtt: t.rtt,
	}
	c.wrote = func(cells int) { m.wrote(c, cells) }
	c.ch.AllowPadding()
	return c
}

// run serves the circuit until it is dead.
func (c *circuit) run() {
	var writer sync.WaitGroup
	writer.Go(c.writeLoop)
	writer.Go(c.keep)
	c.readLoop()
	writer.Wait()
}

func (c *circuit) readLoop() {
	for {
		// Wait holds no buffer: most circuits are silent most of the time.
		if err := c.ch.Wait(); err != nil {
			c.failChannel(err)
			return
		}
		if err := c.readBatch(); err != nil {
			return
		}
	}
}

func (c *circuit) readBatch() error {
	b := link.NewBatch()
	defer b.Release()
	if err := c.ch.ReadBatch(b); err != nil {
		c.failChannel(err)
		return err
	}
	for i := range b.Len() {
		if err := c.receiveCell(b.Cell(i)); err != nil {
			c.fail(err)
			return err
		}
	}
	return nil
}

// receiveCell takes one cell from the guard (spec/circuit.md §5.5).
func (c *circuit) receiveCell(cell *onion.Cell) error {
	if err := onion.CheckHeader(cell); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if cell.CircID() != c.ch.CircID() {
		return fmt.Errorf("%w: cell of another circuit", errProtocol)
	}
	switch cell.Command() {
	case onion.CmdPadding:
		return nil
	case onion.CmdDestroy:
		return &ReasonError{cell.DestroyReason()}
	case onion.CmdRelay:
	default:
		return fmt.Errorf("%w: %v on an open circuit", errProtocol, cell.Command())
	}
	hop, payload, tag, err := c.onion.Open(cell)
	if err != nil {
		return fmt.Errorf("%w: %w", errGarbled, err)
	}
	return c.receivePayload(hop, payload, tag)
}

// receivePayload handles the messages in a cell that hop made.
func (c *circuit) receivePayload(hop int, payload []byte, tag onion.Tag) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hop == exitHop {
		c.probe.heardLocked()
	}
	data, err := c.unpack[hop].Feed(payload, func(m onion.Message) error { return c.handleLocked(hop, m) })
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if data && c.receive.Received() {
		return c.sendLocked(onion.Sendme(tag))
	}
	return nil
}

var errUnexpected = errors.New("unexpected message")

func unexpected(hop int, m onion.Message) error {
	return fmt.Errorf("%w: %v on stream %d from hop %d", errUnexpected, m.Command, m.Stream, hop)
}

// handleLocked takes one message. Only the exit has more to say than DROP and
// TRUNCATED.
func (c *circuit) handleLocked(hop int, m onion.Message) error {
	if m.Command == onion.MsgDrop {
		return c.droppedLocked(hop, m)
	}
	if m.Command == onion.MsgTruncated {
		return c.truncatedLocked(hop, m)
	}
	if hop != exitHop {
		return unexpected(hop, m)
	}
	if m.Stream != 0 {
		return c.handleStreamLocked(m)
	}
	switch m.Command {
	case onion.MsgSendme:
		tag, err := m.SendmeTag()
		if err == nil {
			err = c.window.Acknowledge(tag, c.now())
		}
		c.wakeWriter()
		return err
	case onion.MsgProbeReply:
		return c.answeredLocked(m)
	}
	return unexpected(hop, m)
}

// handleStreamLocked takes a message of a stream. What concerns a stream that
// was closed is ignored: it crossed our END.
func (c *circuit) handleStreamLocked(m onion.Message) error {
	c.served = true
	s := c.streams[m.Stream]
	if s == nil && m.Stream > c.last {
		return unexpected(exitHop, m)
	}
	switch m.Command {
	case onion.MsgConnected:
		if len(m.Data) != 0 {
			return onion.ErrMessage
		}
		if s != nil {
			return s.connectedLocked()
		}
	case onion.MsgData:
		if len(m.Data) == 0 {
			return onion.ErrMessage
		}
		if s != nil {
			return s.dataLocked(m.Data)
		}
	case onion.MsgEnd:
		why, err := m.Reason()
		if err != nil {
			return err
		}
		if s != nil {
			return s.endedLocked(why)
		}
	case onion.MsgSendme:
		if _, err := m.SendmeTag(); err != nil {
			return err
		}
		if s != nil {
			return s.acknowledgedLocked()
		}
	default:
		return unexpected(exitHop, m)
	}
	return nil
}

// sendLocked queues a message that no window holds back.
func (c *circuit) sendLocked(m onion.Message) error {
	if err := c.control.Add(m); err != nil {
		return err
	}
	c.wakeWriter()
	return nil
}

func (c *circuit) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// fail ends the circuit and all its streams. The first cause stays.
func (c *circuit) fail(err error) { c.end(err, false) }

// failChannel is fail for an error of the channel.
func (c *circuit) failChannel(err error) {
	lost, err := channelError(c.link, err)
	if !c.dead() {
		c.failed(c.path, lost, err)
	}
	c.end(err, lost)
}

func (c *circuit) end(err error, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err, c.lost = err, lost
	c.probe.heardLocked()
	for _, s := range c.streams {
		s.signalLocked()
	}
	close(c.done)
	c.ch.Abort(link.Code(onion.ReasonDone))
}

// dead reports whether the circuit has ended.
func (c *circuit) dead() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// deadErrorLocked is what streams return once the circuit has ended.
func (c *circuit) deadErrorLocked() error { return &DeadError{Path: c.id, Err: c.err} }

// outcome is how a circuit ended.
type outcome struct {
	err    error
	lost   bool // with its link
	served bool // the exit had answered on a stream
}

func (c *circuit) outcome() outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return outcome{c.err, c.lost, c.served}
}

// streamCount returns how many streams are open.
func (c *circuit) streamCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// takesStreams reports whether another stream can be opened.
func (c *circuit) takesStreams() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams) < MaxStreams && c.last < maxUses && c.leaving.Load() == 0
}

// usedUp reports whether no more streams will ever be opened.
func (c *circuit) usedUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last >= maxUses
}
