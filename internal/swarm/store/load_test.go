package store

import (
	"context"
	"sync"
	"testing"
)

// TestExpiredBytesLeaveUnderLoad: a purge while others put takes away what had
// expired or was deleted when it began, from tables and logs alike.
func TestExpiredBytesLeaveUnderLoad(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stop := make(chan struct{})
	var load sync.WaitGroup
	defer load.Wait()
	defer close(stop)
	for w := range 2 {
		a := address(100 + w)
		grant(t, s, a, 1<<30)
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Put(ctx, envelope(a, i, 4096, testExpiry+uint64(i%5)*bucketSeconds+1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	a := address(1)
	grant(t, s, a, 1<<30)
	for round := range 3 {
		var gone [][]byte
		var doomed []Digest
		for i := range 60 {
			e := envelope(a, 1000*round+i, 4096, testExpiry)
			if i%2 == 0 {
				e.Expiry = farExpiry
				doomed = append(doomed, e.Digest)
			}
			put(t, s, e)
			gone = append(gone, e.Bytes[1000:1064])
		}
		if err := s.Delete(ctx, Tombstone{Address: a, ID: Ref{byte(round)}, Digests: doomed, Expiry: farExpiry}); err != nil {
			t.Fatal(err)
		}
		if n, err := s.ExpireBefore(ctx, testExpiry); err != nil || n != 30 {
			t.Fatalf("expired %d, %v", n, err)
		}
		if err := s.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		if files := onDisk(t, dir, gone...); len(files) != 0 {
			t.Errorf("round %d: expired or deleted bytes are left in %v", round, files)
		}
	}
}
