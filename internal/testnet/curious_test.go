package testnet

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/client"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/mailbox"
	"sotto/internal/padding"
)

// clock is the system's, and can be put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// logs keeps everything that the nodes log.
type logs struct {
	mu  sync.Mutex
	buf map[int]*bytes.Buffer
}

func (l *logs) logger(n int) *slog.Logger {
	return slog.New(slog.NewJSONHandler(&nodeLog{l, n}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type nodeLog struct {
	*logs
	n int
}

func (l *nodeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf == nil {
		l.buf = map[int]*bytes.Buffer{}
	}
	if l.buf[l.n] == nil {
		l.buf[l.n] = &bytes.Buffer{}
	}
	return l.buf[l.n].Write(p)
}

// sendOnly is a way to the network by which nothing is received, so that what
// is sent to the person stays where it lies.
type sendOnly struct {
	endpoint *link.Endpoint
	manager  *circuit.Manager
}

var errSendOnly = errors.New("testnet: this profile only sends")

func connectSendOnly(cfg client.ProfileConfig) func(client.NetworkConfig) (client.Network, error) {
	return func(n client.NetworkConfig) (client.Network, error) {
		pc, err := cfg.PacketConn()
		if err != nil {
			return nil, err
		}
		end, err := link.NewEndpoint(pc, link.Config{Directory: n.Directory, Now: cfg.Now})
		if err != nil {
			return nil, errors.Join(err, pc.Close())
		}
		m, err := circuit.NewManager(circuit.Config{Directory: n.Directory, Endpoint: end, State: n.Guards, Now: cfg.Now})
		if err != nil {
			return nil, errors.Join(err, end.Close())
		}
		return &sendOnly{end, m}, nil
	}
}

func (s *sendOnly) OpenStream(ctx context.Context, iso circuit.Isolation, avoid []circuit.Isolation, node identity.NodeID) (client.Stream, error) {
	if iso.Purpose == circuit.Receive {
		return nil, errSendOnly
	}
	stream, err := s.manager.OpenStream(ctx, iso, node, circuit.AvoidExitOf(avoid...))
	if err != nil {
		return nil, err
	}
	return stream, nil
}

func (s *sendOnly) Paths() []client.Path     { return nil }
func (s *sendOnly) NewPath()                 { s.manager.NewPath() }
func (s *sendOnly) SetCover(l padding.Level) { s.manager.SetCover(l) }
func (s *sendOnly) Chatting()                { s.manager.Chatting() }
func (s *sendOnly) Close() error             { return errors.Join(s.manager.Close(), s.endpoint.Close()) }

// leave lets a person send some texts that nobody reads.
func leave(t *testing.T, p, to *person, peer string, n int) {
	t.Helper()
	to.close(t)
	p.open(t, connectSendOnly(p.cfg))
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	say(t, ctx, p, peer, n).await(t, ctx, client.MessageStored)
	p.close(t)
}

// TestCuriousStores holds a conversation over two periods, with a restart in
// it, and then opens the folders and the logs of all nodes. Nothing there names
// a person, and nothing joins two mailboxes of theirs.
func TestCuriousStores(t *testing.T) {
	c, l := &clock{}, &logs{}
	n := start(t, 15, 5, Config{Now: c.now, Logger: l.logger})
	withClock := func(cfg *client.ProfileConfig) { cfg.Now = c.now }
	ada := newPerson(t, n, "Ada Quillfeather", withClock)
	ben := newPerson(t, n, "Ben Thistlewood", withClock)
	cleo := newPerson(t, n, "Cleo Marchbanks", withClock) // has cards in two periods
	cleo.close(t)
	adaID, benID := ada.ID(), ben.ID()
	befriend(t, &ada.account, &ben.account)
	converse(t, ada, ben, 12)
	ben.open(t, nil)
	converse(t, ada, ben, 12)
	for range 2 { // this period, and the next
		leave(t, ada, ben, benID, 3)
		leave(t, ben, ada, adaID, 3)
		c.forward(identity.PeriodLength)
	}
	cleo.open(t, nil)
	cleo.flush(t)
	cleo.close(t)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	needles, boxes := insights(t, ada, ben, cleo)
	raw, written := addresses(boxes)
	curiousFiles(t, n, l, needles, raw, written)
	curiousRows(t, n, needles, boxes)
}

// insights joins what closed profiles know; a conversation's mailboxes count
// once.
func insights(t *testing.T, people ...*person) (needles []needle, boxes []box) {
	t.Helper()
	seen := map[mailbox.Address]bool{}
	for _, p := range people {
		x := p.insight(t)
		needles = append(needles, x.needles...)
		for _, b := range x.boxes {
			if !seen[b.addr] {
				seen[b.addr] = true
				boxes = append(boxes, b)
			}
		}
	}
	return needles, boxes
}

// curiousFiles searches all files and logs. Stores hold addresses of mailboxes,
// which shows that the search finds what is there; logs must not.
func curiousFiles(t *testing.T, n *Network, l *logs, needles, raw, written []needle) {
	t.Helper()
	s := newSearcher(append(append(needles, raw...), written...))
	logged := newSearcher([]needle{{"end of a circuit", []byte("relay: circuit ended")}})
	stored := map[string]bool{}
	ends := map[string]bool{}
	for i, e := range n.Layout().Nodes {
		for what := range s.files(t, e.Dir) {
			if isOf(what, raw) {
				stored[what] = true
			} else {
				t.Errorf("the folder of node %d holds %s", i+1, what)
			}
		}
		found := map[string]bool{}
		if buf := l.buf[i+1]; buf != nil {
			s.find(buf.Bytes(), found)
			logged.find(buf.Bytes(), ends)
		}
		for what := range found {
			t.Errorf("the log of node %d holds %s", i+1, what)
		}
	}
	if len(stored) < 4 || len(ends) == 0 {
		t.Errorf("the search found %d addresses in stores and %d kinds of lines in logs: it does not search", len(stored), len(ends))
	}
}

func isOf(what string, needles []needle) bool {
	for _, n := range needles {
		if n.what == what {
			return true
		}
	}
	return false
}

// curiousRows plays the joiner on the rows of all stores together, more than
// any one node has.
func curiousRows(t *testing.T, n *Network, needles []needle, boxes []box) {
	t.Helper()
	s := newSearcher(needles)
	byAddr := map[mailbox.Address]box{}
	for _, b := range boxes {
		byAddr[b.addr] = b
	}
	groups, single := newJoiner(), newJoiner()
	quotes := map[string][]byte{}
	envelopes := map[string]int{}
	for i, e := range n.Layout().Nodes {
		for _, row := range rows(t, filepath.Join(e.Dir, "store")) {
			found := map[string]bool{}
			s.find(row[0], found)
			s.find(row[1], found)
			for what := range found {
				t.Errorf("the store of node %d holds %s", i+1, what)
			}
			addr, traits, err := traits(row[0], row[1], quotes)
			if err != nil {
				t.Fatalf("node %d: %v", i+1, err)
			}
			if b, ok := byAddr[addr]; ok {
				groups.add(b.group, traits)
				single.add(b.what, traits)
				if row[0][0] == 'e' {
					envelopes[b.what]++
				}
			}
		}
	}
	for pair := range groups.joined {
		t.Errorf("equal bytes join %s", pair)
	}
	if len(single.joined) == 0 {
		t.Error("the joiner did not see that a card and a front door of one period have one owner: it does not join")
	}
	conversations := 0
	for what := range envelopes {
		if bytes.HasPrefix([]byte(what), []byte("conversation")) {
			conversations++
		}
	}
	if conversations != 4 {
		t.Errorf("envelopes lie in %d mailboxes of the conversation, not in two directions of two periods: %v", conversations, envelopes)
	}
}
