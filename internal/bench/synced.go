package bench

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// synced is the baseline of puts: one writer that syncs each envelope to disk
// before the next, straight into a Pebble of its own.
type synced struct {
	db   *pebble.DB
	next uint64
}

func openSynced(dir string) (*synced, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
	if err != nil {
		return nil, err
	}
	return &synced{db: db}, nil
}

// write writes for d, and returns how many writes a second that were.
func (s *synced) write(d time.Duration) (float64, error) {
	value := make([]byte, envelopeSize)
	if _, err := rand.Read(value); err != nil {
		return 0, err
	}
	began, first := time.Now(), s.next
	for time.Since(began) < d {
		s.next++
		if err := s.db.Set(binary.BigEndian.AppendUint64(nil, s.next), value, pebble.Sync); err != nil {
			return 0, err
		}
	}
	return perSecond(int(s.next-first), time.Since(began)), nil
}

func (s *synced) close() error { return s.db.Close() }

// silent is a Pebble logger; what matters comes back as an error.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}

// Fatalf is called where Pebble cannot go on, and must not return.
func (silent) Fatalf(format string, args ...any) { panic(errors.New("bench: baseline store failed")) }
