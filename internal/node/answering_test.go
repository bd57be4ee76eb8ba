package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/swarm"
	"sotto/internal/wire"
)

// unreachable counts whom it is asked to reach.
type unreachable map[identity.NodeID]int

func (u unreachable) OpenStream(_ context.Context, id identity.NodeID) (io.ReadWriteCloser, error) {
	u[id]++
	return nil, io.ErrUnexpectedEOF
}

func newLoneFollower(t *testing.T, dialer swarm.PeerDialer) *follower {
	t.Helper()
	f := newFleet(t, 1)
	folder := &folder{dir: f.dirs[0]}
	live, err := folder.open(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	fl, err := newFollower(live, folder, f.made[0].Node.ID, dialer, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return fl
}

// A node that opens streams and says nothing, or asks and takes no answer, keeps
// no other from being answered.
func TestOneNodeHoldsUpNoAnswers(t *testing.T) {
	fl := newLoneFollower(t, unreachable{})
	hostile, honest := identity.NodeID{1}, identity.NodeID{2}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		var errs []error
		open := func(id identity.NodeID) net.Conn {
			here, there := net.Pipe()
			all.Go(func() {
				err := fl.serve(id, there)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
			return here
		}
		answered := func() {
			t.Helper()
			c := open(honest)
			defer c.Close()
			if err := wire.WriteFrame(c, directory.AskingOf(fl.live).Encode()); err != nil {
				t.Error(err)
			}
			head, err := wire.ReadFrame(c, answerSize)
			if err == nil {
				_, err = parseAnswer(head)
			}
			if err != nil {
				t.Errorf("another node is not answered: %v", err)
			}
		}
		for range 2 * maxAnswering {
			open(hostile)
		}
		synctest.Wait()
		answered()
		all.Wait()
		if d := time.Since(began); d > questionTimeout {
			t.Errorf("who says nothing is waited for %v", d)
		}
		errs = nil
		for range maxAnsweringOne + 3 {
			if err := wire.WriteFrame(open(hostile), directory.AskingOf(fl.live).Encode()); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		answered()
		all.Wait()
		refused := 0
		for _, err := range errs {
			if errors.Is(err, swarm.ErrTooMany) {
				refused++
			}
		}
		if refused != 3 {
			t.Errorf("%d questions were refused, want 3", refused)
		}
		if d := time.Since(began); d > questionTimeout+askTimeout {
			t.Errorf("who takes no answer is waited for %v", d)
		}
		if fl.answering.all != 0 || len(fl.answering.of) != 0 {
			t.Errorf("%d places are left taken", fl.answering.all)
		}
	})
}

// A node that claims to have more and gives nothing is not asked again at once.
func TestVainClaimsAreNotFollowed(t *testing.T) {
	asked := unreachable{}
	fl := newLoneFollower(t, asked)
	a, b := identity.NodeID{1}, identity.NodeID{2}
	synctest.Test(t, func(t *testing.T) {
		vain := map[identity.NodeID]time.Time{}
		for range 10 {
			fl.askClaimant(t.Context(), a, vain)
		}
		fl.askClaimant(t.Context(), b, vain)
		if asked[a] != 1 || asked[b] != 1 {
			t.Errorf("asked %d and %d times", asked[a], asked[b])
		}
		time.Sleep(askEvery)
		fl.askClaimant(t.Context(), a, vain)
		if asked[a] != 2 || len(vain) != 1 {
			t.Errorf("later asked %d times; %d are remembered", asked[a], len(vain))
		}
	})
}
