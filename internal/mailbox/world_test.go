package mailbox

import (
	"bytes"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// stream is deterministic randomness: the derivation of a seed, block by block.
type stream struct {
	seed, rest []byte
	n          byte
}

func newStream(seed string) *stream { return &stream{seed: []byte(seed)} }

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.rest) == 0 {
			s.rest = suite.Derive(s.seed, suite.LabelPrefix+"test/stream", 4096, []byte{s.n})
			s.n++
		}
		p[i], s.rest = s.rest[0], s.rest[1:]
	}
	return len(p), nil
}

var testNow = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

const testBits = 4

// world is a node with a request key, and two people in a conversation.
type world struct {
	now        time.Time
	node       suite.SigningKey
	key        *RequestKey
	alice, bob *identity.Persona
	conv       *Conversation
	secrets    *identity.PeriodSecrets // bob's, of the current period
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return makeWorld()
}

func makeWorld() *world {
	w := &world{now: testNow}
	r := newStream("world")
	w.node = must(suite.NewSigningKey(r))
	w.key = must(NewRequestKey(r, w.node, 7, w.now.Add(-time.Hour), w.now.Add(time.Hour)))
	w.alice = must(identity.NewSeed(r)).Persona(0)
	w.bob = must(identity.NewSeed(r)).Persona(0)
	w.conv = must(NewConversation(r, w.now))
	w.secrets = must(identity.NewPeriodSecrets(r, w.bob.Root(), identity.DeviceID{1}, w.bob.Identity().Public(), 0, w.period()))
	return w
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) nodeID() identity.NodeID { return identity.NodeID(w.node.Public()) }

func (w *world) period() identity.Period { return identity.PeriodAt(w.now) }

// box is the mailbox in which bob reads what alice, the initiator, writes.
func (w *world) box() Box {
	return must(w.conv.Box(w.conv.Period(w.now, true), true, w.bob.Base().Public()))
}

func (w *world) owner() suite.Signer {
	return must(w.conv.Owner(w.conv.Period(w.now, true), true, w.bob.Base()))
}

func (w *world) terms() Terms {
	return Terms{
		Now:    w.now,
		Stamp:  w.stamp(),
		Member: func(n identity.NodeID, _ Address) bool { return n == w.nodeID() },
	}
}

func (w *world) stamp() Stamp {
	return Stamp{Node: w.nodeID(), Time: unix(w.now), Nonce: [StampNonceSize]byte{9}}
}

func (w *world) expiry() uint64 { return unix(w.now.Add(MaxTTL)) }

func (w *world) put() *Put {
	b := w.box()
	env := must(SealEnvelope(newStream("envelope"), b.Key, b.Locator.Address(), &Envelope{Slots: [][]byte{{1, 2}}, Body: []byte("body")}))
	p := &Put{Locator: b.Locator, Expiry: w.expiry(), Envelope: env}
	p.Sign(b.Write, nil)
	return p
}

func (w *world) fetch() *Fetch {
	f := &Fetch{Locator: w.box().Locator, Limit: 10}
	f.Sign(w.owner(), nil, w.stamp())
	return f
}

func (w *world) remove() *Delete {
	d := &Delete{Locator: w.box().Locator, Digests: []Digest{{1}, {2}}, Expiry: w.expiry()}
	d.Sign(w.owner(), nil)
	return d
}

func (w *world) work(p Purpose) Work {
	return must(SolveWork(nil, p, NewWorkQuote(w.node, testBits, w.now)))
}

func (w *world) open() *Open {
	o := &Open{Locator: w.box().Locator, Bytes: 1 << 20, Days: 18}
	o.Work = w.work(OpenPurpose(o.Address(), o.Bytes, o.Days))
	return o
}

