package link

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

// serviceStreams returns both ends of a service stream on which a question has
// been asked and read.
func serviceStreams(t *testing.T) (near, far *ServiceStream) {
	t.Helper()
	w := newWorld(t, 2, nil)
	a, _ := w.node(0)
	b, node := w.node(1)
	t.Cleanup(func() { closeAll(t, a, b) })
	ctx := timeout(t)
	out, err := a.DialService(ctx, node)
	if err != nil {
		t.Fatal(err)
	}
	in, err := b.AcceptService(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if near, err = out.OpenStream(ctx); err != nil {
		t.Fatal(err)
	}
	exchange(t, near, "question", func() io.Reader {
		if far, err = in.AcceptStream(ctx); err != nil {
			t.Fatal(err)
		}
		return far
	})
	exchange(t, far, "answer", func() io.Reader { return near })
	return near, far
}

func exchange(t *testing.T, w io.Writer, what string, r func() io.Reader) {
	t.Helper()
	if _, err := io.WriteString(w, what); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(what))
	if _, err := io.ReadFull(r(), got); err != nil || string(got) != what {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestStreamGoesOnAsTail(t *testing.T) {
	near, far := serviceStreams(t)
	tail, err := far.Continue()
	if err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil { // as whoever served it does
		t.Log(err)
	}
	for range 3 {
		exchange(t, tail, "more", func() io.Reader { return near })
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write on a stream that went on: %v", err)
	}
	if tail.Ended() {
		t.Error("the tail has ended by itself")
	}
	near.Abort()
	<-tail.str.Context().Done()
	if !tail.Ended() {
		t.Error("the peer's end does not show")
	}
	if _, err := tail.Write([]byte("x")); err == nil {
		t.Error("a tail takes what nobody reads")
	}
}

func TestTailEndsWithItsWriter(t *testing.T) {
	near, far := serviceStreams(t)
	tail, err := far.Continue()
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, tail, "more", func() io.Reader { return near })
	tail.Abort()
	if n, err := near.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes of a tail that was reset", n)
	}
}

// TestTailOfAnAbortedStreamIsRefused lets a stream go on that nobody reads.
func TestTailOfAnAbortedStreamIsRefused(t *testing.T) {
	near, far := serviceStreams(t)
	near.conn.tails.wait = time.Millisecond
	near.Abort()
	if tail, err := far.Continue(); err == nil {
		<-tail.str.Context().Done() // refused: nobody reads it
	}
}

// TestTailsMeetTheirStreams takes both orders, and what belongs to nobody.
func TestTailsMeetTheirStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ts := newTails()
		str := new(quic.ReceiveStream)
		if ts.hand(4, str) {
			t.Error("nobody waited")
		}
		if got, err := ts.take(ctx, 4); got != str || err != nil {
			t.Errorf("came first: %v", err)
		}
		got := make(chan *quic.ReceiveStream)
		go func() {
			s, _ := ts.take(ctx, 8)
			got <- s
		}()
		synctest.Wait() // until take waits
		if !ts.hand(8, str) {
			t.Error("somebody waited")
		}
		if <-got != str {
			t.Error("came last")
		}
		cancel()
		if _, err := ts.take(ctx, 12); !errors.Is(err, errTail) {
			t.Errorf("after the connection's end: %v", err)
		}
		if len(ts.here)+len(ts.waiting) != 0 {
			t.Error("something is left")
		}
	})
}
