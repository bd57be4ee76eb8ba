package circuit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sotto/internal/identity"
)

// transfers is a service that takes and gives data whose content is known. The
// first byte of a stream says which:
//
//	'U' and bytes to the end: answered by their SHA-256
//	'D', a size (u32) and a seed (32 bytes): answered by so much of content
type transfers struct{ wg sync.WaitGroup }

// OpenStream implements relay.ExitDialer.
func (x *transfers) OpenStream(context.Context, identity.NodeID) (io.ReadWriteCloser, error) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	x.wg.Go(func() { serveTransfer(&echoStream{r1, w2}) })
	return &echoStream{r2, w1}, nil
}

// serveTransfer answers one stream. An error of it shows at the other end.
func serveTransfer(s io.ReadWriteCloser) {
	defer s.Close()
	var kind [1]byte
	if _, err := io.ReadFull(s, kind[:]); err != nil {
		return
	}
	if kind[0] == 'U' {
		h := sha256.New()
		if _, err := io.Copy(h, s); err == nil {
			_, _ = s.Write(h.Sum(nil))
		}
		return
	}
	var head [4 + 32]byte
	if _, err := io.ReadFull(s, head[:]); err == nil {
		_, _ = s.Write(content(binary.BigEndian.Uint32(head[:]), [32]byte(head[4:])))
	}
}

// content is what a seed stands for.
func content(size uint32, seed [32]byte) []byte {
	out := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(out)
	return out
}

// twoWay is a circuit's stream or a QUIC connection's.
type twoWay interface {
	io.ReadWriter
	CloseWrite() error
}

// upload sends size bytes and returns when the far end has said what it got.
func upload(s twoWay, size uint32, seed [32]byte) error {
	p := content(size, seed)
	if _, err := s.Write(append([]byte{'U'}, p...)); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	var got [sha256.Size]byte
	if _, err := io.ReadFull(s, got[:]); err != nil {
		return err
	}
	if got != sha256.Sum256(p) {
		return fmt.Errorf("other bytes arrived than the %d that were sent", size)
	}
	return nil
}

// download asks for size bytes and returns when it has them all.
func download(s twoWay, size uint32, seed [32]byte) error {
	if _, err := s.Write(append(binary.BigEndian.AppendUint32([]byte{'D'}, size), seed[:]...)); err != nil {
		return err
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(s, got); err != nil {
		return err
	}
	if !bytes.Equal(got, content(size, seed)) {
		return fmt.Errorf("other bytes arrived than the %d that were asked for", size)
	}
	return nil
}

// lossy returns a simnet.Config.Drop that loses one packet in every on each
// path between two sockets. Which ones follows from the seed, the path and the
// packet's number on it alone.
func lossy(seed uint64, every uint64) func(from, to netip.AddrPort, size int) bool {
	var mu sync.Mutex
	lots := make(map[[2]netip.AddrPort]*rand.PCG)
	return func(from, to netip.AddrPort, _ int) bool {
		mu.Lock()
		defer mu.Unlock()
		path := [2]netip.AddrPort{from, to}
		if lots[path] == nil {
			h := fnv.New64a()
			_, _ = fmt.Fprint(h, path)
			lots[path] = rand.NewPCG(seed, h.Sum64())
		}
		return lots[path].Uint64()%every == 0
	}
}

// median returns the middle one, or the greater of two, of durations, which it
// sorts.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
