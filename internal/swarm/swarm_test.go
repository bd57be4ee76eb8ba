package swarm

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	crand "crypto/rand"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

func TestPutFetchDelete(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	var want []mailbox.Digest
	for _, size := range mailbox.SizeClasses() {
		want = append(want, c.send(b, randomEnvelope(size)))
	}
	for _, n := range w.nodes {
		eventually(t, "all members to have all", func() bool {
			for _, d := range want {
				if !n.has(b, d) {
					return false
				}
			}
			return true
		})
	}
	batch, err := c.fetch(b, mailbox.Cursor{}, b.owner)
	if err != nil || len(batch.Items) != len(want) {
		t.Fatalf("fetched %v, %v", batch, err)
	}
	if again, err := c.fetch(b, batch.Next, b.owner); err != nil || len(again.Items) != 0 {
		t.Errorf("behind the cursor: %v, %v", again, err)
	}
	other := w.client(w.nodes[1])
	if again, err := other.fetch(b, batch.Next, b.owner); err != nil || len(again.Items) != len(want) {
		t.Errorf("a cursor of another member must mean the start: %v", err)
	}
	if err := c.delete(b, b.owner, want[0], want[2]); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		eventually(t, "the tombstone to be everywhere", func() bool { return !n.has(b, want[0]) && !n.has(b, want[2]) && n.has(b, want[1]) })
	}
}

