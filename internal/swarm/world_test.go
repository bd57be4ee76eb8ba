package swarm

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
	"sotto/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testBits = 4
	patience = 20 * time.Second
)

var errAway = errors.New("node is away")

// world is a network in one process whose nodes reach one another by pipes.
type world struct {
	t     testing.TB
	dir   *directory.Directory
	mu    sync.Mutex // guards nodes against recruit
	nodes []*node
	// key signed the documents, of which the last is dir's.
	key       suite.SigningKey
	documents []*directory.Network
	exit      identity.NodeID
	clock     atomic.Int64 // seconds added to the real time
	wire      atomic.Int64 // bytes between members
	log       lockedBuffer
}

// node is a member that can be stopped, frozen and started again.
type node struct {
	w      *world
	id     identity.NodeID
	key    suite.SigningKey
	live   *directory.Live
	fs     vfs.FS
	dir    string
	reg    *prometheus.Registry
	swarm  *Swarm
	store  *store.Store
	cancel context.CancelFunc
	done   chan error

	every time.Duration // between reconciliations; 0: an hour

	mu     sync.Mutex
	up     bool
	frozen bool // accepts streams and never reads
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newWorld(t testing.TB, nodes int) *world {
	return newWorldOn(t, nodes, func(int) (vfs.FS, string) { return vfs.NewMem(), "store" })
}

func newWorldOn(t testing.TB, nodes int, storage func(int) (vfs.FS, string)) *world {
	t.Helper()
	net, locals, err := directory.Local(directory.LocalConfig{
		Nodes: nodes, Swarm: 5, Port: 1, Created: time.Now().Add(-10 * time.Minute).Truncate(time.Second), Rand: crand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, key: must(suite.NewSigningKey(crand.Reader)), exit: identity.NodeID{0xee}}
	w.sign(net.Document)
	for i, l := range locals {
		fs, dir := storage(i)
		w.nodes = append(w.nodes, &node{w: w, id: l.Node.ID, key: l.Identity, live: w.source(), fs: fs, dir: dir})
	}
	for _, n := range w.nodes {
		n.make()
	}
	for _, n := range w.nodes {
		n.run()
	}
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.stop()
		}
	})
	for _, n := range w.nodes {
		eventually(t, "all members to have compared", func() bool { return errors.Is(n.swarm.view().notOpen(), mailbox.ErrNotOpen) })
	}
	return w
}

// sign makes a document the world's newest; nodes hear of it by tell.
func (w *world) sign(doc directory.Document) {
	w.t.Helper()
	net, err := directory.SignDocument(w.key, doc)
	if err != nil {
		w.t.Fatal(err)
	}
	w.documents, w.dir = append(w.documents, net), must(net.Directory())
}

// source is a Source that knows the newest document and those before it.
func (w *world) source() *directory.Live {
	live := directory.NewLive(w.dir, w.now)
	for _, net := range w.documents[:len(w.documents)-1] {
		if err := live.Remember(net); err != nil {
			w.t.Fatal(err)
		}
	}
	return live
}

// change signs a document that follows the newest one.
func (w *world) change(f func(doc *directory.Document)) {
	doc := w.documents[len(w.documents)-1].Document
	doc.Nodes = slices.Clone(doc.Nodes)
	doc.Serial++
	doc.Issued = w.now()
	f(&doc)
	w.sign(doc)
}

// tell lets nodes adopt the newest document, and waits until they use it.
func (w *world) tell(nodes ...*node) {
	w.t.Helper()
	for _, n := range nodes {
		if err := n.live.Adopt(w.documents[len(w.documents)-1]); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, n := range nodes {
		eventually(w.t, "a node to use the directory", func() bool { return n.swarm.view().dir.Serial() == w.dir.Serial() })
	}
}

// recruit makes a node for a swarm, which no directory lists yet.
func (w *world) recruit(swarm directory.SwarmID) (*node, directory.Node) {
	i := len(w.nodes)
	key := must(suite.NewSigningKey(crand.Reader))
	n := &node{w: w, id: identity.NodeID(key.Public()), key: key, fs: vfs.NewMem(), dir: "store"}
	w.mu.Lock()
	w.nodes = append(w.nodes, n)
	w.mu.Unlock()
	return n, directory.Node{
		ID: n.id, Operator: fmt.Sprintf("operator-%d", i+1), Swarm: swarm,
		Addr:     netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(i + 1), 0, 1}), 1),
		OnionKey: must(suite.NewDHPrivate(crand.Reader)).Public(),
	}
}

// join starts a recruited node with the newest directory.
func (n *node) join() {
	n.w.t.Helper()
	n.live = n.w.source()
	n.start()
}

