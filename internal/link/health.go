package link

import (
	"time"

	"github.com/quic-go/quic-go"
)

// pathHealth finds out, from what quic-go counts, that a path carries small
// packets only, though it carried large ones before (spec/link.md §5.6).
// quic-go itself makes its packets larger, and never smaller again.
type pathHealth struct {
	last quic.ConnectionStats
	// Ticks without, and with, an answer that large packets would have had.
	silent, small int
	bulk          bool // the peer sent packets that may have been large
	asked         bool // since the last of them we have sent cells
}

const (
	// smallPacket is more than a packet without data ever has.
	smallPacket = 300
	// bulkBytes in one tick are more than what single cells come to, each of
	// which fits the least packet.
	bulkBytes = 4 * initialPacketSize
)

// tick looks at the counters once every watchEvery, and reports whether to
// leave the path.
func (h *pathHealth) tick(now quic.ConnectionStats) bool {
	sent, sentPackets := now.BytesSent-h.last.BytesSent, now.PacketsSent-h.last.PacketsSent
	got, gotPackets := now.BytesReceived-h.last.BytesReceived, now.PacketsReceived-h.last.PacketsReceived
	h.last = now
	return h.deaf(average(sent, sentPackets), gotPackets, now.SmoothedRTT) ||
		h.mute(got, average(got, gotPackets), sent)
}

func average(bytes, packets uint64) uint64 {
	if packets == 0 {
		return 0
	}
	return bytes / packets
}

// deaf: what we send is large, and nothing answers.
func (h *pathHealth) deaf(sentSize, gotPackets uint64, rtt time.Duration) bool {
	if gotPackets > 0 || sentSize <= initialPacketSize {
		if gotPackets > 0 {
			h.silent = 0
		}
		return false
	}
	h.silent++
	return h.silent >= blackHoleTicks && time.Duration(h.silent)*watchEvery > 2*rtt
}

// mute: the peer has sent many bytes at once, and since we sent something again
// it says only by small packets that it is there. Once for each such burst: an
// answer may also just not be due.
func (h *pathHealth) mute(got, gotSize, sent uint64) bool {
	switch {
	case gotSize > smallPacket:
		h.bulk = h.bulk || got >= bulkBytes
		h.asked, h.small = false, 0
	case h.bulk:
		h.asked = h.asked || sent > smallPacket
		if h.asked && gotSize > 0 {
			h.small++
		}
		if h.small >= blackHoleTicks {
			h.bulk = false
			return true
		}
	}
	return false
}
