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
	ps := &peerStream{s: s, p: p, rwc: rwc, watch: w, slots: make(chan struct{}, peerServing)}
	ps.written.L = &ps.mu
	return ps.serve()
}

type peerStream struct {
	s     *Swarm
	p     *peer
	rwc   io.ReadWriteCloser
	slots chan struct{}

	// mu guards what follows. Of the replies under way one writes, for all that
	// come meanwhile.
	mu      sync.Mutex
	out     []byte // frames that nobody writes yet
	spare   []byte // to gather the next ones in
	writing bool
	written sync.Cond // a write ended
	watch   *watch    // of the one who writes
}

func (ps *peerStream) serve() error {
	var wg sync.WaitGroup
	defer wg.Wait()
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
		ps.slots <- struct{}{} // freed by calls that end, at the latest when rwc closes
		wg.Go(func() {
			defer func() { <-ps.slots }()
			ps.reply(id, opcode(op), body)
		})
	}
}

// reply carries out a call and answers it.
func (ps *peerStream) reply(id uint64, op opcode, body []byte) {
	out, err := ps.handle(ps.s.ctx, op, body)
	code := uint8(codeDone)
	if err != nil {
		code, out = uint8(mailbox.CodeOf(err)), nil
	}
	ps.write(code, id, out)
}

// write answers a call, together with all that are answered while it writes.
// A stream that cannot take the answers is closed, and serve ends.
func (ps *peerStream) write(code uint8, id uint64, body []byte) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for ps.writing && len(ps.out) >= writeBytes {
		ps.written.Wait()
	}
	ps.out = appendCall(ps.out, code, id, body)
	if ps.writing {
		return
	}
	ps.writing = true
	for len(ps.out) > 0 {
		out := ps.out
		ps.out = ps.spare[:0]
		ps.mu.Unlock()
		ps.watch.within(callTimeout)
		_, err := ps.rwc.Write(out)
		ps.watch.stop()
		if err != nil {
			cut(ps.rwc)
		}
		ps.mu.Lock()
		ps.spare = kept(out)
		ps.written.Broadcast()
	}
	ps.writing = false
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
	case opPut, opOpen, opDelete:
		return ps.change(ctx, op, body)
	case opGet:
		return ps.s.serveGet(body)
	case opNudge:
		ps.p.lookSoon()
		return nil, nil
	case opReconcile:
		return ps.s.serveReconcile(body)
	default:
		return nil, fmt.Errorf("call %d: %w", op, ErrProtocol)
	}
}

// change accepts a copy from its coordinator, and answers a put by a receipt.
func (ps *peerStream) change(ctx context.Context, op opcode, body []byte) ([]byte, error) {
	keepers, body, err := parseChange(body)
	if err != nil {
		return nil, err
	}
	req, err := mailbox.ParseRequest(body)
	if err != nil {
		return nil, err
	}
	if want := map[opcode]mailbox.Tag{opPut: mailbox.TagPut, opOpen: mailbox.TagOpen, opDelete: mailbox.TagDelete}; req.Tag() != want[op] {
		return nil, fmt.Errorf("call %d with another request: %w", op, ErrProtocol)
	}
	a, _ := addressOf(req) // accept refuses what has none
	if err := ps.s.still(keepers, a); err != nil {
		return nil, err
	}
	if err := ps.s.accept(ctx, req); err != nil {
		return nil, err
	}
	if err := ps.s.still(keepers, a); err != nil {
		return nil, err
	}
	put, ok := req.(*mailbox.Put)
	if !ok {
		return nil, nil
	}
	r, err := ps.s.receipts.sign(ctx, envelopeOf(put))
	if err != nil {
		return nil, err
	}
	return r.Encode(), nil
}

func (s *Swarm) serveGet(body []byte) ([]byte, error) {
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
