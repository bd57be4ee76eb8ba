package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/mailbox"
	"sotto/internal/node"
	"sotto/internal/suite"
	"sotto/internal/testnet"
)

const (
	// subscriptionExits is how many exits bring them: the streams of one
	// connection are bounded (link.md §3), and a member has many neighbours.
	subscriptionExits = 50
	// fullSubscriptions is what a node has to hold (docs/benchmarks.md).
	fullSubscriptions = 100_000
	// someSubscriptions is what is set up unless all are asked for, so that it is
	// a matter of seconds: each takes a key exchange and two signatures.
	someSubscriptions = 10_000
	// subscribersAtOnce keep both sides busy.
	subscribersAtOnce = 32
	// settleTime is how long a node is left alone before it is weighed.
	settleTime = 5 * time.Second
)

// subscriptions weighs a node, a process of its own, before and after idle
// subscriptions to as many mailboxes.
func subscriptions(ctx context.Context, r Run) (err error) {
	if runtime.GOOS != "linux" {
		r.Note("no figures of subscriptions: memory is read from /proc, which this system lacks")
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	count := r.Subscriptions
	if count == 0 {
		count = someSubscriptions
	}
	s, err := startSubscribed(ctx, filepath.Join(r.Dir, "subscribed"), program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	before, err := s.weigh(ctx)
	if err != nil {
		return err
	}
	r.Note("subscribing to %d mailboxes over %d exits", count, subscriptionExits)
	if err := s.subscribe(ctx, count); err != nil {
		return err
	}
	after, err := s.weigh(ctx)
	if err != nil {
		return err
	}
	figures := weighed(count, before, after)
	if err := r.emit(figures...); err != nil || r.Subscriptions == 0 {
		return err
	}
	return subscribers(ctx, r, figures[0].Value)
}

// weighed makes figures: what one subscription costs, and what the node takes in
// all where all were there to be weighed.
func weighed(count int, before, after float64) []Figure {
	each := Figure{Bench: "store", Name: "subscription_bytes", Value: (after - before) / float64(count), Unit: "bytes"}
	whole := Figure{Bench: "store", Name: "subscriptions_100k_bytes", Value: after, Unit: "bytes"}
	if count < fullSubscriptions {
		whole.Name, whole.Value = "subscriptions_100k_bytes_extrapolated", before+each.Value*fullSubscriptions
	}
	return []Figure{each, whole}
}

// subscribed is a node as a process, and the exits that clients come through.
type subscribed struct {
	members // no nodes of this process
	process *testnet.Processes
	pid     int
	exits   []*link.Endpoint
}

func startSubscribed(ctx context.Context, dir, program string) (*subscribed, error) {
	s := new(subscribed)
	if err := s.start(ctx, dir, program); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *subscribed) start(ctx context.Context, dir, program string) error {
	l, err := layOut(swarmSize + subscriptionExits)
	if err != nil {
		return err
	}
	defer l.close()
	first := l.nodes[0]
	s.dir, s.swarm, s.ids = l.dir, first.Node.Swarm, append(s.ids, first.Node.ID)
	if err := l.take(0).Close(); err != nil { // the process listens there
		return err
	}
	one := &testnet.Layout{Dir: dir, Network: l.network, Nodes: []testnet.Entry{{Node: first.Node, Dir: filepath.Join(dir, "node")}}}
	if err := node.WriteDir(one.Nodes[0].Dir, node.Keys{Identity: first.Identity, Onion: first.Onion}, l.signed); err != nil {
		return err
	}
	if s.process, err = testnet.Up(ctx, one, program); err != nil {
		return err
	}
	s.pid = l.network.Processes[first.Node.ID].PID
	for i, n := range l.nodes {
		if n.Node.Swarm == s.swarm {
			continue
		}
		e, err := l.exit(i)
		if err != nil {
			return err
		}
		s.exits = append(s.exits, e)
	}
	return nil
}

func (s *subscribed) close() error {
	var errs []error
	for _, e := range s.exits {
		errs = append(errs, e.Close())
	}
	if s.process != nil {
		errs = append(errs, s.process.Close())
	}
	return errors.Join(errs...)
}

// subscribe sets up that many subscriptions, each to a mailbox of its own, the
// exits in turn.
func (s *subscribed) subscribe(ctx context.Context, count int) error {
	owner, err := suite.NewSigningKey(rand.Reader)
	if err != nil {
		return err
	}
	var next atomic.Int64
	errs := make([]error, subscribersAtOnce)
	var wg sync.WaitGroup
	for at := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := s.one(ctx, i, owner); err != nil {
					errs[at] = fmt.Errorf("bench: subscription %d: %w", i, err)
					next.Store(int64(count)) // the others need not go on
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (s *subscribed) one(ctx context.Context, i int, owner suite.SigningKey) error {
	through := members{dir: s.dir, swarm: s.swarm, ids: s.ids, exit: s.exits[i%len(s.exits)]}
	r, err := through.dial(ctx, 0)
	if err != nil {
		return err
	}
	defer r.stop() // the end of its exit ends it
	_, err = r.subscribe(through.sharedBox(owner))
	return err
}

// sharedBox makes a mailbox that the swarm keeps, of an owner who has others.
// Nobody puts anything there, so its other key is never used.
func (m *members) sharedBox(owner suite.SigningKey) *box {
	b := &box{owner: owner, Locator: mailbox.Locator{
		Kind: mailbox.KindConversation, Period: uint64(identity.PeriodAt(time.Now())), Owner: owner.Public(),
	}}
	for {
		rand.Read(b.Shared[:]) // never fails (crypto/rand)
		if m.dir.SwarmIDOf(b.Address()) == m.swarm {
			return b
		}
	}
}

// weigh leaves the node alone for a moment and returns what of it is in memory.
func (s *subscribed) weigh(ctx context.Context) (float64, error) {
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return residentBytes(s.pid)
}
