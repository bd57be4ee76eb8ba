package circuit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/directory"
)

var sending = circuit.Isolation{Purpose: circuit.Send}

func TestEcho(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		s, err := c.OpenStream(t.Context(), sending, w.node(3).ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 1000, 100_000} {
			p := make([]byte, size)
			_, _ = rand.Read(p)
			if err := echo(s, p); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
		if _, err := s.Write([]byte("last")); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(s); err != nil || string(rest) != "last" {
			t.Fatalf("got %q, %v", rest, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, circuit.ErrClosed) {
			t.Fatalf("read of a closed stream: %v", err)
		}
	})
}

func TestPathsObeyTheRules(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		d := w.source.Current()
		for i := range w.local {
			target := w.node(i)
			s, err := c.OpenStream(t.Context(), sending, target.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			path := pathOf(t, c, s)
			ends := []directory.Node{target}
			for _, hop := range []circuit.Hop{path.Guard, path.Middle, path.Exit} {
				n, _ := d.Node(hop.ID)
				for _, other := range ends {
					if directory.Conflict(n, other) {
						t.Fatalf("%s conflicts with %s", n.Operator, other.Operator)
					}
				}
				ends = append(ends, n)
			}
		}
	})
}

func pathOf(t *testing.T, c *client, s *circuit.Stream) circuit.PathInfo {
	t.Helper()
	for _, p := range c.Paths() {
		if p.ID == s.Path() {
			return p
		}
	}
	t.Fatalf("path %d is not listed", s.Path())
	return circuit.PathInfo{}
}

func TestIsolation(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		owner := make(map[uint64]circuit.Isolation)
		for range 3 {
			for persona := range uint32(2) {
				for _, iso := range []circuit.Isolation{
					{Purpose: circuit.Send, Persona: persona},
					{Purpose: circuit.Bulk, Persona: persona},
					{Purpose: circuit.Receive, Persona: persona, Lane: 0},
					{Purpose: circuit.Receive, Persona: persona, Lane: 1},
				} {
					s, err := c.OpenStream(t.Context(), iso, w.node(int(persona)).ID)
					if err != nil {
						t.Fatal(err)
					}
					if is, ok := owner[s.Path()]; ok && is != iso {
						t.Fatalf("path %d serves %v and %v", s.Path(), is, iso)
					}
					owner[s.Path()] = iso
				}
			}
		}
		if len(owner) != 8 {
			t.Fatalf("%d paths for 8 isolations", len(owner))
		}
	})
}

func TestAvoidExit(t *testing.T) {
	onLoopback(t, 6, func(w *network, c *client) {
		var lanes []circuit.Isolation
		exits := make(map[string]bool)
		for lane := range uint8(3) {
			iso := circuit.Isolation{Purpose: circuit.Receive, Lane: lane}
			s, err := c.OpenStream(t.Context(), iso, w.node(0).ID, circuit.AvoidExitOf(lanes...))
			if err != nil {
				t.Fatal(err)
			}
			exit := pathOf(t, c, s).Exit.Operator
			if exits[exit] {
				t.Fatalf("lane %d shares an exit", lane)
			}
			exits[exit] = true
			lanes = append(lanes, iso)
		}
	})
}

func TestIdleCircuitsAreReplaced(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		c.until(t, "at the start", ready(circuit.DefaultIdle))
		for persona := range uint32(3) {
			s, err := c.OpenStream(t.Context(), circuit.Isolation{Persona: persona}, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			c.until(t, "after a use", ready(circuit.DefaultIdle))
		}
		guards := make(map[string]int)
		for _, p := range c.Paths() {
			if p.State == circuit.PathReady {
				guards[p.Guard.Operator]++
			}
		}
		if len(guards) != 2 {
			t.Fatalf("idle circuits by guard: %v, want two guards", guards)
		}
	})
}