func TestRights(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096))
	stranger := must(suite.NewSigningKey(crand.Reader))
	for name, key := range map[string]suite.Signer{"stranger": stranger, "writer": b.shared} {
		if _, err := c.fetch(b, mailbox.Cursor{}, key); !errors.Is(err, mailbox.ErrBadSignature) {
			t.Errorf("%s fetches: %v", name, err)
		}
		if err := c.delete(b, key, d); !errors.Is(err, mailbox.ErrBadSignature) {
			t.Errorf("%s deletes: %v", name, err)
		}
		if _, err := w.client(w.nodes[0]).subscribe(b, mailbox.Cursor{}, key); !errors.Is(err, mailbox.ErrBadSignature) {
			t.Errorf("%s subscribes: %v", name, err)
		}
	}
	p := b.put(w, randomEnvelope(4096))
	p.Sign(b.owner, nil)
	if _, err := c.do(p, nil); !errors.Is(err, mailbox.ErrBadSignature) {
		t.Errorf("the owner puts: %v", err)
	}
	if !w.nodes[0].has(b, d) {
		t.Error("the envelope is gone")
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, 10)
	n := w.nodes[0]
	c := w.client(n)
	var here, elsewhere *box
	for here == nil || elsewhere == nil {
		if b := newBox(w); w.dir.InSwarmOf(n.id, b.Address()) {
			here = b
		} else {
			elsewhere = b
		}
	}
	if _, err := c.do(c.openRequest(elsewhere.Locator, 1<<20, 18), nil); !errors.Is(err, mailbox.ErrWrongSwarm) {
		t.Errorf("open in another swarm: %v", err)
	}
	if _, err := c.fetch(elsewhere, mailbox.Cursor{}, elsewhere.owner); !errors.Is(err, mailbox.ErrWrongSwarm) {
		t.Errorf("fetch from another swarm: %v", err)
	}
	if _, err := c.do(here.put(w, randomEnvelope(4096)), nil); !errors.Is(err, mailbox.ErrNotOpen) {
		t.Errorf("put before open: %v", err)
	}
	if _, err := c.do(&mailbox.Open{Locator: here.Locator, Bytes: 4096, Days: 18}, nil); !errors.Is(err, mailbox.ErrBadWork) {
		t.Errorf("open without work: %v", err)
	}
	c.open(here, 3*4096)
	c.send(here, randomEnvelope(4096))
	if _, err := c.do(here.put(w, randomEnvelope(5000)), nil); !errors.Is(err, mailbox.ErrTooLarge) {
		t.Errorf("size outside the classes: %v", err)
	}
	if _, err := c.do(here.put(w, randomEnvelope(16384)), nil); !errors.Is(err, mailbox.ErrQuota) {
		t.Errorf("over the quota: %v", err)
	}
	old := here.put(w, randomEnvelope(4096))
	old.Expiry = uint64(w.now().Unix())
	old.Sign(here.shared, nil)
	if _, err := c.do(old, nil); !errors.Is(err, mailbox.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func TestFrontDoorNeedsWorkForEachPut(t *testing.T) {
	w := newWorld(t, 5)
	c := w.client(w.nodes[0])
	now := identity.PeriodAt(w.now())
	bob := must(identity.NewSeed(crand.Reader)).Persona(0)
	shared := identity.FrontDoorShared(bob.Root().Public(), now)
	l := must(mailbox.FrontDoor(bob.Root().Public(), now))
	if _, err := c.do(c.openRequest(l, 1<<20, 18), nil); err != nil {
		t.Fatal(err)
	}
	p := &mailbox.Put{Locator: l, Expiry: uint64(w.now().Unix()) + 86400, Envelope: randomEnvelope(mailbox.FirstClass)}
	p.Sign(shared, nil)
	if _, err := c.do(p, nil); !errors.Is(err, mailbox.ErrBadWork) {
		t.Errorf("put without work: %v", err)
	}
	d := mailbox.EnvelopeDigest(l.Address(), p.Envelope)
	resp, err := c.do(&mailbox.Quote{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	work := must(mailbox.SolveWork(nil, mailbox.PutPurpose(l.Address(), d), resp.(*mailbox.QuoteReply).Quote))
	p.Work = &work
	resp, err = c.do(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.checkReceipts(resp.(*mailbox.Stored), l.Address(), d, p.Expiry)
	// Members that only copy check the work, too.
	bare := *p
	bare.Work = nil
	bare.Envelope = randomEnvelope(mailbox.FirstClass)
	bare.Sign(shared, nil)
	if err := w.nodes[1].swarm.accept(context.Background(), &bare); !errors.Is(err, mailbox.ErrBadWork) {
		t.Errorf("copy without work: %v", err)
	}
	// Bob's device reads with its period key and certificate.
	secrets := must(identity.NewPeriodSecrets(crand.Reader, bob.Root(), identity.DeviceID{1}, bob.Identity().Public(), 0, now))
	f := &mailbox.Fetch{Locator: l, Limit: 10}
	resp, err = c.do(f, func(s mailbox.Stamp) { f.Sign(secrets.Key, &secrets.Certificate, s) })
	if err != nil || len(resp.(*mailbox.Batch).Items) != 1 {
		t.Errorf("owner's fetch: %v, %v", resp, err)
	}
}

func TestReplayIsRefused(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	f := &mailbox.Fetch{Locator: b.Locator, Limit: 10}
	frame, opener := c.seal(f, func(s mailbox.Stamp) { f.Sign(b.owner, nil, s) })
	c.write(frame)
	if _, err := result(opener.Open(c.read())); err != nil {
		t.Fatal(err)
	}
	// The same frame on another stream.
	again := w.client(w.nodes[0])
	again.write(frame)
	again.read()
	if got := w.nodes[0].failure(); got != "replay" {
		t.Errorf("replayed request was answered by %q", got)
	}
}

// failure returns the class of a refusal that the node has counted.
func (n *node) failure() string {
	families, err := n.reg.Gather()
	if err != nil {
		n.w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() != "ok" {
					return l.GetValue()
				}
			}
		}
	}
	return ""
}

func TestRequestKeysLiveForAnEpoch(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	old := c.cert
	w.clock.Store(int64(time.Until(w.dir.EpochStart(old.Epoch+1))/time.Second) + 10)
	c.write(mailbox.KeysRequest())
	c.cert = must(mailbox.ParseKeysReply(c.read()))
	if c.cert.Epoch != old.Epoch+1 {
		t.Fatalf("epoch %d after %d", c.cert.Epoch, old.Epoch)
	}
	// Within the grace, what was sealed to the old key still opens.
	fresh := c.cert
	c.cert = old
	if _, err := c.fetch(b, mailbox.Cursor{}, b.owner); err != nil {
		t.Errorf("within the grace: %v", err)
	}
	// Behind it, the node answers with the certificate that counts.
	w.advance(keyGrace)
	c.write(mailbox.KeysRequest())
	c.read()
	frame, _ := c.seal(&mailbox.Quote{}, nil)
	c.write(frame)
	if got, err := mailbox.ParseKeysReply(c.read()); err != nil || got.Epoch != fresh.Epoch {
		t.Errorf("request to an erased key: %v", err)
	}
}

func TestPushAndResume(t *testing.T) {
	w := newWorld(t, 5)
	writer, b := w.client(w.nodes[0]), newBox(w)
	sub := w.client(w.nodes[1])
	opener, err := sub.subscribe(b, mailbox.Cursor{}, b.owner) // before it is opened
	if err != nil {
		t.Fatal(err)
	}
	writer.open(b, 4<<20)
	var sent []mailbox.Digest
	var cursor mailbox.Cursor
	seen := map[mailbox.Digest]int{}
	for range 10 {
		sent = append(sent, writer.send(b, randomEnvelope(4096)))
		p := sub.next(opener)
		seen[p.Item.Digest]++
		cursor = p.Cursor
	}
	sub.close()
	for range 40 {
		sent = append(sent, writer.send(b, randomEnvelope(16<<10)))
	}
	w.nodes[1].swarm.subs.sweep()
	eventually(t, "the old subscription to end", func() bool { return w.nodes[1].swarm.subs.len() == 0 })
	sub = w.client(w.nodes[1])
	if opener, err = sub.subscribe(b, cursor, b.owner); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // while the rest arrives
		for range 10 {
			writer.send(b, randomEnvelope(4096))
		}
	})
	for range 50 {
		seen[sub.next(opener).Item.Digest]++
	}
	wg.Wait()
	for _, d := range sent {
		if seen[d] != 1 {
			t.Errorf("an envelope came %d times", seen[d])
		}
	}
	if len(seen) != 60 {
		t.Errorf("%d different envelopes, want 60", len(seen))
	}
}

