// Package padding says when and how much is sent that means nothing: the
// timer of link padding, the gaps between dummies, the trains that stand in for
// messages, and the levels among which a person chooses. It implements the
// draws of spec/padding.md §5. It sends nothing itself: link padding is
// internal/link's, dummies are made by internal/circuit and internal/relay.
package padding

import (
	"encoding/binary"
	"io"
	"math"
	"time"
)

// Link padding (spec/padding.md §3).
const (
	// LinkMin and LinkMax bound the timer of link padding: below what home
	// routers and mobile networks forget a connection after, and wide enough
	// that a packet does not tell what made it.
	LinkMin = 1500 * time.Millisecond
	LinkMax = 9500 * time.Millisecond
)

// Trains (spec/padding.md §3): the cells of what they stand in for, which
// TestTrainsAreAsLongAsMessages in internal/client measures.
const (
	// PutTrain is what the put of an envelope of 4 KiB takes away from the client.
	PutTrain = 6
	// AnswerTrain is what the answer to a put takes: CONNECTED and the reply.
	AnswerTrain = 2
	// EndTrain is what the client says after an answer: END.
	EndTrain = 1
	// SendmeTrain is what the client says after a window's worth of pushes: the
	// circuit's SENDME and the stream's.
	SendmeTrain = 2
	// PushTrain is what the push of an envelope of 4 KiB takes toward the client.
	PushTrain = 5
)

// Bounds of COVER (spec/padding.md §3).
const (
	// MaxTrain bounds a train: more than any message of the smallest class
	// takes, and little for a relay.
	MaxTrain = 16
	// MinMean bounds how often a hop makes trains.
	MinMean = time.Second
	// maxGap bounds one gap, in means: whoever draws a longer one waits no
	// longer than this.
	maxGap = 20
)

// LinkDelay draws the timer of link padding: the greater of two delays, each
// uniform between LinkMin and LinkMax in steps of a millisecond.
func LinkDelay(rand io.Reader) (time.Duration, error) {
	var b [8]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return 0, err
	}
	v := max(binary.BigEndian.Uint32(b[:4]), binary.BigEndian.Uint32(b[4:]))
	steps := uint64((LinkMax-LinkMin)/time.Millisecond) + 1
	return LinkMin + time.Duration(uint64(v)*steps>>32)*time.Millisecond, nil
}

// Gap draws the time to the next event of a Poisson process of that mean, in
// whole milliseconds.
func Gap(rand io.Reader, mean time.Duration) (time.Duration, error) {
	var b [8]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return 0, err
	}
	// In (0, 1]: 53 bits are what a float64 holds, and zero has no logarithm.
	u := float64(binary.BigEndian.Uint64(b[:])>>11+1) / (1 << 53)
	gap := min(-math.Log(u), maxGap) * float64(mean.Milliseconds())
	return time.Duration(gap) * time.Millisecond, nil
}

// Pick draws a number below n, which is at least 1.
func Pick(rand io.Reader, n int) (int, error) {
	var b [4]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return 0, err
	}
	return int(uint64(binary.BigEndian.Uint32(b[:])) * uint64(n) >> 32), nil
}
