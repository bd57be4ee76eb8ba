package store

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

const benchSize = 4096

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkPut has 64 callers, as a busy member has.
func BenchmarkPut(b *testing.B) {
	s := benchStore(b)
	grant(b, s, address(1), 1<<40)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put(b, s, envelope(address(1), int(n.Add(1)), benchSize, farExpiry))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkBaselineSyncedWrite is one caller writing the same bytes to Pebble.
func BenchmarkBaselineSyncedWrite(b *testing.B) {
	s := benchStore(b)
	b.ResetTimer()
	for i := range b.N {
		e := envelope(address(1), i, benchSize, farExpiry)
		if err := s.db.Set(keyEnvelope(e.Expiry, e.Address, uint64(i)), e.Bytes, pebble.Sync); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

func BenchmarkFetch(b *testing.B) {
	s := benchStore(b)
	grant(b, s, address(1), 1<<40)
	for i := range 512 {
		put(b, s, envelope(address(1), i, benchSize, farExpiry))
	}
	b.ResetTimer()
	items := 0
	for range b.N {
		p, err := s.Fetch(address(1), 0, 0, 64, 1<<20)
		if err != nil {
			b.Fatal(err)
		}
		items += len(p.Items)
	}
	b.ReportMetric(float64(items)/b.Elapsed().Seconds(), "items/s")
}

func BenchmarkExpireAndPurge(b *testing.B) {
	s := benchStore(b)
	grant(b, s, address(1), 1<<40)
	for i := range b.N {
		put(b, s, envelope(address(1), i, benchSize, testExpiry))
	}
	b.ResetTimer()
	if _, err := s.ExpireBefore(context.Background(), testExpiry); err != nil {
		b.Fatal(err)
	}
	if err := s.Purge(context.Background()); err != nil {
		b.Fatal(err)
	}
}
