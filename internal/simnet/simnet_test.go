package simnet

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestDelayLossAndDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 30 * time.Millisecond
		n := New(Config{
			Latency: latency,
			Drop:    func(_, _ netip.AddrPort, size int) bool { return size == 13 },
		})
		defer n.Close()
		a, err := n.PacketConn(netip.MustParseAddrPort("127.1.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := n.PacketConn(netip.MustParseAddrPort("127.2.0.1:7"))
		if err != nil {
			t.Fatal(err)
		}
		arrives := func(size int) (time.Duration, bool) {
			start := time.Now()
			if _, err := a.WriteTo(make([]byte, size), b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if err := b.SetReadDeadline(start.Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			got, from, err := b.ReadFrom(make([]byte, 2*mtu))
			if err == nil && (got != size || from.String() != a.LocalAddr().String()) {
				t.Fatalf("%d bytes from %v", got, from)
			}
			return time.Since(start), err == nil
		}
		if d, ok := arrives(100); !ok || d != latency {
			t.Errorf("packet arrived: %v, after %v", ok, d)
		}
		if _, ok := arrives(13); ok {
			t.Error("packet that Drop chose arrived")
		}
		if _, ok := arrives(mtu + 1); ok {
			t.Error("packet above the MTU arrived")
		}
		host := netip.MustParseAddr("127.2.0.1")
		n.SetDown(host, true)
		if _, ok := arrives(100); ok {
			t.Error("packet reached a dead host")
		}
		n.SetDown(host, false)
		if _, ok := arrives(100); !ok {
			t.Error("host that came back is not reached")
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err = n.PacketConn(b.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
			t.Fatal(err)
		}
		if _, ok := arrives(100); !ok {
			t.Error("address that was attached again is not reached")
		}
	})
}
