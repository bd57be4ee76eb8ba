package link

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/onion"
	"sotto/internal/simnet"
)

// A node that vanishes is noticed within the idle timeout, left alone for its
// backoff, and found again when it returns. In virtual time.
func TestReconnectWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 30 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		a, _ := w.node(0)
		b, node := w.node(1)
		defer closeAll(t, a, b)
		ctx := context.Background()
		first, err := a.Get(ctx, node)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := a.Get(ctx, node); err != nil || again != first {
			t.Fatalf("a live link is not reused: %v", err)
		}
		sim.SetDown(node.Addr.Addr(), true)
		lost := time.Now()
		<-first.Done()
		if d := time.Since(lost); d > maxIdle+keepAlive {
			t.Errorf("dead neighbour noticed after %v", d)
		}
		var attempts, refusals int
		var longest time.Duration
		for start := time.Now(); time.Since(start) < time.Minute; {
			_, err := a.Get(ctx, node)
			var backoff *BackoffError
			if errors.As(err, &backoff) {
				refusals++
				longest = max(longest, backoff.Wait)
				time.Sleep(backoff.Wait)
				continue
			}
			if err == nil {
				t.Fatal("linked to a dead node")
			}
			attempts++
		}
		if attempts < 6 || attempts > 20 || refusals == 0 || longest > backoffMax {
			t.Errorf("%d attempts, %d refusals, longest pause %v in a minute", attempts, refusals, longest)
		}
		sim.SetDown(node.Addr.Addr(), false)
		for back := time.Now(); ; {
			if _, err := a.Get(ctx, node); err == nil {
				break
			}
			if time.Since(back) > 2*backoffMax {
				t.Fatal("node that returned is not found")
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// Silence is not death while both ends live.
func TestIdleLinkLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 100 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		near, far, in := pair(t, a, b, node)
		time.Sleep(10 * time.Minute)
		select {
		case <-in.Done():
			t.Fatal("idle link died")
		default:
		}
		if err := far.WriteCells(numbered(1)); err != nil {
			t.Fatal(err)
		}
		var c onion.Cell
		if err := near.ReadCell(&c); err != nil {
			t.Fatal(err)
		}
	})
}

// Closing an endpoint fails what waits on it, and tells its neighbours.
func TestCloseEndsEverything(t *testing.T) {
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	a := w.client()
	defer closeAll(t, a, b)
	near, _, in := pair(t, a, b, node)
	failed := make(chan error, 2)
	go func() {
		_, err := b.Accept(context.Background())
		failed <- err
	}()
	go func() {
		var c onion.Cell
		failed <- near.ReadCell(&c)
	}()
	closeAll(t, b, b)
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLost) {
			t.Errorf("got %v, want ErrClosed or ErrLost", err)
		}
	}
	<-in.Done()
	if _, err := b.Get(timeout(t), node); !errors.Is(err, ErrClosed) {
		t.Errorf("Get on a closed endpoint: %v", err)
	}
	if _, err := a.Accept(timeout(t)); !errors.Is(err, ErrNotListening) {
		t.Errorf("Accept on a client: %v", err)
	}
}

// Many callers share one attempt, and one that gives up does not end it.
func TestGetIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 200 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a, b)
		impatient, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		links := make(chan *Link, 10)
		for range cap(links) {
			go func() {
				l, err := a.Get(context.Background(), node)
				if err != nil {
					t.Error(err)
				}
				links <- l
			}()
		}
		if _, err := a.Get(impatient, node); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("impatient caller: %v", err)
		}
		one := <-links
		for range cap(links) - 1 {
			if l := <-links; l != one {
				t.Fatal("callers got different links")
			}
		}
		if _, err := b.Accept(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(b.acceptLinks); n != 0 {
			t.Fatalf("%d further connections were made", n)
		}
	})
}

// A node that restarts is noticed by its old neighbours with the next cell that
// they send, before the idle timeout.
func TestRestartIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simnet.New(simnet.Config{Latency: 10 * time.Millisecond})
		defer sim.Close()
		w := newWorld(t, 2, sim)
		b, node := w.node(1)
		a := w.client()
		defer closeAll(t, a)
		l, err := a.Get(context.Background(), node)
		if err != nil {
			t.Fatal(err)
		}
		ch, err := l.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		sim.SetDown(node.Addr.Addr(), true) // its farewell is lost
		closeAll(t, b)
		sim.SetDown(node.Addr.Addr(), false)
		b, _ = w.node(1)
		defer closeAll(t, b)
		start := time.Now()
		if err := ch.WriteCells(numbered(1)); err != nil {
			t.Fatal(err)
		}
		<-l.Done()
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("restart noticed after %v", d)
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for failures := range 100 {
		want := backoffMax
		if failures < 5 {
			want = min(backoffMax, backoffMin<<failures)
		}
		if d := backoff(failures); d < want/2 || d > want {
			t.Fatalf("pause %v after %d failures, want %v to %v", d, failures, want/2, want)
		}
	}
}