func TestSlowSubscriberIsCutAndResumes(t *testing.T) {
	w := newWorldOn(t, 5, func(int) (vfs.FS, string) { return vfs.NewMem(), "store" })
	w.nodes[1].stop()
	w.nodes[1].make()
	w.nodes[1].swarm.stall = 2 * time.Second
	w.nodes[1].run()
	writer, b := w.client(w.nodes[0]), newBox(w)
	writer.open(b, 1<<20)
	sub := w.client(w.nodes[1])
	opener, err := sub.subscribe(b, mailbox.Cursor{}, b.owner)
	if err != nil {
		t.Fatal(err)
	}
	first := writer.send(b, randomEnvelope(4096))
	p := sub.next(opener)
	if p.Item.Digest != first {
		t.Fatal("another envelope was pushed")
	}
	for range 10 { // which nobody reads
		writer.send(b, randomEnvelope(4096))
	}
	eventually(t, "the subscriber to be cut", func() bool { return w.nodes[1].swarm.subs.len() == 0 })
	w.nodes[1].stop()
	w.nodes[1].start() // patient again
	sub = w.client(w.nodes[1])
	if opener, err = sub.subscribe(b, p.Cursor, b.owner); err != nil {
		t.Fatal(err)
	}
	seen := map[mailbox.Digest]bool{first: true}
	for range 10 {
		d := sub.next(opener).Item.Digest
		if seen[d] {
			t.Error("an envelope came twice")
		}
		seen[d] = true
	}
}

func TestPeersAreIntroducedToMailboxesTheyMissed(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	open := c.openRequest(b.Locator, 1<<20, 18)
	if err := w.nodes[0].store.OpenMailbox(context.Background(), grantOf(open)); err != nil {
		t.Fatal(err)
	}
	d := c.send(b, randomEnvelope(4096))
	for _, n := range w.nodes {
		eventually(t, "all members", func() bool { return n.has(b, d) })
	}
}

func TestOnlyAPeersOwnReceiptCounts(t *testing.T) {
	w := newWorld(t, 5)
	b, s := newBox(w), w.nodes[0].swarm
	prop := proposal{op: opPut, put: envelopeOf(b.put(w, randomEnvelope(4096)))}
	receipt := func(key suite.SigningKey, d mailbox.Digest) []byte {
		var batch mailbox.ReceiptBatch
		batch.Add(b.Address(), d, prop.put.Expiry)
		return must(batch.Sign(crand.Reader, key, w.now()))[0].Encode()
	}
	peer := s.peer(w.nodes[1].id)
	for name, test := range map[string]struct {
		reply []byte
		ok    bool
	}{
		"own":                  {receipt(w.nodes[1].key, prop.put.Digest), true},
		"another member's":     {receipt(w.nodes[2].key, prop.put.Digest), false},
		"for another envelope": {receipt(w.nodes[1].key, mailbox.Digest{1}), false},
		"malformed":            {[]byte{1, 2, 3}, false},
		"none":                 {nil, false},
	} {
		v := vote{peer: peer, reply: test.reply}
		if v.judge(prop); (v.err == nil) != test.ok {
			t.Errorf("%s: %v", name, v.err)
		}
	}
}

