package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// servePeer answers another member's calls, several at a time, so that they
// share an fsync and a receipt's signature.
func (s *Swarm) servePeer(from identity.NodeID, rwc io.ReadWriteCloser, w *watch) error {
	p := s.peer(from)
	if p == nil {
		return ErrPeer
	}
	rwc = metered{rwc, s.metrics.peerBytes}
	frame, err := wire.ReadFrame(rwc, helloSize)
	if err != nil {
		return err
	}
	if err := checkHello(frame, from, s.self, s.cfg.Now()); err != nil {
		return err
	}
	w.stop()
	p.serving(rwc)
	defer p.servedOut(rwc)
	ps := &peerStream{
		s: s, p: p, rwc: rwc, watch: w,
		slots: make(chan struct{}, peerServing), others: make(chan struct{}, peerOthers),
		ready: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	ps.taken.L = &ps.mu
	return ps.serve()
}

// peerStream is a stream on which a peer calls. One goroutine reads, and checks
// puts itself; one writes what is answered; calls that take time have one each.
type peerStream struct {
	s      *Swarm
	p      *peer
	rwc    io.ReadWriteCloser
	slots  chan struct{} // calls whose answers are not written yet
	others chan struct{} // those of them that are no puts, in work
	ready  chan struct{} // there are answers
	ended  chan struct{} // nothing is written any more
	watch  *watch        // of the one who writes

	// mu guards what follows.
	mu      sync.Mutex
	out     []byte    // frames of answers
	answers int       // in out
	closed  bool      // as ended
	taken   sync.Cond // out was taken, or closed
}

func (ps *peerStream) serve() error {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { ps.writeAnswers(stop) })
	defer wg.Wait()
	defer close(stop)
	defer cut(ps.rwc) // before waiting: ends writes that nobody takes
	in := bufio.NewReaderSize(ps.rwc, readBytes)
	for {
		frame, err := wire.ReadFrame(in, maxPeerFrame)
		if err != nil {
			return err
		}
		op, id, body, err := parseCall(frame)
		if err != nil {
			return err
		}
		if err := ps.take(ps.slots); err != nil {
			return err
		}
		if opcode(op) == opPut {
			ps.put(id, body)
			continue
		}
		if err := ps.take(ps.others); err != nil {
			return err
		}
		wg.Go(func() {
			defer func() { <-ps.others }()
			out, err := ps.handle(ps.s.ctx, opcode(op), body)
			ps.waitForRoom()
			ps.answer(id, out, err)
		})
	}
}

// take waits for a slot, as long as answers can be given.
func (ps *peerStream) take(slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ps.ended:
		return errPeerSlow
	case <-ps.s.ctx.Done():
		return ErrClosed
	}
}

// put checks a copy here, where its turn is, and has it stored: so the costly
// part takes one processor for each stream at most, and no more goroutines.
func (ps *peerStream) put(id uint64, body []byte) {
	keepers, e, err := ps.checkPut(body)
	if err != nil {
		ps.answer(id, nil, err)
		return
	}
	ps.s.keep(ps.s.ctx, e, func(r *mailbox.Receipt, err error) {
		if err == nil {
			err = ps.s.still(keepers, e.Address)
		}
		if err != nil {
			ps.answer(id, nil, err)
			return
		}
		ps.answer(id, r.Encode(), nil)
	})
}

func (ps *peerStream) checkPut(body []byte) (keeperSet, *store.Envelope, error) {
	keepers, body, err := parseChange(body)
	if err != nil {
		return keepers, nil, err
	}
	req, err := mailbox.ParseRequest(body)
	if err != nil {
		return keepers, nil, err
	}
	put, ok := req.(*mailbox.Put)
	if !ok {
		return keepers, nil, fmt.Errorf("put of another request: %w", ErrProtocol)
	}
	if err := ps.s.still(keepers, put.Address()); err != nil {
		return keepers, nil, err
	}
	if err := ps.s.paid(put); err != nil {
		return keepers, nil, err
	}
	e, err := ps.s.copiedEnvelope(put)
	return keepers, e, err
}

// answer hands an answer to the one who writes, and never waits for it.
func (ps *peerStream) answer(id uint64, body []byte, err error) {
	code := uint8(codeDone)
	if err != nil {
		code, body = uint8(mailbox.CodeOf(err)), nil
	}
	ps.mu.Lock()
	ps.out = appendCall(ps.out, code, id, body)
	ps.answers++
	ps.mu.Unlock()
	signal(ps.ready)
}

