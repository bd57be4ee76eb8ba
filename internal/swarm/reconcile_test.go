package swarm

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

// The figures of spec/swarm.md §5.4 for a million records:
//
//	go test ./internal/swarm -run TestCatchUpBytes -v -timeout 1h -args -records 1000000 -missing 10000
var (
	recordsFlag = flag.Int("records", 12_000, "records that two members have in common")
	missingFlag = flag.Int("missing", 240, "envelopes of 4 KiB that one of them lacks")
)

// counted counts the bytes of a stream, both ways.
type counted struct {
	io.ReadWriteCloser
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ReadWriteCloser.Write(p)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// fillStores gives stores the same records: small envelopes, which nobody will check,
// in many mailboxes, expiring at whole hours of a fortnight as clients' do.
func fillStores(t testing.TB, now uint64, records int, stores ...*store.Store) {
	t.Helper()
	const boxes, writers = 64, 256
	ctx := context.Background()
	addr := func(i int) store.Address { return sha256.Sum256(fmt.Appendf(nil, "box %d", i)) }
	for _, st := range stores {
		for i := range boxes {
			g := store.Grant{Address: addr(i), ID: store.Ref{1}, Bytes: 1 << 40, Expiry: now + 18*86400, Proof: []byte("grant")}
			if err := st.OpenMailbox(ctx, g); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := w; i < records; i += writers {
					b := binary.BigEndian.AppendUint64(nil, uint64(i))
					d := sha256.Sum256(b)
					hours := uint64(1 + binary.BigEndian.Uint32(d[:])%(14*24))
					e := &store.Envelope{
						Address: addr(int(d[9]) % boxes), Digest: d, Expiry: (now/3600 + hours) * 3600,
						Proof: []byte("proof"), Bytes: b,
					}
					if _, err := st.Put(ctx, e); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// round makes one round of a member with another one, and returns the bytes
// that went between them.
func (n *node) round(with *node) int64 {
	n.w.t.Helper()
	n.w.wire.Store(0)
	if err := n.swarm.peer(with.id).reconcile(context.Background(), false); err != nil {
		n.w.t.Fatal(err)
	}
	return n.w.wire.Load()
}

// TestCatchUpBytes counts what equal members spend on a round, and what one
// spends that lacks envelopes all over the store.
func TestCatchUpBytes(t *testing.T) {
	w := newWorld(t, 2)
	has, lacks := w.nodes[0], w.nodes[1]
	b := newBox(w)
	w.client(has).open(b, mailbox.MaxOpenBytes)
	now := uint64(w.now().Unix())
	fillStores(t, now, *recordsFlag, has.store, lacks.store)
	lacks.round(has)
	equal := lacks.round(has)
	if equal > 4096 {
		t.Errorf("equal members spend %d bytes", equal)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]mailbox.Digest, *missingFlag)
	var wg sync.WaitGroup
	for i := range want {
		p := &mailbox.Put{Locator: b.Locator, Expiry: (now/3600 + 1 + uint64(rng.IntN(14*24-1))) * 3600, Envelope: randomEnvelope(4096)}
		wg.Go(func() {
			p.Sign(b.shared, nil)
			e := envelopeOf(p)
			e.Replica = true
			want[i] = e.Digest
			if _, err := has.store.Put(context.Background(), e); err != nil {
				t.Error(err)
			}
		})
		if i%256 == 255 {
			wg.Wait()
		}
	}
	wg.Wait()
	spent := lacks.round(has)
	for _, d := range want {
		if !lacks.has(b, d) {
			t.Fatal("an envelope is missing after the round")
		}
	}
	ratio := float64(spent) / float64(4096*len(want))
	if ratio > 1.3 {
		t.Errorf("catching up cost %.3f times the envelopes", ratio)
	}
	again := lacks.round(has)
	if again > 4096 {
		t.Errorf("equal members spend %d bytes", again)
	}
	t.Logf("records=%d missing=%d equal_round_bytes=%d catchup_bytes_ratio=%.4f", *recordsFlag, len(want), equal, ratio)
}

// names lists what a member will be compared by.
func (n *node) names() (out []store.Name) {
	n.w.t.Helper()
	<-n.store.Summarised()
	budget := store.ScanRows
	lo := store.After(n.swarm.unixNow() + uint64(roundMargin/time.Second))
	_, err := n.store.Names(uint16(n.swarm.view().swarm), lo, store.End, &budget, func(x store.Name) bool {
		out = append(out, x)
		return true
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return out
}

// kept is an acknowledged envelope: of which mailbox, and until when.
type keptEnvelope struct {
	b       *box
	expiry  uint64
	deleted bool
}

// TestMembersEndEqual lets members put, delete, expire, crash and come back at
// random: when all is quiet they have the same, everything that was
// acknowledged, and nothing that was deleted or expired.
func TestMembersEndEqual(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomHistory(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func randomHistory(t *testing.T, rng *rand.Rand) {
	w := newWorld(t, 5)
	boxes := []*box{newBox(w), newBox(w), newBox(w)}
	for _, b := range boxes {
		w.client(w.nodes[0]).open(b, 4<<20)
	}
	acked := map[mailbox.Digest]*keptEnvelope{}
	down := map[*node]bool{}
	upNode := func() *node {
		for {
			if n := w.nodes[rng.IntN(5)]; !down[n] {
				return n
			}
		}
	}
	for range 80 {
		switch k := rng.IntN(20); {
		case k < 12:
			b := boxes[rng.IntN(len(boxes))]
			p := &mailbox.Put{Locator: b.Locator, Expiry: uint64(w.now().Unix()) + 600 + uint64(rng.IntN(3*3600)), Envelope: randomEnvelope(4096)}
			p.Sign(b.shared, nil)
			if _, err := w.client(upNode()).do(p, nil); err == nil {
				acked[mailbox.EnvelopeDigest(b.Address(), p.Envelope)] = &keptEnvelope{b: b, expiry: p.Expiry}
			}
		case k < 15:
			for d, e := range acked {
				if !e.deleted && w.client(upNode()).delete(e.b, e.b.owner, d) == nil {
					e.deleted = true
				}
				break
			}
		case k < 16:
			w.advance(time.Duration(rng.IntN(30)) * time.Minute)
		case k < 18 && len(down) < 2:
			n := upNode()
			n.stop()
			down[n] = true
		case len(down) > 0:
			for n := range down {
				n.start()
				delete(down, n)
				break
			}
		}
	}
	for n := range down {
		n.start()
	}
	settled(t, w)
	for _, n := range w.nodes {
		if err := n.swarm.Expire(context.Background()); err != nil {
			t.Fatal(err)
		}
		now := uint64(w.now().Unix())
		for d, e := range acked {
			switch has := n.has(e.b, d); {
			case e.deleted && has:
				t.Error("what was deleted is there")
			case e.expiry <= now && has:
				t.Error("what expired is there")
			case !has && !e.deleted && e.expiry > now+uint64(roundMargin/time.Second):
				t.Error("an acknowledged envelope is missing")
			}
		}
	}
}

// settled makes rounds until all members have the same.
func settled(t *testing.T, w *world) {
	t.Helper()
	eventually(t, "members to be equal", func() bool {
		for _, n := range w.nodes {
			for _, p := range n.swarm.view().peers {
				if p.reconcile(context.Background(), false) != nil {
					return false
				}
			}
		}
		want := w.nodes[0].names()
		return !slices.ContainsFunc(w.nodes[1:], func(n *node) bool { return !slices.Equal(n.names(), want) })
	})
}

// liar answers the calls of a peer that does not exist.
func liar(t *testing.T, s *Swarm, answer func(op opcode, body []byte) []byte) *peer {
	t.Helper()
	p := newPeer(s, identity.NodeID{9}, true)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for {
			select {
			case c := <-p.queue:
				p.mu.Lock()
				p.bytes -= len(c.body)
				p.mu.Unlock()
				c.done(answer(c.op, c.body), nil)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

// behind makes names that follow a bound, one after the other.
func behind(lo store.Bound, n int) (out []store.Name) {
	key := make([]byte, store.NameSize)
	copy(key, lo)
	end := key[store.NameSize-8:]
	for range n {
		binary.BigEndian.PutUint64(end, binary.BigEndian.Uint64(end)+1)
		out = append(out, store.ReadName(wire.NewReader(key)))
	}
	return out
}

// splinters cuts a range into parts that can be cut again.
func splinters(lo, hi store.Bound) (out []part) {
	for ; len(out) == 0 && len(lo) < store.NameSize; lo += "\x00" {
		for i := 1; i < reconParts; i++ {
			if at := lo + store.Bound([]byte{byte(16 * i)}); at < hi {
				out = append(out, part{hi: at, count: 1 << 20})
			}
		}
	}
	return append(out, part{hi: hi, count: 1 << 20})
}

// TestLiarsAreLeft reconciles with members that say whatever keeps one busy.
func TestLiarsAreLeft(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	fillStores(t, s.unixNow(), 3000, w.nodes[0].store)
	expiry := s.unixNow() + 86400
	a := store.Address{}
	for w.nodes[0].swarm.view().keeps(a) == false {
		a[0]++
	}
	fresh := func() (x store.Ref) { _, _ = crand.Read(x[:]); return x }
	names := func(n int) (out []store.Name) {
		for range n {
			out = append(out, store.Name{Expiry: expiry, Kind: store.KindEnvelope, Address: a, Ref: fresh()})
		}
		slices.SortFunc(out, func(x, y store.Name) int { return bytes.Compare(x.Append(nil), y.Append(nil)) })
		return out
	}
	each := func(f func(query) answer) func([]byte) []byte {
		return func(body []byte) []byte {
			c, err := parseReconcileCall(body)
			if err != nil {
				t.Error(err)
			}
			var out []answer
			for _, q := range c.queries {
				out = append(out, f(q))
			}
			return encodeAnswers(out)
		}
	}
	wholePart := func(q query) []part { return []part{{hi: q.hi, count: 1 << 20}} }
	differs := func(q query) answer { return answer{kind: answerParts, parts: wholePart(q)} }
	lists := func(list func(query) answer) func([]byte) []byte {
		return each(func(q query) answer {
			if q.mode == queryCompare {
				return differs(q)
			}
			return list(q)
		})
	}
	forged := newBox(w).put(w, randomEnvelope(4096))
	forged.Signature = suite.Signature{}
	for name, test := range map[string]struct {
		answer func([]byte) []byte
		record []byte
		want   error
	}{
		"the same always": {each(func(query) answer { return answer{kind: answerSame} }), nil, nil},
		"ever smaller parts": {each(func(q query) answer {
			if q.mode == queryList {
				return answer{kind: answerNames, upTo: q.hi}
			}
			return answer{kind: answerParts, parts: splinters(q.lo, q.hi)}
		}), nil, errUnproductive},
		"parts backwards": {each(func(q query) answer {
			return answer{kind: answerParts, parts: []part{{hi: q.hi, count: 9}, {hi: q.lo, count: 9}}}
		}), nil, ErrProtocol},
		"parts that end early": {each(func(q query) answer {
			return answer{kind: answerParts, parts: []part{{hi: q.lo + "\x01", count: 9}}}
		}), nil, ErrProtocol},
		"no parts":       {each(func(query) answer { return answer{kind: answerParts} }), nil, ErrProtocol},
		"a list unasked": {each(func(q query) answer { return answer{kind: answerNames, upTo: q.hi} }), nil, ErrProtocol},
		"a list that stays": {lists(func(q query) answer {
			return answer{kind: answerNames, upTo: q.lo}
		}), nil, ErrProtocol},
		"names of elsewhere": {lists(func(q query) answer {
			return answer{kind: answerNames, upTo: q.hi, names: []store.Name{{Expiry: 1}}}
		}), nil, ErrProtocol},
		"names backwards": {lists(func(q query) answer {
			x := names(2)
			return answer{kind: answerNames, upTo: q.hi, names: []store.Name{x[1], x[0]}}
		}), nil, ErrProtocol},
		"no answers":       {func([]byte) []byte { return encodeAnswers(nil) }, nil, ErrProtocol},
		"too many answers": {func([]byte) []byte { return encodeAnswers(make([]answer, reconQueries)) }, nil, ErrProtocol},
		"names of nothing, without end": {lists(func(q query) answer {
			return answer{kind: answerNames, names: behind(q.lo, reconIDs), upTo: store.Bound(behind(q.lo, reconIDs+1)[reconIDs].Append(nil))}
		}), nil, errUnproductive},
		"forged records": {lists(func(q query) answer {
			var in []store.Name
			for _, n := range names(400) {
				if at := store.Bound(n.Append(nil)); at >= q.lo && at < q.hi {
					in = append(in, n)
				}
			}
			return answer{kind: answerNames, upTo: q.hi, names: in}
		}), mailbox.EncodeRequest(forged), errUnproductive},
	} {
		t.Run(name, func(t *testing.T) {
			p := liar(t, s, func(op opcode, body []byte) []byte {
				if op == opReconcile {
					return test.answer(body)
				}
				refs, _ := parseRefs(body)
				records := make([][]byte, len(refs))
				for i := range records {
					records[i] = test.record
				}
				return encodeRecords(records)
			})
			if err := p.reconcile(context.Background(), false); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// TestRefusedRecordsAreNotFetchedAgain lists the same forged record twice.
func TestRefusedRecordsAreNotFetchedAgain(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	forged := newBox(w).put(w, randomEnvelope(4096))
	forged.Signature = suite.Signature{}
	x, _ := recordOf(forged)
	name := store.Name{Expiry: forged.Expiry, Kind: x.kind, Address: x.address, Ref: x.ref}
	gets := 0
	p := liar(t, s, func(op opcode, body []byte) []byte {
		if op == opGet {
			gets++
			return encodeRecords([][]byte{mailbox.EncodeRequest(forged)})
		}
		c, _ := parseReconcileCall(body)
		if q := c.queries[0]; q.mode == queryList {
			return encodeAnswers([]answer{{kind: answerNames, upTo: q.hi, names: []store.Name{name}}})
		}
		return encodeAnswers([]answer{{kind: answerParts, parts: []part{{hi: c.queries[0].hi, count: 1}}}})
	})
	for range 3 {
		if err := p.reconcile(context.Background(), false); err != nil {
			t.Fatal(err)
		}
	}
	if gets != 1 {
		t.Errorf("fetched %d times", gets)
	}
	w.advance(refusedFor + time.Minute)
	if p.refusals.has(x, w.now()) {
		t.Error("remembered for ever")
	}
	for i := range maxRefusals + 10 {
		p.refusals.add(ref{ref: [32]byte{byte(i), byte(i >> 8)}}, mailbox.ErrBadSignature, w.now())
	}
	if n := len(p.refusals.until); n > maxRefusals {
		t.Errorf("%d refusals remembered", n)
	}
}

// TestServingIsBounded asks one member for as much as a call can name.
func TestServingIsBounded(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	fillStores(t, s.unixNow(), 6000, w.nodes[0].store)
	section := uint16(s.view().swarm)
	c := reconcileCall{section: section}
	for range reconQueries {
		c.queries = append(c.queries, query{mode: queryList, lo: store.First, hi: store.End})
	}
	reply, err := s.serveReconcile(context.Background(), w.nodes[1].id, c.encode())
	if err != nil || len(reply) > reconBytes+reconIDs*store.NameSize+100 {
		t.Errorf("%d bytes of answers, %v", len(reply), err)
	}
	if answers, err := parseAnswers(reply); err != nil || len(answers) == 0 || len(answers) == reconQueries {
		t.Errorf("%d answers, %v", len(answers), err)
	}
	for name, q := range map[string]query{
		"backwards": {mode: queryCompare, lo: store.End, hi: store.First},
		"empty":     {mode: queryList, lo: "\x01", hi: "\x01"},
	} {
		if _, err := s.serveReconcile(context.Background(), w.nodes[1].id, reconcileCall{section: section, queries: []query{q}}.encode()); err == nil {
			t.Errorf("%s: answered", name)
		}
	}
}

// TestRefusalsHideNothing lets a liar spoil a record that another member has
// whole, in each way in which a record can be spoiled under its name.
func TestRefusalsHideNothing(t *testing.T) {
	w := newWorld(t, 2)
	has, lacks := w.nodes[0], w.nodes[1]
	b := newBox(w)
	w.client(has).open(b, 1<<20)
	lacks.round(has)
	forged := b.put(w, randomEnvelope(4096))
	good := *forged
	forged.Signature = suite.Signature{}
	other := b.put(w, randomEnvelope(4096))
	for name, record := range map[string][]byte{
		"another record": mailbox.EncodeRequest(other), "no request": {1, 2, 3}, "a forged proof": mailbox.EncodeRequest(forged),
	} {
		t.Run(name, func(t *testing.T) {
			put := b.put(w, randomEnvelope(4096))
			if name == "a forged proof" {
				put = &good
			}
			e := envelopeOf(put)
			if _, err := has.store.Put(context.Background(), e); err != nil {
				t.Fatal(err)
			}
			x, _ := recordOf(put)
			offered := store.Name{Expiry: put.Expiry, Kind: x.kind, Address: x.address, Ref: x.ref}
			spoils := liar(t, lacks.swarm, func(op opcode, body []byte) []byte {
				if op == opGet {
					return encodeRecords([][]byte{record})
				}
				c, _ := parseReconcileCall(body)
				if q := c.queries[0]; q.mode == queryList {
					return encodeAnswers([]answer{{kind: answerNames, upTo: q.hi, names: []store.Name{offered}}})
				}
				return encodeAnswers([]answer{{kind: answerParts, parts: []part{{hi: c.queries[0].hi, count: 1}}}})
			})
			if err := spoils.reconcile(context.Background(), false); err != nil {
				t.Fatal(err)
			}
			lacks.round(has)
			if !lacks.has(b, e.Digest) {
				t.Error("an envelope that one member has whole was not fetched")
			}
		})
	}
}

// TestDifferencesThatStay gives two members more envelopes with two expiries
// than a round has credit for, as a writer can who talks to both at once, and
// one of them another envelope below these.
func TestDifferencesThatStay(t *testing.T) {
	w := newWorld(t, 2)
	has, lacks := w.nodes[0], w.nodes[1]
	b := newBox(w)
	w.client(has).open(b, mailbox.MaxOpenBytes)
	lacks.round(has)
	now := uint64(w.now().Unix())
	twice := func(n *node, expiry uint64) {
		var wg sync.WaitGroup
		for k := range 256 {
			wg.Go(func() {
				for i := k; i < roundCredit+roundCredit/8; i += 256 {
					bytes := binary.BigEndian.AppendUint64(nil, uint64(i))
					e := &store.Envelope{Address: b.Address(), Digest: sha256.Sum256(bytes), Expiry: expiry + uint64(i)/16, Proof: []byte("proof"), Bytes: bytes}
					if _, err := n.store.Put(context.Background(), e); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	twice(has, now+10*86400)
	twice(lacks, now+11*86400)
	wanted := envelopeOf(b.put(w, randomEnvelope(4096)))
	if _, err := has.store.Put(context.Background(), wanted); err != nil {
		t.Fatal(err)
	}
	p := lacks.swarm.peer(has.id)
	rounds := 0
	for err := errUnproductive; err != nil; rounds++ {
		// Each goes on where the last one was left, however far that came.
		if err = p.reconcile(context.Background(), true); err != nil && !errors.Is(err, errUnproductive) {
			t.Fatal(err)
		}
	}
	if rounds == 1 {
		t.Error("one round had credit for everything: this tests nothing")
	}
	if !lacks.has(b, wanted.Digest) {
		t.Error("what differs for good keeps away what could be got")
	}
}

// TestFailedRoundsAreNotShared lets many wait for a round that fails: none of
// them may take it for one that came to its end.
func TestFailedRoundsAreNotShared(t *testing.T) {
	w := newWorld(t, 5)
	p := liar(t, w.nodes[0].swarm, func(opcode, []byte) []byte { return encodeAnswers(nil) })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := p.reconcile(context.Background(), false); !errors.Is(err, ErrProtocol) {
				t.Errorf("%v, want %v", err, ErrProtocol)
			}
		})
	}
	wg.Wait()
}

// TestRoundsHurryForClients: while members hand over what was missed, rounds
// wait, but not when a client's request waits for one of them.
func TestRoundsHurryForClients(t *testing.T) {
	w := newWorld(t, 5)
	s := w.nodes[0].swarm
	s.offered.Store(math.MaxInt64) // hints come without end
	put := newBox(w).put(w, randomEnvelope(4096))
	x, _ := recordOf(put)
	listed := make(chan struct{}, 16)
	p := liar(t, s, func(op opcode, body []byte) []byte {
		if op == opGet {
			return encodeRecords([][]byte{nil})
		}
		c, _ := parseReconcileCall(body)
		if q := c.queries[0]; q.mode == queryList {
			listed <- struct{}{}
			return encodeAnswers([]answer{{kind: answerNames, upTo: q.hi, names: []store.Name{{Expiry: put.Expiry, Kind: x.kind, Address: x.address, Ref: x.ref}}}})
		}
		return encodeAnswers([]answer{{kind: answerParts, parts: []part{{hi: c.queries[0].hi, count: 1}}}})
	})
	began := time.Now()
	patient := make(chan error, 1)
	go func() { patient <- p.reconcile(context.Background(), true) }()
	<-listed
	err := p.reconcile(context.Background(), false)
	if err = errors.Join(err, <-patient); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited >= inFlight*inFlightMax {
		t.Errorf("waited %v behind a patient round", waited)
	}
}