func TestOddStreams(t *testing.T) {
	w := newWorld(t, 5)
	for name, in := range map[string][]byte{
		"unknown kind":      {'X'},
		"empty frame":       {StreamClient, 0, 0, 0, 0},
		"huge frame":        {StreamClient, 0xff, 0xff, 0xff, 0xff},
		"unknown frame":     {StreamClient, 0, 0, 0, 2, 99, 1},
		"version":           {StreamClient, 0, 0, 0, 2, mailbox.FrameKeys, 9},
		"peer of elsewhere": {StreamPeer, 0, 0, 0, 1, 1},
	} {
		rwc, err := w.connect(w.exit, w.nodes[0].id)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = rwc.Write(in)
		if n, err := rwc.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: answered by %d bytes", name, n)
		}
		_ = rwc.Close()
	}
	junk := w.client(w.nodes[0])
	frame, _ := junk.seal(&mailbox.Quote{}, nil)
	frame[len(frame)-1] ^= 1
	junk.write(frame)
	if _, err := mailbox.ParseKeysReply(junk.read()); err != nil {
		t.Errorf("a request that does not open: %v", err)
	}
}

// TestPushWaitsForSubscribed lets an envelope come while Subscribed is on its
// way: both are sealed in one context and must leave in order.
func TestPushWaitsForSubscribed(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	sub := w.client(w.nodes[0])
	req := &mailbox.Subscribe{Locator: b.Locator}
	frame, opener := sub.seal(req, nil)
	sub.write(frame)
	resp := must(result(opener.Open(sub.read())))
	sub.write(must(opener.SealNext(req.Prove(b.owner, nil, sub.n.id, resp.(*mailbox.Challenge)))))
	subs := w.nodes[0].swarm.subs
	eventually(t, "the subscription", func() bool { return subs.len() == 1 })
	// Subscribed is not read yet.
	d := c.send(b, randomEnvelope(4096))
	if _, err := result(opener.Open(sub.read())); err != nil {
		t.Fatal(err)
	}
	if p := sub.next(opener); p.Item.Digest != d {
		t.Error("another envelope was pushed")
	}
}

func TestNobodyDeletesFromAnUnopenedMailbox(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	if err := c.delete(b, b.owner, mailbox.Digest{1}); !errors.Is(err, mailbox.ErrNotOpen) {
		t.Errorf("delete from no mailbox: %v", err)
	}
	stone := &mailbox.Delete{Locator: b.Locator, Digests: []mailbox.Digest{{1}}, Expiry: uint64(w.now().Unix()) + 86400}
	stone.Sign(b.owner, nil)
	if err := w.nodes[1].swarm.accept(context.Background(), stone); !errors.Is(err, mailbox.ErrNotOpen) {
		t.Errorf("copy of it: %v", err)
	}
}

// TestPeerStreamsAreBounded lets a member open one stream after another.
func TestPeerStreamsAreBounded(t *testing.T) {
	w := newWorld(t, 5)
	from, to := w.nodes[1], w.nodes[0]
	var open []io.ReadWriteCloser
	for range peerStreams + 3 {
		rwc := must(w.connect(from.id, to.id))
		defer rwc.Close()
		hello := wire.AppendVec32([]byte{StreamPeer}, encodeHello(from.key, to.id, w.now()))
		nudge := wire.AppendVec32(nil, encodeCall(opNudge, 1, nil))
		_ = must(rwc.Write(hello))
		_ = must(rwc.Write(nudge))
		if _, err := wire.ReadFrame(rwc, maxPeerFrame); err != nil {
			t.Fatal(err)
		}
		open = append(open, rwc)
	}
	for i, rwc := range open[:len(open)-peerStreams] {
		if _, err := rwc.Read(make([]byte, 1)); !errors.Is(err, errReset) {
			t.Errorf("stream %d: %v", i, err)
		}
	}
	last := open[len(open)-1]
	_ = must(last.Write(wire.AppendVec32(nil, encodeCall(opNudge, 2, nil))))
	if _, err := wire.ReadFrame(last, maxPeerFrame); err != nil {
		t.Errorf("the newest stream: %v", err)
	}
}

