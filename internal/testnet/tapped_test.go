package testnet

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"

	"sotto/internal/client"
	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// entropy is a client's randomness, remembered: with it a wiretap can make the
// keys of the client's circuits, and see with every hop's eyes.
type entropy struct {
	mu      sync.Mutex // guards what follows
	scalars map[suite.DHPublic][]byte
	seeds   map[suite.KEMPublic][]byte
}

func newEntropy() *entropy {
	return &entropy{scalars: map[suite.DHPublic][]byte{}, seeds: map[suite.KEMPublic][]byte{}}
}

// Read implements io.Reader.
func (e *entropy) Read(p []byte) (int, error) {
	n, err := rand.Read(p)
	if err != nil {
		return n, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch len(p) {
	case suite.DHSize:
		if k, err := suite.DHPrivateFrom(p); err == nil {
			e.scalars[k.Public()] = bytes.Clone(p)
		}
	case suite.KEMSeedSize:
		if k, err := suite.KEMPrivateFrom(p); err == nil {
			e.seeds[k.Public()] = bytes.Clone(p)
		}
	}
	return n, nil
}

// handshake makes the client's side of a CREATE again; nil if it is not ours.
func (e *entropy) handshake(node directory.Node, create []byte) *onion.ClientHandshake {
	const offX = 3 + 8 + identity.NodeIDSize + suite.DHSize // version, class, effort, nonce, ID, B
	x := suite.DHPublic(create[offX:][:suite.DHSize])
	kem := suite.KEMPublic(create[offX+suite.DHSize:][:suite.KEMPublicSize])
	e.mu.Lock()
	secrets := append(bytes.Clone(e.scalars[x]), e.seeds[kem]...)
	e.mu.Unlock()
	h, again, err := onion.StartHandshake(bytes.NewReader(secrets), node.ID, node.OnionKey, onion.ClassStream, nil)
	if err != nil || !bytes.Equal(again, create) {
		return nil
	}
	return h
}

// tappedCircuit is a circuit as the taps in front of its hops see it.
type tappedCircuit struct {
	hops []*tappedChannel
}

// tappedChannel is one circuit's stream to one hop. wiretap.mu guards it.
type tappedChannel struct {
	dialled
	w    *wiretap
	id   uint32
	done chan struct{} // closed when both directions have ended

	circuit   *tappedCircuit
	hop       int
	handshake *onion.ClientHandshake
	half      [2]*onion.Cell // first parts of CREATE and CREATED

	shadow     *onion.RelayCircuit // what the hop has
	unpack     onion.Unpacker
	recognised []bool // of each RELAY cell away from the client: by this hop
	commands   map[onion.MsgCommand]int
	toward     int // RELAY cells toward the client
	noise      int // the first of recognised that was tampered with; -1
}

// see looks at a cell that is passed on, and changes it if that is due.
func (ch *tappedChannel) see(cell *onion.Cell, toward bool) {
	ch.w.mu.Lock()
	defer ch.w.mu.Unlock()
	if err := onion.CheckHeader(cell); err != nil {
		ch.w.faultLocked("what is no cell went to node %d: %v", ch.to+1, err)
		return
	}
	if cell.CircID() != ch.id {
		ch.w.faultLocked("a cell of circuit %d went by on the stream of circuit %d", cell.CircID(), ch.id)
	}
	switch cmd := cell.Command(); {
	case cmd == onion.CmdCreate && !toward:
		if create := ch.join(0, cell); create != nil {
			ch.begin(create)
		}
	case cmd == onion.CmdCreated && toward:
		if created := ch.join(1, cell); created != nil {
			ch.finish(created)
		}
	case (cmd == onion.CmdRelay || cmd == onion.CmdRelayEarly) && !toward:
		ch.tamper(cell, toward)
		ch.relayed(*cell)
	case cmd == onion.CmdRelay:
		ch.tamper(cell, toward)
		ch.toward++
	case cmd == onion.CmdCreate, cmd == onion.CmdCreated, cmd == onion.CmdRelayEarly:
		ch.w.faultLocked("%v in the wrong direction", cmd)
	}
}

func (ch *tappedChannel) join(i int, cell *onion.Cell) []byte {
	c := *cell
	if ch.half[i] == nil {
		ch.half[i] = &c
		return nil
	}
	b, err := onion.JoinCreate(ch.half[i], &c, c.Command())
	if err != nil {
		ch.w.faultLocked("two parts of a handshake: %v", err)
		return nil
	}
	return b
}

// begin finds out whose circuit this is, and which of its hops.
func (ch *tappedChannel) begin(create []byte) {
	ch.handshake = ch.w.entropy.handshake(ch.w.layout.Nodes[ch.to].Node, create)
	if ch.handshake == nil {
		ch.w.faultLocked("a CREATE to node %d is nobody's", ch.to+1)
		return
	}
	if !ch.fromNode {
		ch.circuit = &tappedCircuit{}
		ch.w.circuits = append(ch.w.circuits, ch.circuit)
	} else if parent := ch.w.parents[sha256.Sum256(create)]; parent != nil {
		ch.circuit, ch.hop = parent.circuit, parent.hop+1
	} else {
		ch.w.faultLocked("a CREATE to node %d follows from no EXTEND", ch.to+1)
		return
	}
	ch.circuit.hops = append(ch.circuit.hops, ch)
}

func (ch *tappedChannel) finish(created []byte) {
	if ch.handshake == nil {
		return
	}
	keys, _, err := ch.handshake.Finish(created)
	if err != nil {
		ch.w.faultLocked("a CREATED of node %d: %v", ch.to+1, err)
		return
	}
	ch.shadow, ch.commands = onion.NewRelayCircuit(keys), map[onion.MsgCommand]int{}
}

// relayed opens a layer as the hop is about to.
func (ch *tappedChannel) relayed(cell onion.Cell) {
	if ch.shadow == nil {
		return
	}
	mine, payload, _ := ch.shadow.Outbound(&cell)
	ch.recognised = append(ch.recognised, mine)
	if !mine {
		return
	}
	_, err := ch.unpack.Feed(payload, func(m onion.Message) error {
		ch.commands[m.Command]++
		if m.Command != onion.MsgExtend {
			return nil
		}
		_, create, err := m.Extension()
		ch.w.parents[sha256.Sum256(create)] = ch
		return err
	})
	if err != nil {
		ch.w.faultLocked("a cell for node %d: %v", ch.to+1, err)
	}
}

// passedOn is how many RELAY cells the hop has to pass on so far.
func (ch *tappedChannel) passedOn() (n int) {
	for _, mine := range ch.recognised {
		if !mine {
			n++
		}
	}
	return n
}

// flip is a bit to be flipped once, in the next cell that goes to or comes from
// a hop of a circuit that a person sends over; at hop 3, which is the swarm, in
// the next bytes that go from an exit to it.
type flip struct {
	person    string           // the network address
	receiving []*tappedCircuit // of the person's circuits those for receiving
	hop       int
	toward    bool
	at        int  // byte of the cell's body
	mask      byte // bit of it
	on        *tappedCircuit
	fired     chan struct{}
}

// arm makes the wiretap flip a bit of what p sends, or is answered, next. Over
// which circuit that goes is for the client to choose.
func (w *wiretap) arm(p *person, f flip) *flip {
	f.fired, f.person = make(chan struct{}), p.addrs[len(p.addrs)-1].String()
	paths := p.Paths()
	w.mu.Lock()
	defer w.mu.Unlock()
	over := func(c *tappedCircuit, purpose string) bool {
		return slices.ContainsFunc(paths, func(p client.Path) bool { return p.Purpose == purpose && c.is(p) })
	}
	for _, c := range w.circuits {
		// Two circuits may have the same hops: better one too many than none.
		if over(c, "receiving") && !over(c, "sending") && c.hops[2].commands[onion.MsgBegin] > 0 {
			f.receiving = append(f.receiving, c)
		}
	}
	w.flip = &f
	return &f
}

// takes reports whether c stands, is the person's, and is not for receiving. An
// answer means that it was used.
func (f *flip) takes(c *tappedCircuit) bool {
	if c == nil || len(c.hops) < 3 || c.hops[0].addr != f.person || slices.Contains(f.receiving, c) {
		return false
	}
	exit := c.hops[2]
	return exit.commands[onion.MsgBegin] > 0 || exit.shadow != nil && !f.toward
}

func (ch *tappedChannel) tamper(cell *onion.Cell, toward bool) {
	f := ch.w.flip
	if f == nil || f.on != nil || f.hop != ch.hop || f.toward != toward || !f.takes(ch.circuit) {
		return
	}
	cell.Body()[f.at] ^= f.mask
	f.on = ch.circuit
	if !toward {
		ch.noise = len(ch.recognised)
		if next := ch.hop + 1; next < len(ch.circuit.hops) {
			ch.circuit.hops[next].noise = ch.passedOn()
		}
	}
	close(f.fired)
}

// tamper flips a bit of what an exit passes on; at counts in sixteenths.
func (s *tappedService) tamper(b []byte) {
	f := s.w.flip
	if f == nil || f.on != nil || f.hop != 3 || len(b) < 1<<10 { // a sealed request has a KiB at least
		return
	}
	for _, c := range s.w.circuits {
		if f.takes(c) && s.from == s.w.layout.Nodes[c.hops[2].to].Node.ID {
			b[f.at*(len(b)-1)/16] ^= f.mask
			f.on = c
			close(f.fired)
			return
		}
	}
}

// is reports whether c goes over a path's nodes. That does not name it: one that
// is still unused may have the same.
func (c *tappedCircuit) is(p client.Path) bool {
	want := []string{p.Guard.ID, p.Middle.ID, p.Exit.ID}
	return slices.EqualFunc(c.hops, want, func(ch *tappedChannel, id string) bool {
		return ch.w.layout.Nodes[ch.to].Node.ID.String() == id
	})
}
