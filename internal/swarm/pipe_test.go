package swarm

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
)

var errReset = errors.New("stream was reset")

// pipeEnd is one end of a stream in memory that holds nothing: a Write returns
// when all of it was read. It implements Stream as link.ServiceStream does.
type pipeEnd struct {
	*io.PipeReader
	*io.PipeWriter
	taken  context.Context    // done when nothing that we write is read any more
	refuse context.CancelFunc // makes the peer's taken done
	stop   context.CancelFunc // makes ours done

	continued atomic.Bool
}

func newPipe() (near, far *pipeEnd) {
	nearReads, farWrites := io.Pipe()
	farReads, nearWrites := io.Pipe()
	nearTaken, nearStop := context.WithCancel(context.Background())
	farTaken, farStop := context.WithCancel(context.Background())
	return &pipeEnd{PipeReader: nearReads, PipeWriter: nearWrites, taken: nearTaken, refuse: farStop, stop: nearStop},
		&pipeEnd{PipeReader: farReads, PipeWriter: farWrites, taken: farTaken, refuse: nearStop, stop: farStop}
}

func (p *pipeEnd) Read(b []byte) (int, error)  { return p.PipeReader.Read(b) }
func (p *pipeEnd) Write(b []byte) (int, error) { return p.PipeWriter.Write(b) }

func (p *pipeEnd) Close() error {
	p.CloseRead()
	if p.continued.Load() {
		return nil
	}
	p.stop()
	return p.PipeWriter.Close()
}

func (p *pipeEnd) Abort() {
	p.CloseRead()
	if !p.continued.Load() {
		pipeTail{p}.Abort()
	}
}

func (p *pipeEnd) CloseRead() {
	p.refuse()
	_ = p.PipeReader.CloseWithError(errReset)
}

func (p *pipeEnd) Continue() (Tail, error) {
	p.continued.Store(true)
	_ = p.PipeReader.CloseWithError(errReset)
	return pipeTail{p}, nil
}

// pipeTail is the rest of a pipeEnd.
type pipeTail struct{ p *pipeEnd }

func (t pipeTail) Write(b []byte) (int, error) { return t.p.Write(b) }

func (t pipeTail) Abort() {
	t.p.stop()
	_ = t.p.PipeWriter.CloseWithError(errReset)
}

func (t pipeTail) Ended() bool { return t.p.taken.Err() != nil }
