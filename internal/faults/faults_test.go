package faults

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken returns the ground of a node with which s is wrong.
func broken(t *testing.T, s State) (*Ground, string) {
	t.Helper()
	dir := t.TempDir()
	if err := Set(dir, s); err != nil {
		t.Fatal(err)
	}
	g, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g, dir
}

func TestClock(t *testing.T) {
	g, dir := broken(t, State{Clock: -time.Hour})
	if ahead := time.Until(g.Now()); ahead > -59*time.Minute || ahead < -61*time.Minute {
		t.Errorf("the clock is %v ahead", ahead)
	}
	// What is wrong changes while the node runs.
	if err := Set(dir, State{Clock: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for time.Until(g.Now()) < 0 {
		time.Sleep(poll) // a file tells nobody that it changed
	}
}

func TestOpenRefusesGarbage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if g, err := Open(dir); err == nil {
		g.Close()
		t.Error("opened")
	}
}

// wire is a socket on which packets of given senders lie, and that counts what
// leaves.
type wire struct {
	net.PacketConn
	from []string
	sent int
}

func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	if len(w.from) == 0 {
		return 0, nil, net.ErrClosed
	}
	from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(w.from[0]))
	w.from = w.from[1:]
	return copy(p, from.String()), from, nil
}

func (w *wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	w.sent++
	return len(p), nil
}

// TestNetwork: packets of and to those that are cut off get lost, others pass.
func TestNetwork(t *testing.T) {
	const near, far = "127.1.0.1:7", "127.2.0.1:7"
	for name, c := range map[string]struct {
		state      State
		read, sent int
	}{
		"whole": {State{}, 2, 2},
		"alone": {State{Alone: true}, 0, 0},
		"cut":   {State{Cut: []netip.Addr{netip.MustParseAddr("127.2.0.1")}}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := broken(t, c.state)
			w := &wire{from: []string{far, near}}
			s := &socket{PacketConn: w, g: g}
			buf, read := make([]byte, 32), 0
			for {
				n, from, err := s.ReadFrom(buf)
				if err != nil {
					break
				}
				if read++; string(buf[:n]) != from.String() {
					t.Errorf("%q came from %v", buf[:n], from)
				}
			}
			for _, to := range []string{near, far} {
				if n, err := s.WriteTo(buf, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); n != len(buf) || err != nil {
					t.Errorf("a packet that gets lost: %d, %v", n, err)
				}
			}
			if read != c.read || w.sent != c.sent {
				t.Errorf("%d came and %d left, want %d and %d", read, w.sent, c.read, c.sent)
			}
		})
	}
}

func TestListen(t *testing.T) {
	g, _ := broken(t, State{})
	c, err := g.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteTo([]byte("self"), c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if n, _, err := c.ReadFrom(buf); err != nil || string(buf[:n]) != "self" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

func TestFullDisk(t *testing.T) {
	g, dir := broken(t, State{})
	d := g.FS()
	f, err := d.Create(filepath.Join(dir, "before"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("12345678")); err != nil {
		t.Fatal(err)
	}
	g.state.Store(&State{DiskFull: true})
	if n, err := f.Write([]byte("12345678")); n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d bytes, then %v", n, err)
	}
	if _, err := d.Create(filepath.Join(dir, "after"), vfs.WriteCategoryUnspecified); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("created: %v", err)
	}
	if err := d.Link(filepath.Join(dir, "before"), filepath.Join(dir, "link")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("linked: %v", err)
	}
	if u, err := d.GetDiskUsage(dir); err != nil || u.AvailBytes != 0 {
		t.Errorf("%d bytes are left, %v", u.AvailBytes, err)
	}
	g.state.Store(&State{})
	if _, err := f.Write([]byte("12345678")); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestSlowDisk(t *testing.T) {
	const wait = 20 * time.Millisecond
	g, dir := broken(t, State{DiskWait: wait})
	f, err := g.FS().Create(filepath.Join(dir, "file"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	began := time.Now()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < wait {
		t.Errorf("a sync took %v", took)
	}
}
