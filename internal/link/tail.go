package link

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Tail is what a service stream goes on as in one direction alone: a one-way
// stream, which for somebody who has thousands of them costs half as much
// (spec/link.md §4.3).
type Tail struct{ str *quic.SendStream }

// Write writes p, waiting while the peer's window is full.
func (t *Tail) Write(p []byte) (int, error) {
	n, err := t.str.Write(p)
	return n, streamError(err)
}

// Abort resets the tail; a Write that waits returns.
func (t *Tail) Abort() { t.str.CancelWrite(0) }

// Ended reports whether nothing that is written will arrive any more: the peer
// refuses it, the connection is dead, or Abort was called. It costs nothing to
// ask, which to be told would for each tail.
func (t *Tail) Ended() bool { return t.str.Context().Err() != nil }

// tailHead is the size of what a tail begins with: the number of its stream.
const tailHead = 8

func appendTailHead(b []byte, id quic.StreamID) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(id))
}

// errTail says that a stream was to go on and did not.
var errTail = errors.New("link: a service stream has no rest")

// tails takes in the tails of one connection and hands them to whoever reads
// their streams. A tail and the end of its stream come in any order.
type tails struct {
	wg   sync.WaitGroup // who reads heads
	wait time.Duration  // tailTimeout, but in tests

	mu      sync.Mutex // guards what follows
	here    map[quic.StreamID]*quic.ReceiveStream
	waiting map[quic.StreamID]chan<- *quic.ReceiveStream
}

func newTails() *tails {
	return &tails{
		wait:    tailTimeout,
		here:    make(map[quic.StreamID]*quic.ReceiveStream),
		waiting: make(map[quic.StreamID]chan<- *quic.ReceiveStream),
	}
}

// accept takes tails in until the connection ends. One that nobody asked for in
// time is refused.
func (t *tails) accept(conn *quic.Conn) {
	defer t.wg.Wait()
	for {
		str, err := conn.AcceptUniStream(conn.Context())
		if err != nil {
			return
		}
		t.wg.Go(func() { t.enter(conn.Context(), str) })
	}
}

func (t *tails) enter(ctx context.Context, str *quic.ReceiveStream) {
	_ = str.SetReadDeadline(time.Now().Add(t.wait)) // never fails
	var head [tailHead]byte
	if _, err := io.ReadFull(str, head[:]); err != nil {
		str.CancelRead(0)
		return
	}
	_ = str.SetReadDeadline(time.Time{})
	id := quic.StreamID(binary.BigEndian.Uint64(head[:]))
	if t.hand(id, str) {
		return
	}
	timeout := time.NewTimer(t.wait)
	defer timeout.Stop()
	select {
	case <-timeout.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.here[id] == str {
		delete(t.here, id)
		str.CancelRead(0)
	}
}

// hand gives a tail to who waits for it, or keeps it for who will.
func (t *tails) hand(id quic.StreamID, str *quic.ReceiveStream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.waiting[id]; w != nil {
		delete(t.waiting, id)
		w <- str // it has room
		return true
	}
	if t.here[id] != nil {
		str.CancelRead(0) // a second one
		return true
	}
	t.here[id] = str
	return false
}

// take returns the tail of a stream that has just ended.
func (t *tails) take(ctx context.Context, id quic.StreamID) (*quic.ReceiveStream, error) {
	t.mu.Lock()
	if str := t.here[id]; str != nil {
		delete(t.here, id)
		t.mu.Unlock()
		return str, nil
	}
	arrived := make(chan *quic.ReceiveStream, 1)
	t.waiting[id] = arrived
	t.mu.Unlock()
	timeout := time.NewTimer(t.wait)
	defer timeout.Stop()
	select {
	case str := <-arrived:
		return str, nil
	case <-timeout.C:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, id)
	select {
	case str := <-arrived: // at the last moment
		return str, nil
	default:
		return nil, errTail
	}
}
