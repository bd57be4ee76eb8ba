package link

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// runBytes is the longest run of packets that the kernel hands over: as many
	// bytes as a UDP datagram could have.
	runBytes = 1<<16 - 1
	// runsPerRead is how many runs one system call may bring. It is small, since
	// a run holds up to 45 packets and its buffer stays allocated.
	runsPerRead = 4
	// controlSize holds the control messages of a run: the ECN bits, the local
	// address and the size of its packets, 24 to 40 bytes each.
	controlSize = 128
)

// coalesced is a UDP socket that takes runs of packets of one sender from the
// kernel at once (UDP_GRO) and hands them to QUIC one by one, which is cheaper
// than a passage through the kernel for each (docs/decisions/0013-runs-of-packets.md).
// What QUIC sees is the same.
type coalesced struct {
	*net.UDPConn
	read func([]ipv4.Message, int) (int, error)

	// Of QUIC's one goroutine that reads.
	runs []ipv4.Message
	got  int // how many of them the last read filled
	at   int // the one that is being handed out
	off  int // its first byte that was not
	size int // of its packets
}

// coalesce makes pc take runs of packets, if it is a UDP socket and the kernel
// can; otherwise it returns pc as it is.
func coalesce(pc net.PacketConn) net.PacketConn {
	udp, ok := pc.(*net.UDPConn)
	if !ok {
		return pc
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return pc
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	if err != nil || refused != nil {
		return pc
	}
	return newCoalesced(udp, ipv4.NewPacketConn(udp).ReadBatch)
}

func newCoalesced(udp *net.UDPConn, read func([]ipv4.Message, int) (int, error)) *coalesced {
	c := &coalesced{UDPConn: udp, read: read, runs: make([]ipv4.Message, runsPerRead)}
	for i := range c.runs {
		c.runs[i] = ipv4.Message{Buffers: [][]byte{make([]byte, runBytes)}, OOB: make([]byte, controlSize)}
	}
	return c
}

// ReadBatch fills messages with a packet each, as QUIC asks a socket to. It
// waits only if none is left of the runs that were read.
func (c *coalesced) ReadBatch(messages []ipv4.Message, flags int) (int, error) {
	if c.at == c.got {
		c.at, c.got = 0, 0
		n, err := c.read(c.runs, flags)
		if err != nil {
			return 0, err
		}
		c.got = n
		c.begin()
	}
	filled := 0
	for filled < len(messages) && c.at < c.got {
		c.next(&messages[filled])
		filled++
	}
	return filled, nil
}

// begin turns to the packets of run at.
func (c *coalesced) begin() {
	if c.at < c.got {
		run := &c.runs[c.at]
		c.off, c.size = 0, packetSize(run.OOB[:run.NN], run.N)
	}
}

// next hands out one packet. One that is longer than the message's buffer is
// cut, as the kernel would.
func (c *coalesced) next(m *ipv4.Message) {
	run := &c.runs[c.at]
	packet := run.Buffers[0][c.off:min(c.off+c.size, run.N)]
	m.N = copy(m.Buffers[0], packet)
	m.NN = copy(m.OOB, run.OOB[:run.NN])
	m.Addr, m.Flags = run.Addr, run.Flags
	if c.off += len(packet); c.off >= run.N {
		c.at++
		c.begin()
	}
}

// packetSize finds the size of a run's packets, all but the last of which have
// it, among its control messages. Without one, the run is a single packet.
func packetSize(control []byte, run int) int {
	for len(control) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO && len(data) >= 4 {
			if n := int(binary.NativeEndian.Uint32(data)); n > 0 {
				return n
			}
		}
		control = rest
	}
	return run
}
