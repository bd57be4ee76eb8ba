package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// control returns a control message of the kernel.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// ofSize says that a run's packets have n bytes.
func ofSize(n uint32) []byte {
	return control(unix.IPPROTO_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, n))
}

// messages is what QUIC gives to ReadBatch.
func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, controlSize)}
	}
	return ms
}

// run is what one read of the kernel brings.
type run struct {
	bytes   string
	control []byte
	want    []string
}

func TestRunsComeApart(t *testing.T) {
	congested := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{3})
	long := string(bytes.Repeat([]byte{'x'}, 2000))
	reads := [][]run{
		{{"one packet", nil, []string{"one packet"}}},
		{
			{"aaaabbbbcc", append(congested, ofSize(4)...), []string{"aaaa", "bbbb", "cc"}},
			{"", congested, []string{""}},
			{"ddddeeee", ofSize(4), []string{"dddd", "eeee"}},
			{"fff", ofSize(8), []string{"fff"}},
		},
		{{"no size", ofSize(0), []string{"no size"}}},
		{{long + "end", ofSize(2000), []string{long[:1452], "end"}}}, // cut, as the kernel would
		{{"half a header", ofSize(4)[:9], []string{"half a header"}}},
	}
	for perCall := 1; perCall <= 8; perCall++ {
		t.Run(fmt.Sprint(perCall), func(t *testing.T) {
			left := reads
			c := newCoalesced(nil, func(ms []ipv4.Message, _ int) (int, error) {
				if len(left) == 0 {
					return 0, os.ErrDeadlineExceeded
				}
				for i, r := range left[0] {
					ms[i].N, ms[i].NN = copy(ms[i].Buffers[0], r.bytes), copy(ms[i].OOB, r.control)
					ms[i].Addr = &net.UDPAddr{Port: i}
				}
				n := len(left[0])
				left = left[1:]
				return n, nil
			})
			type packet struct {
				content string
				control []byte
				port    int
			}
			var want []packet
			for _, rs := range reads {
				for port, r := range rs {
					for _, content := range r.want {
						want = append(want, packet{content, r.control, port})
					}
				}
			}
			var got []packet
			for {
				ms := messages(perCall)
				n, err := c.ReadBatch(ms, 0)
				if err != nil {
					break
				}
				if n == 0 {
					t.Fatal("neither a packet nor an error")
				}
				for _, m := range ms[:n] {
					got = append(got, packet{string(m.Buffers[0][:m.N]), m.OOB[:m.NN], m.Addr.(*net.UDPAddr).Port})
				}
			}
			if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
				t.Errorf("got %.300s\nwant %.300s", g, w)
			}
		})
	}
}

// TestCoalescedSocket sends runs through the kernel.
func TestCoalescedSocket(t *testing.T) {
	loopback := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	in, err := net.ListenUDP("udp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c, ok := coalesce(in).(*coalesced)
	if !ok {
		t.Skip("this kernel hands over single packets")
	}
	out, err := net.ListenUDP("udp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var sent [][]byte
	var whole []byte
	for i := range 12 {
		sent = append(sent, bytes.Repeat([]byte{byte(i)}, 1200))
	}
	sent = append(sent, []byte("a short end"))
	whole = bytes.Join(sent, nil)
	size := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, 1200))
	if _, _, err := out.WriteMsgUDP(whole, size, in.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Skipf("this kernel sends no runs: %v", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	for len(got) < len(sent) {
		ms := messages(5)
		n, err := c.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms[:n] {
			got = append(got, m.Buffers[0][:m.N])
			if from := m.Addr.String(); from != out.LocalAddr().String() {
				t.Errorf("packet of %s", from)
			}
		}
	}
	for i := range sent {
		if !bytes.Equal(got[i], sent[i]) {
			t.Errorf("packet %d has %d bytes that begin with %d", i, len(got[i]), got[i][:1])
		}
	}
}

func TestOtherSocketsStayAsTheyAre(t *testing.T) {
	var pc net.PacketConn = struct{ *net.UDPConn }{}
	if coalesce(pc) != pc {
		t.Error("a packet connection that is not the system's was changed")
	}
}

func FuzzPacketSize(f *testing.F) {
	f.Add(ofSize(1200), 5000)
	f.Add(append(control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2}), ofSize(1452)...), 1452)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, control []byte, run int) {
		if run < 0 || run > runBytes {
			return
		}
		if n := packetSize(control, run); n != run && n <= 0 {
			t.Errorf("packets of %d bytes in a run of %d", n, run)
		}
	})
}
