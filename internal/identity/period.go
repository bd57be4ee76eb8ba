package identity

import (
	"encoding/binary"
	"time"
)

const (
	// PeriodLength is the life of a mailbox address (spec/identity.md §3):
	// short enough to unlink weeks from one another, long enough that an
	// address need not be opened every day.
	PeriodLength = 48 * time.Hour
	// CardPeriodsAhead is for how many periods after the current one cards are
	// published, so that an account away for the longest TTL can be written to.
	CardPeriodsAhead = 7
	// CertifyAhead is the greatest number of periods after the current one for
	// which a primary device certifies keys: 90 days.
	CertifyAhead = 45

	periodSeconds = uint64(PeriodLength / time.Second)
)

// Period numbers the spans of PeriodLength since 1970-01-01 UTC.
type Period uint64

// PeriodAt returns the period that t lies in; times before 1970 lie in 0.
func PeriodAt(t time.Time) Period {
	return Period(uint64(max(t.Unix(), 0)) / periodSeconds)
}

// Start returns the period's first instant.
func (p Period) Start() time.Time { return time.Unix(int64(uint64(p)*periodSeconds), 0).UTC() }

// End returns the first instant after the period.
func (p Period) End() time.Time { return (p + 1).Start() }

func (p Period) bytes() []byte { return binary.BigEndian.AppendUint64(nil, uint64(p)) }