func (w *world) now() time.Time {
	return time.Now().Add(time.Duration(w.clock.Load()) * time.Second)
}

func (w *world) advance(d time.Duration) { w.clock.Add(int64(d / time.Second)) }

func (n *node) start() {
	n.w.t.Helper()
	n.make()
	n.run()
}

func (n *node) make() {
	n.w.t.Helper()
	st, err := store.Open(n.dir, store.Options{FS: n.fs})
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.reg = prometheus.NewRegistry()
	s, err := New(Config{
		Identity: n.key, Directory: n.live, Store: st, Peers: n,
		Now: n.w.now, Metrics: n.reg, WorkBits: testBits, ReconcileEvery: cmp.Or(n.every, time.Hour),
		Logger: slog.New(slog.NewTextHandler(&n.w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.mu.Lock()
	n.store, n.swarm, n.up = st, s, true
	n.mu.Unlock()
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan error, 1)
	go func() { n.done <- n.swarm.Run(ctx) }()
}

// stop ends a node, which must be quick.
func (n *node) stop() {
	n.mu.Lock()
	up := n.up
	n.up = false
	n.mu.Unlock()
	if !up {
		return
	}
	began := time.Now()
	n.cancel()
	<-n.done
	if err := n.store.Close(); err != nil {
		n.w.t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		n.w.t.Errorf("stopping took %v", d)
	}
}

func (n *node) freeze(frozen bool) {
	n.mu.Lock()
	n.frozen = frozen
	n.mu.Unlock()
}

// OpenStream makes a node the PeerDialer of its own streams.
func (n *node) OpenStream(_ context.Context, to identity.NodeID) (io.ReadWriteCloser, error) {
	return n.w.connect(n.id, to)
}

func (w *world) connect(from, to identity.NodeID) (io.ReadWriteCloser, error) {
	w.mu.Lock()
	nodes := slices.Clone(w.nodes)
	w.mu.Unlock()
	for _, n := range nodes {
		if n.id != to {
			continue
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if !n.up {
			return nil, errAway
		}
		near, far := newPipe()
		if !n.frozen {
			go func() { _ = n.swarm.ServeStream(context.Background(), from, far) }()
		}
		if from != w.exit {
			return counted{near, &w.wire}, nil
		}
		return near, nil
	}
	return nil, errAway
}

// exitDialer opens streams as an exit relay does.
type exitDialer struct{ w *world }

func (d exitDialer) OpenStream(_ context.Context, to identity.NodeID) (io.ReadWriteCloser, error) {
	return d.w.connect(d.w.exit, to)
}

// client is a client's stream to one node.
type client struct {
	t    testing.TB
	w    *world
	n    *node
	rwc  io.ReadWriteCloser
	cert *mailbox.RequestKeyCert
}

func (w *world) client(n *node) *client {
	w.t.Helper()
	rwc, err := OpenClientStream(context.Background(), exitDialer{w}, n.id)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, w: w, n: n, rwc: rwc}
	w.t.Cleanup(func() { _ = rwc.Close() })
	c.write(mailbox.KeysRequest())
	c.cert = must(mailbox.ParseKeysReply(c.read()))
	if err := c.cert.Verify(n.id, w.now()); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (c *client) close() { _ = c.rwc.Close() }

func (c *client) write(frame []byte) {
	if err := wire.WriteFrame(c.rwc, frame); err != nil {
		c.t.Errorf("client: write: %v", err)
	}
}

func (c *client) read() []byte {
	b, err := wire.ReadFrame(c.rwc, mailbox.MaxFrame)
	if err != nil {
		c.t.Errorf("client: read: %v", err)
	}
	return b
}

// do sends a request and returns its response, or the failure as an error.
func (c *client) do(req mailbox.Request, sign func(mailbox.Stamp)) (mailbox.Response, error) {
	frame, opener := c.seal(req, sign)
	c.write(frame)
	return result(opener.Open(c.read()))
}

func (c *client) seal(req mailbox.Request, sign func(mailbox.Stamp)) ([]byte, *mailbox.ReplyOpener) {
	stamp := must(mailbox.NewStamp(crand.Reader, c.n.id, c.w.now()))
	if sign != nil {
		sign(stamp)
	}
	frame, opener, err := mailbox.SealStamped(c.cert, stamp, req)
	if err != nil {
		c.t.Fatal(err)
	}
	return frame, opener
}

func result(resp mailbox.Response, err error) (mailbox.Response, error) {
	if err != nil {
		return nil, err
	}
	if f, ok := resp.(*mailbox.Failure); ok {
		return nil, f
	}
	return resp, nil
}

// box is one direction of a conversation as both ends know it.
type box struct {
	mailbox.Locator
	owner, shared suite.Signer
}

func newBox(w *world) *box {
	owner, shared := must(suite.NewSigningKey(crand.Reader)), must(suite.NewSigningKey(crand.Reader))
	return &box{
		Locator: mailbox.Locator{
			Kind: mailbox.KindConversation, Period: uint64(identity.PeriodAt(w.now())),
			Owner: owner.Public(), Shared: shared.Public(),
		},
		owner: owner, shared: shared,
	}
}

func (c *client) openRequest(l mailbox.Locator, size uint32, days uint16) *mailbox.Open {
	resp, err := c.do(&mailbox.Quote{}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	q := resp.(*mailbox.QuoteReply).Quote
	work := must(mailbox.SolveWork(nil, mailbox.OpenPurpose(l.Address(), size, days), q))
	return &mailbox.Open{Locator: l, Bytes: size, Days: days, Work: work}
}

func (c *client) open(b *box, size uint32) {
	c.t.Helper()
	if _, err := c.do(c.openRequest(b.Locator, size, 18), nil); err != nil {
		c.t.Fatal(err)
	}
}

func randomEnvelope(size int) []byte {
	b := make([]byte, size)
	_, _ = crand.Read(b)
	return b
}

func (b *box) put(w *world, envelope []byte) *mailbox.Put {
	p := &mailbox.Put{Locator: b.Locator, Expiry: uint64(w.now().Unix()) + 86400, Envelope: envelope}
	p.Sign(b.shared, nil)
	return p
}

// send puts an envelope and checks the receipts as a client does.
func (c *client) send(b *box, envelope []byte) mailbox.Digest {
	c.t.Helper()
	p := b.put(c.w, envelope)
	resp, err := c.do(p, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	d := mailbox.EnvelopeDigest(b.Address(), envelope)
	c.checkReceipts(resp.(*mailbox.Stored), b.Address(), d, p.Expiry)
	return d
}

func (c *client) checkReceipts(st *mailbox.Stored, a mailbox.Address, d mailbox.Digest, expiry uint64) {
	c.t.Helper()
	nodes := map[identity.NodeID]bool{}
	for i := range st.Receipts {
		r := &st.Receipts[i]
		if err := r.Confirms(a, d, expiry); err != nil {
			c.t.Error(err)
		}
		if !c.w.dir.InSwarmOf(r.Node, a) {
			c.t.Error("receipt of a stranger")
		}
		nodes[r.Node] = true
	}
	if members := len(c.w.dir.SwarmOf(a)); len(nodes) < members/2+1 {
		c.t.Errorf("%d receipts of %d members", len(nodes), members)
	}
}

func (c *client) fetch(b *box, cursor mailbox.Cursor, key suite.Signer) (*mailbox.Batch, error) {
	f := &mailbox.Fetch{Locator: b.Locator, Cursor: cursor, Limit: 100}
	resp, err := c.do(f, func(s mailbox.Stamp) { f.Sign(key, nil, s) })
	if err != nil {
		return nil, err
	}
	return resp.(*mailbox.Batch), nil
}

func (c *client) delete(b *box, key suite.Signer, ds ...mailbox.Digest) error {
	d := &mailbox.Delete{Locator: b.Locator, Digests: ds, Expiry: uint64(c.w.now().Unix()) + 2*86400}
	d.Sign(key, nil)
	_, err := c.do(d, nil)
	return err
}

// subscribe goes through challenge and proof; pushes come by next.
func (c *client) subscribe(b *box, cursor mailbox.Cursor, key suite.Signer) (*mailbox.ReplyOpener, error) {
	req := &mailbox.Subscribe{Locator: b.Locator, Cursor: cursor}
	frame, opener := c.seal(req, nil)
	c.write(frame)
	resp, err := result(opener.Open(c.read()))
	if err != nil {
		return nil, err
	}
	next, err := opener.SealNext(req.Prove(key, nil, c.n.id, resp.(*mailbox.Challenge)))
	if err != nil {
		return nil, err
	}
	c.write(next)
	_, err = result(opener.Open(c.read()))
	return opener, err
}

func (c *client) next(opener *mailbox.ReplyOpener) *mailbox.Pushed {
	c.t.Helper()
	resp, err := result(opener.Open(c.read()))
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.(*mailbox.Pushed)
}

// eventually waits for what other goroutines bring about without an event that
// a test could wait on.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (n *node) has(b *box, d mailbox.Digest) bool {
	_, err := n.store.Record(store.KindEnvelope, b.Address(), d)
	return err == nil
}