// More bytes than any window cross in both directions, on several streams.
func TestWindows(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		const streams, size = 3, 2 << 20
		var wg sync.WaitGroup
		errs := make(chan error, 2*streams)
		for i := range streams {
			s, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			p := bytes.Repeat([]byte{byte(i), byte(i + 1), byte(i + 2)}, size/3)
			wg.Go(func() {
				if _, err := s.Write(p); err != nil {
					errs <- err
				}
				if err := s.CloseWrite(); err != nil {
					errs <- err
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(got, p) {
					errs <- fmt.Errorf("stream %d: %d of %d bytes: %w", i, len(got), len(p), err)
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
	})
}

// A stream that nobody reads does not hold up another one of its circuit.
func TestSlowReaderStopsItsOwnStreamOnly(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		slow, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
		if err != nil {
			t.Fatal(err)
		}
		_ = slow.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := slow.Write(make([]byte, 4<<20)); err == nil {
			t.Fatal("4 MiB went out although nobody reads the echo")
		}
		fast, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
		if err != nil {
			t.Fatal(err)
		}
		if slow.Path() != fast.Path() {
			t.Fatal("the streams are on two circuits")
		}
		if err := echo(fast, make([]byte, 200_000)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestClosedStreamsAreForgotten(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		for range 3 * circuit.MaxStreams {
			s, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := echo(s, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n := pathOf(t, c, s).Streams; n != 0 {
				t.Fatalf("%d streams after closing", n)
			}
		}
	})
}

func TestNewPath(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		s, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(s, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		c.NewPath()
		var dead *circuit.DeadError
		if _, err := s.Read(make([]byte, 1)); !errors.As(err, &dead) || dead.Path != s.Path() {
			t.Fatalf("got %v, want a DeadError", err)
		}
		again, err := c.OpenStream(t.Context(), sending, w.node(0).ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(again, []byte("hello")); err != nil || again.Path() == s.Path() {
			t.Fatalf("on another path: %v", err)
		}
	})
}

func TestTooSmallIsSaidAtOnce(t *testing.T) {
	open, port := loopback(t)
	w := startNetwork(t, 3, port, open, nil)
	defer w.stop()
	c := w.newClient(nil)
	defer c.stop(t)
	if _, err := c.OpenStream(t.Context(), sending, w.node(0).ID); !errors.Is(err, directory.ErrTooSmall) {
		t.Fatalf("got %v, want ErrTooSmall", err)
	}
	other, _, err := directory.Local(directory.LocalConfig{Nodes: 1, Port: 1, Created: time.Now(), Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.OpenStream(t.Context(), sending, other.Document.Nodes[0].ID); !errors.Is(err, circuit.ErrUnknownTarget) {
		t.Fatalf("got %v, want ErrUnknownTarget", err)
	}
}

// memoryStore is a GuardStore.
type memoryStore struct {
	mu sync.Mutex
	b  []byte
}

func (s *memoryStore) Load() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b, nil
}

func (s *memoryStore) Save(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = b
	return nil
}

func TestGuardOutlivesRestarts(t *testing.T) {
	open, port := loopback(t)
	w := startNetwork(t, 10, port, open, nil)
	defer w.stop()
	store := &memoryStore{}
	seen := make(map[string]bool)
	for range 3 {
		c := w.newClient(func(cfg *circuit.Config) { cfg.State, cfg.Idle = store, 1 })
		if err := c.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Paths() {
			seen[p.Guard.Operator] = true
		}
		c.stop(t)
	}
	if len(seen) != 1 {
		t.Fatalf("guards in use: %v, want one", seen)
	}
	store.b[0] = 9
	cfg := circuit.Config{Directory: w.source, Endpoint: w.ends[0], State: store}
	if _, err := circuit.NewManager(cfg); !errors.Is(err, circuit.ErrGuardState) {
		t.Fatalf("got %v, want ErrGuardState", err)
	}
}

func BenchmarkOpenEcho(b *testing.B) {
	onLoopback(b, 8, func(w *network, c *client) {
		p := []byte("hello")
		for b.Loop() {
			s, err := c.OpenStream(b.Context(), sending, w.node(0).ID)
			if err != nil {
				b.Fatal(err)
			}
			if err := echo(s, p); err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
}

func BenchmarkEchoThroughput(b *testing.B) {
	onLoopback(b, 8, func(w *network, c *client) {
		s, err := c.OpenStream(b.Context(), sending, w.node(0).ID)
		if err != nil {
			b.Fatal(err)
		}
		p := make([]byte, 256<<10)
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			if err := echo(s, p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Circuits that nobody uses make room for others; those with streams do not.
func TestLimit(t *testing.T) {
	onLoopback(t, 8, func(w *network, c *client) {
		persona := uint32(0)
		next := func() (*circuit.Stream, error) {
			persona++
			return c.OpenStream(t.Context(), circuit.Isolation{Persona: persona}, w.node(0).ID)
		}
		for range 60 {
			s, err := next()
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
		}
		var err error
		for range 60 {
			if _, err = next(); err != nil {
				break
			}
		}
		if !errors.Is(err, circuit.ErrLimit) {
			t.Fatalf("got %v, want ErrLimit", err)
		}
	})
}

// BenchmarkBuild gives every stream an isolation of its own, so that each needs
// a circuit.
func BenchmarkBuild(b *testing.B) {
	onLoopback(b, 8, func(w *network, c *client) {
		persona := uint32(0)
		for b.Loop() {
			persona++
			s, err := c.OpenStream(context.Background(), circuit.Isolation{Persona: persona}, w.node(0).ID)
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
}
