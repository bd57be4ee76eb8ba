package client

import (
	"crypto/rand"
	"net"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

type fakeMember struct {
	id    identity.NodeID
	key   suite.SigningKey
	epoch uint64
	req   *mailbox.RequestKey
	all   []*mailbox.RequestKey // the earlier ones too
	bits  uint8                 // its price; 0 is everybody's
	down  bool
	boxes map[mailbox.Address]*fakeBox
	conns map[net.Conn]bool
}

type fakeBox struct {
	open  bool
	items []mailbox.Item
	seqs  []uint64
	next  uint64
	dead  map[mailbox.Digest]bool
	subs  map[*fakeSub]bool
}

type fakeSub struct{ wake chan struct{} }

func (s *fakeSwarm) serve(m *fakeMember, conn net.Conn) {
	for {
		frame, err := wire.ReadFrame(conn, mailbox.MaxFrame)
		if err != nil {
			return
		}
		kind, err := mailbox.FrameType(frame)
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.marking && kind == mailbox.FrameKeys {
			s.rotateLocked(m)
		}
		key := m.req
		s.mu.Unlock()
		if kind == mailbox.FrameKeys {
			if stream, ok := conn.(*modelStream); ok {
				stream.asked = true
			}
			if wire.WriteFrame(conn, mailbox.KeysReply(key.Cert())) != nil {
				return
			}
			continue
		}
		got, sealer, err := s.openSealed(m, key, frame)
		if err != nil {
			_ = wire.WriteFrame(conn, mailbox.KeysReply(key.Cert()))
			continue
		}
		if refused, ok := s.refuseBusy(m, conn, got, sealer); refused {
			if !ok {
				return
			}
			continue
		}
		if sub, ok := got.Request.(*mailbox.Subscribe); ok {
			s.subscribe(m, conn, got, sub, sealer)
			return
		}
		s.mu.Lock()
		var held <-chan struct{}
		if s.stall != nil {
			held = s.stall(m.id, got.Request)
		}
		s.mu.Unlock()
		if held != nil {
			<-held
		}
		resp, err := s.handle(m, got)
		if err != nil {
			resp = mailbox.Refuse(err)
		} else {
			s.tell(m, conn, got)
		}
		s.mu.Lock()
		mute := s.mute != nil && s.mute(m.id, got.Request)
		s.mu.Unlock()
		if mute {
			return
		}
		if !reply(conn, sealer, resp) {
			return
		}
	}
}

// refuseBusy answers a request if the member is busy; ok says whether the answer
// was taken.
func (s *fakeSwarm) refuseBusy(m *fakeMember, conn net.Conn, got *mailbox.Received, sealer *mailbox.ReplySealer) (refused, ok bool) {
	s.mu.Lock()
	var seconds uint32
	var sealed bool
	if s.busy != nil {
		seconds, sealed = s.busy(m.id, got.Request)
	}
	s.mu.Unlock()
	switch {
	case seconds == 0:
		return false, true
	case sealed:
		f := mailbox.Refuse(mailbox.ErrBusy)
		f.RetryAfter = seconds
		return true, reply(conn, sealer, f)
	default:
		return true, wire.WriteFrame(conn, mailbox.BusyReply(seconds)) == nil
	}
}

// openSealed opens a request with the key of the moment; a member that marks
// its askers tries all keys that it gave out.
func (s *fakeSwarm) openSealed(m *fakeMember, key *mailbox.RequestKey, frame []byte) (*mailbox.Received, *mailbox.ReplySealer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.marking {
		return key.OpenRequest(frame)
	}
	for _, k := range m.all {
		got, sealer, err := k.OpenRequest(frame)
		if err != nil {
			continue
		}
		if named, ok := got.Request.(interface{ Address() mailbox.Address }); ok {
			if s.marks[k] == nil {
				s.marks[k] = map[mailbox.Address]bool{}
			}
			s.marks[k][named.Address()] = true
		}
		return got, sealer, nil
	}
	return nil, nil, mailbox.ErrUnknownKey
}

// tell lets the joiner's log see a request that was granted.
func (s *fakeSwarm) tell(m *fakeMember, conn net.Conn, got *mailbox.Received) {
	stream, ok := conn.(*modelStream)
	if !ok {
		return
	}
	log := stream.c.n.w.log
	alone := func(kind sightKind, loc mailbox.Locator, size int, stored ...[]byte) {
		log.said(loc, stream.asked, got)
		log.saw(m.id, stream, kind, loc, size, stored...)
	}
	others := func(kind sightKind, loc mailbox.Locator, size int, stored ...[]byte) {
		alone(kind, loc, size, stored...)
		for _, n := range s.dir.SwarmOf(loc.Address()) {
			if n.ID != m.id {
				log.saw(n.ID, nil, kind, loc, size)
			}
		}
	}
	switch r := got.Request.(type) {
	case *mailbox.Open:
		others(sawOpen, r.Locator, int(r.Bytes))
	case *mailbox.Put:
		e := r.Envelope
		others(sawPut, r.Locator, len(e), r.Authorization.Signature[:], e[:40], e[len(e)-24:])
	case *mailbox.Delete:
		see := alone // who has it already tells nobody
		if log.newDelete(r) {
			see = others
		}
		see(sawDelete, r.Locator, len(r.Digests), r.Authorization.Signature[:])
	case *mailbox.Fetch:
		alone(sawFetch, r.Locator, 0, r.Authorization.Signature[:], got.Stamp.Nonce[:])
	}
}

func reply(conn net.Conn, sealer *mailbox.ReplySealer, resp mailbox.Response) bool {
	b, err := sealer.Seal(resp)
	return err == nil && wire.WriteFrame(conn, b) == nil
}

func (s *fakeSwarm) terms(got *mailbox.Received) mailbox.Terms {
	return mailbox.Terms{
		Now: s.nowLocked(), Stamp: got.Stamp, MinBits: s.bits,
		Member: func(id identity.NodeID, a mailbox.Address) bool { return s.dir.InSwarmOf(id, a) },
	}
}

func (s *fakeSwarm) handle(m *fakeMember, got *mailbox.Received) (mailbox.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hook != nil {
		if err := s.hook(m.id, got.Request); err != nil {
			return nil, err
		}
	}
	if !s.keepsLocked(m, got.Request) {
		return nil, mailbox.ErrWrongSwarm
	}
	if err := mailbox.Authorize(got.Request, s.terms(got)); err != nil {
		return nil, err
	}
	switch r := got.Request.(type) {
	case *mailbox.Directory:
		reply := &mailbox.DirectoryReply{}
		if s.answer != nil {
			reply.Signed = s.answer()
		} else if s.dir.Serial() > r.Serial {
			reply.Signed = s.dir.Signed()
		}
		return reply, nil
	case *mailbox.Quote:
		return &mailbox.QuoteReply{Quote: mailbox.NewWorkQuote(m.key, max(s.bits, m.bits), s.nowLocked())}, nil
	case *mailbox.Open:
		until := uint64(s.nowLocked().Unix()) + uint64(r.Days)*86400
		for _, x := range s.swarmLocked(r.Address()) {
			x.box(r.Address()).open = true
		}
		return &mailbox.Opened{Until: until, Bytes: r.Bytes}, nil
	case *mailbox.Put:
		return s.putLocked(m, r)
	case *mailbox.Fetch:
		return s.fetchLocked(m, r)
	case *mailbox.Delete:
		s.deletes++
		if s.alone[m.id] {
			return &mailbox.Deleted{}, nil
		}
		for _, x := range s.swarmLocked(r.Address()) {
			x.box(r.Address()).remove(r.Digests)
		}
		return &mailbox.Deleted{}, nil
	}
	return nil, mailbox.ErrFormat
}

// keepsLocked reports whether a member keeps the mailbox of a request.
func (s *fakeSwarm) keepsLocked(m *fakeMember, req mailbox.Request) bool {
	named, ok := req.(interface{ Address() mailbox.Address })
	return !ok || s.dir.InSwarmOf(m.id, named.Address())
}

// swarmLocked returns the members of an address that are up.
func (s *fakeSwarm) swarmLocked(a mailbox.Address) (out []*fakeMember) {
	for _, n := range s.dir.SwarmOf(a) {
		if m := s.members[n.ID]; !m.down {
			out = append(out, m)
		}
	}
	return out
}

func (m *fakeMember) box(a mailbox.Address) *fakeBox {
	b := m.boxes[a]
	if b == nil {
		b = &fakeBox{dead: map[mailbox.Digest]bool{}, subs: map[*fakeSub]bool{}, next: 1}
		m.boxes[a] = b
	}
	return b
}

func (b *fakeBox) remove(digests []mailbox.Digest) {
	for _, d := range digests {
		b.dead[d] = true
		for i, it := range b.items {
			if it.Digest == d {
				b.items = append(b.items[:i:i], b.items[i+1:]...)
				b.seqs = append(b.seqs[:i:i], b.seqs[i+1:]...)
				break
			}
		}
	}
}

func (b *fakeBox) add(it mailbox.Item) {
	for _, x := range b.items {
		if x.Digest == it.Digest {
			return
		}
	}
	b.items = append(b.items, it)
	b.seqs = append(b.seqs, b.next)
	b.next++
	for sub := range b.subs {
		select {
		case sub.wake <- struct{}{}:
		default:
		}
	}
}

func (s *fakeSwarm) putLocked(m *fakeMember, r *mailbox.Put) (mailbox.Response, error) {
	a := r.Address()
	if !m.box(a).open {
		return nil, mailbox.ErrNotOpen
	}
	d := mailbox.EnvelopeDigest(a, r.Envelope)
	up := s.swarmLocked(a)
	if len(up) < majority(len(s.dir.SwarmOf(a))) {
		return nil, mailbox.ErrUnavailable
	}
	s.puts++
	out := &mailbox.Stored{}
	for _, x := range up {
		x.box(a).open = true
		if !x.box(a).dead[d] { // what was deleted is signed for, and not stored again
			x.box(a).add(mailbox.Item{Digest: d, Expiry: r.Expiry, Envelope: r.Envelope})
		}
		var batch mailbox.ReceiptBatch
		batch.Add(a, d, r.Expiry)
		rs, err := batch.Sign(rand.Reader, x.key, s.nowLocked())
		if err != nil {
			return nil, err
		}
		out.Receipts = append(out.Receipts, rs...)
	}
	return out, nil
}

func (s *fakeSwarm) fetchLocked(m *fakeMember, r *mailbox.Fetch) (mailbox.Response, error) {
	b := m.box(r.Address())
	if !b.open {
		return nil, mailbox.ErrNotOpen
	}
	from := uint64(0)
	if r.Cursor.Node == m.id {
		from = r.Cursor.Seq
	}
	out := &mailbox.Batch{Next: mailbox.Cursor{Node: m.id, Seq: from}}
	for i, seq := range b.seqs {
		if seq <= from {
			continue
		}
		if len(out.Items) == int(r.Limit) {
			out.More = true
			break
		}
		out.Items = append(out.Items, b.items[i])
		out.Next.Seq = seq
	}
	return out, nil
}

func (s *fakeSwarm) subscribe(m *fakeMember, conn net.Conn, got *mailbox.Received, sub *mailbox.Subscribe, sealer *mailbox.ReplySealer) {
	s.mu.Lock()
	terms := s.terms(got)
	err := mailbox.Authorize(sub, terms)
	if err == nil && !s.keepsLocked(m, sub) {
		err = mailbox.ErrWrongSwarm
	}
	if err == nil && !m.box(sub.Address()).open {
		err = mailbox.ErrNotOpen
	}
	if err == nil && s.hook != nil {
		err = s.hook(m.id, sub)
	}
	s.mu.Unlock()
	if err != nil {
		reply(conn, sealer, mailbox.Refuse(err))
		return
	}
	challenge := &mailbox.Challenge{Nonce: [mailbox.ChallengeSize]byte{1, 2, 3}}
	if !reply(conn, sealer, challenge) {
		return
	}
	frame, err := wire.ReadFrame(conn, mailbox.MaxFrame)
	if err != nil {
		return
	}
	prove, err := sealer.OpenNext(frame)
	if err == nil {
		terms.Subscribe, terms.Challenge = sub, challenge
		err = mailbox.Authorize(prove, terms)
	}
	if err != nil {
		reply(conn, sealer, mailbox.Refuse(err))
		return
	}
	if reply(conn, sealer, &mailbox.Subscribed{}) {
		if stream, ok := conn.(*modelStream); ok {
			p := prove.(*mailbox.Prove)
			stream.c.n.w.log.said(sub.Locator, stream.asked, got)
			stream.c.n.w.log.saw(m.id, stream, sawSub, sub.Locator, 0, p.Authorization.Signature[:], got.Stamp.Nonce[:])
		}
		s.push(m, conn, sub, sealer)
	}
}

// push sends what is there and what comes, until the stream ends.
func (s *fakeSwarm) push(m *fakeMember, conn net.Conn, sub *mailbox.Subscribe, sealer *mailbox.ReplySealer) {
	me := &fakeSub{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	b := m.box(sub.Address())
	b.subs[me] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(b.subs, me)
		s.mu.Unlock()
	}()
	closed := make(chan struct{})
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer close(closed)
		_, _ = conn.Read(make([]byte, 1))
	}()
	from := uint64(0)
	if sub.Cursor.Node == m.id {
		from = sub.Cursor.Seq
	}
	for {
		s.mu.Lock()
		var out []*mailbox.Pushed
		for i, seq := range b.seqs {
			if seq > from && !s.withhold[m.id] {
				out = append(out, &mailbox.Pushed{Item: b.items[i], Cursor: mailbox.Cursor{Node: m.id, Seq: seq}})
				from = seq
			}
		}
		s.mu.Unlock()
		for _, p := range out {
			if !reply(conn, sealer, p) {
				return
			}
		}
		select {
		case <-me.wake:
		case <-closed:
			return
		}
	}
}
