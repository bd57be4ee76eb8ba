package circuit_test

import (
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/circuit"
	"sotto/internal/padding"
	"sotto/internal/simnet"
)

// ipHeaders is what IPv4 and UDP add to a packet's payload.
const ipHeaders = 20 + 8

// meter counts what passes between clients and the network.
type meter struct{ bytes atomic.Int64 }

func (m *meter) see(from, to netip.AddrPort, size int) bool {
	if from.Addr() == clientAddr.Addr() || to.Addr() == clientAddr.Addr() {
		m.bytes.Add(int64(size + ipHeaders))
	}
	return false
}

// megabytes measures what a client without conversations costs at a level.
func megabytes(t *testing.T, level padding.Level, chatting bool, during time.Duration) (mb float64) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		n := simnet.New(simnet.Config{Latency: 5 * time.Millisecond, Drop: m.see})
		defer n.Close()
		w := startNetwork(t, 8, 4433, n.PacketConn, nil)
		defer w.stop()
		c := w.newClient(nil)
		defer c.stop(t)
		c.SetCover(level)
		c.until(t, "at the start", ready(circuit.DefaultIdle))
		time.Sleep(time.Minute) // hops are told
		before := m.bytes.Load()
		for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(time.Minute) {
			if chatting {
				c.Chatting()
			}
		}
		mb = float64(m.bytes.Load()-before) / 1e6
	})
	return mb
}

// documented reads the figures of spec/padding.md §3.
func documented(t *testing.T) (perDay map[string]float64, perChat float64) {
	t.Helper()
	spec, err := os.ReadFile("../../spec/padding.md")
	if err != nil {
		t.Fatal(err)
	}
	perDay = map[string]float64{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(low|standard|active|high)` \\| (\\d+) \\|$").FindAllSubmatch(spec, -1) {
		perDay[string(m[1])], _ = strconv.ParseFloat(string(m[2]), 64)
	}
	m := regexp.MustCompile("`active` adds (\\d+) MB for each hour").FindSubmatch(spec)
	if len(perDay) != len(padding.Levels) || m == nil {
		t.Fatalf("the costs of levels in spec/padding.md are %v and %q", perDay, m)
	}
	perChat, _ = strconv.ParseFloat(string(m[1]), 64)
	return perDay, perChat
}

// Real circuits over virtual hours cost what the document says, within a tenth;
// and what people are shown is what stands there.
func TestCostPerDay(t *testing.T) {
	perDay, perChat := documented(t)
	for _, tc := range []struct {
		level  padding.Level
		during time.Duration
	}{{padding.Low, time.Hour}, {padding.Standard, 2 * time.Hour}, {padding.High, 2 * time.Hour}} {
		days := float64(tc.during) / float64(24*time.Hour)
		got, want := megabytes(t, tc.level, false, tc.during)/days, perDay[tc.level.String()]
		t.Logf("%v: %.1f MB a day, documented %.0f", tc.level, got, want)
		if got < want*0.9 || got > want*1.1 {
			t.Errorf("%v costs %.1f MB a day; spec/padding.md says %.0f", tc.level, got, want)
		}
	}
	const chat = 2 * time.Hour
	got := megabytes(t, padding.Active, true, chat)
	want := (perDay["low"]/24 + perChat) * chat.Hours()
	t.Logf("active: %.1f MB in %v of chatting, documented %.1f", got, chat, want)
	if got < want*0.9 || got > want*1.1 {
		t.Errorf("%v of chatting at active cost %.1f MB; spec/padding.md says %.1f", chat, got, want)
	}
	for _, l := range padding.Levels {
		if float64(l.Cost()) != perDay[l.String()] || perChat != padding.ChatCost {
			t.Errorf("people are told that %v costs %d MB", l, l.Cost())
		}
	}
}