// frontDoorPut is alice's first contact at bob's front door.
func (w *world) frontDoorPut() *Put {
	root, p := w.bob.ID().Root, w.period()
	loc := must(FrontDoor(root, p))
	put := &Put{Locator: loc, Expiry: w.expiry()}
	put.Envelope = must(SealFirst(newStream("first"), identity.FrontDoorKey(root, p), loc.Address(), []byte("first")))
	w.signFrontDoor(put)
	return put
}

func (w *world) signFrontDoor(put *Put) {
	put.Sign(identity.FrontDoorShared(w.bob.ID().Root, w.period()), nil)
	addr := put.Address()
	work := w.work(PutPurpose(addr, EnvelopeDigest(addr, put.Envelope)))
	put.Work = &work
}

func (w *world) frontDoorFetch() *Fetch {
	f := &Fetch{Locator: must(FrontDoor(w.bob.ID().Root, w.period())), Limit: 10}
	f.Sign(w.secrets.Key, &w.secrets.Certificate, w.stamp())
	return f
}

func (w *world) cardPut() *Put {
	root, p := w.bob.ID().Root, w.period()
	put := &Put{Locator: must(CardBox(root, p)), Expiry: unix(w.now.Add(MaxCardTTL))}
	put.Envelope = must(identity.SealCard(newStream("card"), root, p, w.secrets.Card(w.bob.Base().Public())))
	put.Sign(w.secrets.Key, &w.secrets.Certificate)
	return put
}

func (w *world) cardFetch() *Fetch {
	f := &Fetch{Locator: must(CardBox(w.bob.ID().Root, w.period())), Limit: 10}
	f.Sign(identity.CardShared(w.bob.ID().Root, w.period()), nil, w.stamp())
	return f
}

func (w *world) subscribe() *Subscribe {
	return &Subscribe{Locator: w.box().Locator, Cursor: Cursor{Node: w.nodeID(), Incarnation: 3, Seq: 9}}
}

func (w *world) prove() (*Prove, Terms) {
	s, c := w.subscribe(), &Challenge{Nonce: [ChallengeSize]byte{5}}
	t := w.terms()
	t.Subscribe, t.Challenge = s, c
	return s.Prove(w.owner(), nil, w.nodeID(), c), t
}

func (w *world) receipts(n int) []Receipt {
	var t ReceiptBatch
	for i := range n {
		t.Add(Address{byte(i), byte(i >> 8)}, Digest{byte(i)}, uint64(1000+i))
	}
	return must(t.Sign(newStream("receipts"), w.node, w.now))
}

func (w *world) requests() map[string]Request {
	prove, _ := w.prove()
	return map[string]Request{
		"quote": &Quote{}, "directory": &Directory{Serial: 7}, "open": w.open(), "put": w.put(), "fetch": w.fetch(), "subscribe": w.subscribe(),
		"prove": prove, "delete": w.remove(), "front door put": w.frontDoorPut(),
		"front door fetch": w.frontDoorFetch(), "card put": w.cardPut(), "card fetch": w.cardFetch(),
	}
}

func (w *world) responses() map[string]Response {
	item := Item{Digest: Digest{1}, Expiry: 5, Envelope: bytes.Repeat([]byte{7}, 4096)}
	return map[string]Response{
		"directory reply": &DirectoryReply{Signed: []byte("signed")}, "no directory": &DirectoryReply{Signed: []byte{}}, "quote": &QuoteReply{Quote: NewWorkQuote(w.node, 9, w.now)}, "opened": &Opened{Until: 1, Bytes: 2},
		"stored": &Stored{Receipts: w.receipts(3)}, "batch": &Batch{Items: []Item{item, item}, Next: Cursor{Seq: 4}, More: true},
		"empty batch": &Batch{}, "challenge": &Challenge{Nonce: [ChallengeSize]byte{1}}, "subscribed": &Subscribed{},
		"pushed": &Pushed{Item: item, Cursor: Cursor{Seq: 8}}, "deleted": &Deleted{},
		"failure": &Failure{Code: CodeBusy, Message: "later", RetryAfter: 3},
	}
}