// waitForRoom lets large answers wait for the ones before them.
func (ps *peerStream) waitForRoom() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for len(ps.out) >= writeBytes && !ps.closed {
		ps.taken.Wait()
	}
}

// writeAnswers writes what was answered, many at a time. A stream that cannot
// take it is closed, and serve ends.
func (ps *peerStream) writeAnswers(stop <-chan struct{}) {
	defer func() {
		ps.mu.Lock()
		ps.closed = true
		ps.taken.Broadcast()
		ps.mu.Unlock()
		close(ps.ended)
		cut(ps.rwc)
	}()
	var spare []byte
	for {
		select {
		case <-ps.ready:
		case <-stop:
			return
		}
		ps.mu.Lock()
		out, answers := ps.out, ps.answers
		ps.out, ps.answers = spare, 0
		ps.taken.Broadcast()
		ps.mu.Unlock()
		ps.watch.within(callTimeout)
		_, err := ps.rwc.Write(out)
		ps.watch.stop()
		if err != nil {
			return
		}
		for range answers {
			<-ps.slots
		}
		spare = kept(out)
	}
}

// kept is a buffer to be used again, unless an answer made it large.
func kept(b []byte) []byte {
	if cap(b) > 2*writeBytes {
		return nil
	}
	return b[:0]
}

func (ps *peerStream) handle(ctx context.Context, op opcode, body []byte) ([]byte, error) {
	switch op {
	case opOpen, opDelete:
		return nil, ps.change(ctx, op, body)
	case opGet:
		return ps.s.serveGet(ctx, ps.p.id, body)
	case opNudge:
		if len(body) > 0 && !ps.p.member {
			return nil, mailbox.ErrWrongSwarm
		}
		if len(body) > 0 {
			return ps.s.serveOffer(body)
		}
		ps.p.lookSoon()
		return nil, nil
	case opReconcile:
		return ps.s.serveReconcile(ctx, ps.p.id, body)
	case opMailbox:
		return ps.serveMailbox(body)
	case opMove:
		return ps.serveMove(ctx, body)
	default:
		return nil, fmt.Errorf("call %d: %w", op, ErrProtocol)
	}
}

// change accepts a copy of an opening or a deletion from its coordinator.
func (ps *peerStream) change(ctx context.Context, op opcode, body []byte) error {
	keepers, body, err := parseChange(body)
	if err != nil {
		return err
	}
	req, err := mailbox.ParseRequest(body)
	if err != nil {
		return err
	}
	want := mailbox.TagOpen
	if op == opDelete {
		want = mailbox.TagDelete
	}
	if req.Tag() != want {
		return fmt.Errorf("call %d with another request: %w", op, ErrProtocol)
	}
	a, _ := addressOf(req) // accept refuses what has none
	if err := ps.s.still(keepers, a); err != nil {
		return err
	}
	if err := ps.s.paid(req); err != nil {
		return err
	}
	if err := ps.s.accept(ctx, req); err != nil {
		return err
	}
	return ps.s.still(keepers, a)
}

// serveGet gives a node records of its own addresses, at the pace that all who
// copy from this one share.
func (s *Swarm) serveGet(ctx context.Context, asker identity.NodeID, body []byte) ([]byte, error) {
	refs, err := parseRefs(body)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	size := 0
	for _, x := range refs {
		r, err := s.record(x)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		if size += len(r); size >= getBytes {
			break
		}
	}
	// Asked after reading: a record that was dropped meanwhile is not gone.
	if err := s.mayGet(s.view(), asker, refs); err != nil {
		return nil, err
	}
	if err := s.copies.take(ctx, size); err != nil {
		return nil, err
	}
	return encodeRecords(out), nil
}

// record returns a stored record as the request that made it, or nothing when
// it is gone.
func (s *Swarm) record(x ref) ([]byte, error) {
	r, err := s.cfg.Store.Record(x.kind, x.address, x.ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if x.kind != store.KindEnvelope {
		return r.Proof, nil
	}
	req, err := mailbox.ParseRequest(r.Proof)
	if err != nil {
		return nil, err
	}
	put, ok := req.(*mailbox.Put)
	if !ok {
		return nil, store.ErrCorrupt
	}
	put.Envelope = r.Bytes
	return mailbox.EncodeRequest(put), nil
}
