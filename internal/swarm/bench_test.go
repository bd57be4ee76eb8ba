package swarm

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sotto/internal/mailbox"
)

func (w *world) boxOf(b *testing.B, size uint32) *box {
	b.Helper()
	x := newBox(w)
	w.client(w.nodes[0]).open(x, size)
	return x
}

func diskWorld(b *testing.B) *world {
	return newWorldOn(b, 5, func(int) (vfs.FS, string) { return vfs.Default, b.TempDir() })
}

// BenchmarkPut has 32 clients on streams of their own, spread over five members
// on disk in this process, each put waiting for three receipts.
func BenchmarkPut(b *testing.B) {
	w := diskWorld(b)
	x := w.boxOf(b, mailbox.MaxOpenBytes)
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := w.client(w.nodes[0])
		for pb.Next() {
			e := randomEnvelope(4096)
			if _, err := c.do(x.put(w, e), nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkPutAlone is one client that waits for each put.
func BenchmarkPutAlone(b *testing.B) {
	w := diskWorld(b)
	x := w.boxOf(b, mailbox.MaxOpenBytes)
	c := w.client(w.nodes[0])
	b.ResetTimer()
	for range b.N {
		if _, err := c.do(x.put(w, randomEnvelope(4096)), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	w := diskWorld(b)
	x := w.boxOf(b, mailbox.MaxOpenBytes)
	c := w.client(w.nodes[0])
	for range 100 {
		c.send(x, randomEnvelope(4096))
	}
	b.ResetTimer()
	for range b.N {
		if _, err := c.fetch(x, mailbox.Cursor{}, x.owner); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "envelopes/s")
}

// BenchmarkPush is the time from a put's leaving to its arrival at a subscriber
// of another member.
func BenchmarkPush(b *testing.B) {
	w := diskWorld(b)
	x := w.boxOf(b, mailbox.MaxOpenBytes)
	writer, reader := w.client(w.nodes[0]), w.client(w.nodes[1])
	opener, err := reader.subscribe(x, mailbox.Cursor{}, x.owner)
	if err != nil {
		b.Fatal(err)
	}
	var total time.Duration
	b.ResetTimer()
	for range b.N {
		p := x.put(w, randomEnvelope(4096))
		frame, replies := writer.seal(p, nil)
		began := time.Now()
		writer.write(frame)
		reader.next(opener)
		total += time.Since(began)
		if _, err := result(replies.Open(writer.read())); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/push")
}
