package swarm

import (
	"io"

	"github.com/prometheus/client_golang/prometheus"
)

// metered counts what goes over a stream with another member, both ways.
type metered struct {
	io.ReadWriteCloser
	bytes prometheus.Counter
}

func (c metered) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	c.bytes.Add(float64(n))
	return n, err
}

func (c metered) Write(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(b)
	c.bytes.Add(float64(n))
	return n, err
}

// Abort ends the stream at once.
func (c metered) Abort() { cut(c.ReadWriteCloser) }