func TestSubscribersAreBounded(t *testing.T) {
	w := newWorld(t, 5)
	b := newBox(w)
	for range maxSubscribers {
		if _, err := w.client(w.nodes[0]).subscribe(b, mailbox.Cursor{}, b.owner); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.client(w.nodes[0]).subscribe(b, mailbox.Cursor{}, b.owner); !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
}

// TestMaliciousMember lets a member hand out what no client made.
func TestMaliciousMember(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096))
	eventually(t, "the second member's copy", func() bool { return w.nodes[1].has(b, d) })
	s, ctx := w.nodes[1].swarm, context.Background()
	forged := b.put(w, randomEnvelope(4096))
	forged.Envelope = randomEnvelope(4096)
	if err := s.accept(ctx, forged); !errors.Is(err, mailbox.ErrBadSignature) {
		t.Errorf("forged put: %v", err)
	}
	stone := &mailbox.Delete{Locator: b.Locator, Digests: []mailbox.Digest{d}, Expiry: uint64(w.now().Unix()) + 86400}
	stone.Sign(b.shared, nil)
	if err := s.accept(ctx, stone); !errors.Is(err, mailbox.ErrBadSignature) {
		t.Errorf("forged tombstone: %v", err)
	}
	open := c.openRequest(b.Locator, 1<<20, 18)
	open.Bytes = 64 << 20
	for purpose := mailbox.OpenPurpose(b.Address(), open.Bytes, open.Days); mailbox.VerifyWork(purpose, &open.Work, w.now()) == nil; {
		open.Work.Nonce++ // one in 256 fits the larger purpose by chance
	}
	if err := s.accept(ctx, open); !errors.Is(err, mailbox.ErrBadWork) {
		t.Errorf("forged grant: %v", err)
	}
	if err := s.accept(ctx, &mailbox.Fetch{Locator: b.Locator}); !errors.Is(err, mailbox.ErrForbidden) {
		t.Errorf("copy of a fetch: %v", err)
	}
	if !w.nodes[1].has(b, d) {
		t.Error("the envelope is gone")
	}
}

// TestClientCannotPoseAsMember sends a peer stream without a member's key.
func TestClientCannotPoseAsMember(t *testing.T) {
	w := newWorld(t, 5)
	for name, try := range map[string]func() error{
		"stranger's link": func() error { return w.peerStream(w.exit, w.nodes[1].key) },
		"stranger's key":  func() error { return w.peerStream(w.nodes[1].id, must(suite.NewSigningKey(crand.Reader))) },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: the stream stays open", name)
		}
	}
}

// peerStream opens a peer stream over a link of from with a hello of key, and
// returns the error of the first reading.
func (w *world) peerStream(from identity.NodeID, key suite.SigningKey) error {
	rwc, err := w.connect(from, w.nodes[0].id)
	if err != nil {
		return err
	}
	defer rwc.Close()
	if _, err := rwc.Write([]byte{StreamPeer}); err != nil {
		return err
	}
	hello := encodeHello(key, w.nodes[0].id, w.now())
	if _, err := rwc.Write(append([]byte{0, 0, 0, byte(len(hello))}, hello...)); err != nil {
		return err
	}
	if _, err := rwc.Write([]byte{0, 0, 0, 9, byte(opNudge), 0, 0, 0, 0, 0, 0, 0, 1}); err != nil {
		return err
	}
	_, err = rwc.Read(make([]byte, 1))
	return err
}

func TestLogsNameNobody(t *testing.T) {
	w := newWorld(t, 5)
	c, b := w.client(w.nodes[0]), newBox(w)
	c.open(b, 1<<20)
	d := c.send(b, randomEnvelope(4096))
	_, _ = c.fetch(b, mailbox.Cursor{}, b.shared)
	_ = c.delete(b, b.owner, d)
	for _, n := range w.nodes {
		n.stop()
	}
	log := w.log.String()
	for _, x := range [][]byte{b.Owner[:], b.Shared[:], d[:], func() []byte { a := b.Address(); return a[:] }()} {
		if strings.Contains(log, mailbox.Address(x).String()[:16]) || strings.Contains(log, string(x)) {
			t.Error("a log line names a mailbox")
		}
	}
}
