package link

import (
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// counted is a socket that counts what goes through it.
type counted struct {
	net.PacketConn
	out, in atomic.Int64
}

// WriteTo implements net.PacketConn.
func (c *counted) WriteTo(p []byte, to net.Addr) (int, error) {
	c.out.Add(int64(len(p)))
	return c.PacketConn.WriteTo(p, to)
}

// ReadFrom implements net.PacketConn.
func (c *counted) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(p)
	c.in.Add(int64(n))
	return n, from, err
}

// BenchmarkHandshake is what a link costs both ends together, from the dial to
// the ticket, full and resumed: time, and bytes as seen by the client.
func BenchmarkHandshake(b *testing.B) {
	for _, resume := range []bool{false, true} {
		name := "full"
		if resume {
			name = "resumed"
		}
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, 2, nil)
			far, node := w.node(1)
			tap := &counted{PacketConn: w.socket(clientAddr)}
			near, err := NewEndpoint(tap, Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer closeAll(b, near, far)
			for range b.N {
				if !resume {
					near.ForgetSessions()
				}
				l, err := near.Dial(timeout(b), node)
				if err != nil {
					b.Fatal(err)
				}
				in, err := far.Accept(timeout(b))
				if err != nil {
					b.Fatal(err)
				}
				// The ticket comes with the first packet after the handshake.
				for deadline := time.Now().Add(time.Second); !near.tickets.has(node.ID) && time.Now().Before(deadline); {
					time.Sleep(10 * time.Microsecond)
				}
				_ = l.Close()
				<-in.Done()
			}
			b.ReportMetric(float64(tap.out.Load())/float64(b.N), "B-out/op")
			b.ReportMetric(float64(tap.in.Load())/float64(b.N), "B-in/op")
		})
	}
}
