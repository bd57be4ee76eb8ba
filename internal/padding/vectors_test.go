package padding_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"testing"
	"time"

	"sotto/internal/onion"
	"sotto/internal/padding"
)

var update = flag.Bool("update", false, "write spec/vectors/padding.json anew")

const vectorFile = "../../spec/vectors/padding.json"

// vectors is spec/vectors/padding.json (spec/padding.md §8).
type vectors struct {
	Source  string    `json:"source"`
	Cover   []cover   `json:"cover"`
	Refused []refused `json:"cover_failures"`
	Delays  []delay   `json:"link_delays"`
	Gaps    []gap     `json:"gaps"`
	Picks   []pick    `json:"picks"`
}

type cover struct {
	Mean  int64  `json:"mean_ms"`
	Train int    `json:"train"`
	Data  string `json:"data"`
}

type refused struct {
	Name   string `json:"name"`
	Stream uint16 `json:"stream"`
	Data   string `json:"data"`
	Error  string `json:"error"`
}

type delay struct {
	Random string `json:"random"`
	Delay  int64  `json:"delay_ms"`
}

type gap struct {
	Random string `json:"random"`
	Mean   int64  `json:"mean_ms"`
	Gap    int64  `json:"gap_ms"`
}

type pick struct {
	Random string `json:"random"`
	N      int    `json:"n"`
	Pick   int    `json:"pick"`
}

func inputs() *vectors {
	return &vectors{
		Source: "Inputs are arbitrary; everything else follows from them by spec/padding.md. Bytes are hex.",
		Cover:  []cover{{Mean: 600_000, Train: 5}, {Mean: 1000, Train: 16}, {Mean: 0, Train: 2}, {Mean: 0, Train: 0}},
		Refused: []refused{
			{Name: "a stream", Stream: 1, Data: "000927c005"},
			{Name: "cut", Data: "000927c0"},
			{Name: "a byte too many", Data: "000927c00500"},
			{Name: "too often", Data: "000003e705"},
			{Name: "trains too long", Data: "000927c011"},
			{Name: "one train, too long", Data: "0000000011"},
			{Name: "trains of nothing", Data: "000927c000"},
			{Name: "empty"},
		},
		Delays: []delay{
			{Random: "0000000000000000"},
			{Random: "ffffffff00000000"},
			{Random: "00000000ffffffff"},
			{Random: "7fffffff80000000"},
			{Random: "0123456789abcdef"},
		},
		Gaps: []gap{
			{Random: "0000000000000000", Mean: 5000},
			{Random: "ffffffffffffffff", Mean: 5000},
			{Random: "8000000000000000", Mean: 300_000},
			{Random: "0123456789abcdef", Mean: 20_000},
		},
		Picks: []pick{{Random: "00000000", N: 3}, {Random: "ffffffff", N: 3}, {Random: "55555555", N: 3}, {Random: "55555556", N: 3}, {Random: "ffffffff", N: 1}},
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func random(t *testing.T, s string) *bytes.Reader { return bytes.NewReader(unhex(t, s)) }

// run fills in what follows from the inputs.
func (v *vectors) run(t *testing.T) {
	t.Helper()
	for i := range v.Cover {
		c := &v.Cover[i]
		m := onion.Cover(time.Duration(c.Mean)*time.Millisecond, c.Train)
		c.Data = hex.EncodeToString(m.Data)
		mean, train, err := m.Coverage()
		if err != nil || mean.Milliseconds() != c.Mean || train != c.Train {
			t.Errorf("COVER %s reads as %v, %d, %v", c.Data, mean, train, err)
		}
	}
	for i := range v.Refused {
		r := &v.Refused[i]
		_, _, err := onion.Message{Command: onion.MsgCover, Stream: r.Stream, Data: unhex(t, r.Data)}.Coverage()
		if r.Error = ""; errors.Is(err, onion.ErrMessage) {
			r.Error = "message"
		}
	}
	for i := range v.Delays {
		d, err := padding.LinkDelay(random(t, v.Delays[i].Random))
		v.Delays[i].Delay = must(t, d, err).Milliseconds()
	}
	for i := range v.Gaps {
		g := &v.Gaps[i]
		d, err := padding.Gap(random(t, g.Random), time.Duration(g.Mean)*time.Millisecond)
		g.Gap = must(t, d, err).Milliseconds()
	}
	for i := range v.Picks {
		p := &v.Picks[i]
		n, err := padding.Pick(random(t, p.Random), p.N)
		p.Pick = must(t, n, err)
	}
}

func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVectors(t *testing.T) {
	if *update {
		v := inputs()
		v.run(t)
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var want, got vectors
	for _, v := range []*vectors{&want, &got} {
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatal(err)
		}
	}
	got.run(t)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("what follows from the inputs of %s differs from what stands there:\n%+v", vectorFile, got)
	}
	for _, r := range got.Refused {
		if r.Error == "" {
			t.Errorf("%s is accepted", r.Name)
		}
	}
}

func TestDrawsNeedRandomness(t *testing.T) {
	short := func() *bytes.Reader { return bytes.NewReader([]byte{1, 2}) }
	if _, err := padding.LinkDelay(short()); err == nil {
		t.Error("a delay from two bytes")
	}
	if _, err := padding.Gap(short(), time.Second); err == nil {
		t.Error("a gap from two bytes")
	}
	if _, err := padding.Pick(short(), 2); err == nil {
		t.Error("a choice from two bytes")
	}
}

// counting is a source that never repeats within a test: a splitmix64.
type counting uint64

func (c *counting) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		*c += 0x9e3779b97f4a7c15
		z := uint64(*c)
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], z^z>>31)
		copy(p[i:], b[:])
	}
	return len(p), nil
}

// The means are those that spec/padding.md §5.2 and §5.3 state.
func TestMeans(t *testing.T) {
	const draws = 20_000
	var r counting
	var first, gaps time.Duration
	for range draws {
		a, errA := padding.LinkDelay(&r)
		b, errB := padding.LinkDelay(&r)
		if err := errors.Join(errA, errB); err != nil || min(a, b) < padding.LinkMin || max(a, b) > padding.LinkMax {
			t.Fatalf("delays %v and %v: %v", a, b, err)
		}
		first += min(a, b)
		g, err := padding.Gap(&r, time.Minute)
		if err != nil || g < 0 {
			t.Fatalf("gap %v: %v", g, err)
		}
		gaps += g
	}
	if mean := first / draws; mean < 5600*time.Millisecond || mean > 5930*time.Millisecond {
		t.Errorf("a silent link has a cell every %v, want about 5.77 s", mean)
	}
	if mean := gaps / draws; mean < 58*time.Second || mean > 62*time.Second {
		t.Errorf("gaps of %v on average, want a minute", mean)
	}
}

func TestLevels(t *testing.T) {
	for _, l := range padding.Levels {
		if got, ok := padding.ParseLevel(l.String()); !ok || got != l {
			t.Errorf("%v is read as %v, %v", l, got, ok)
		}
	}
	for _, name := range []string{"", "Low", "level 4", "none"} {
		if l, ok := padding.ParseLevel(name); ok {
			t.Errorf("%q is read as %v", name, l)
		}
	}
	var zero padding.Level
	if zero != padding.Standard {
		t.Error("standard is not the default")
	}
	for n, want := range map[int]time.Duration{0: 0, 1: 2, 2: 4, 3: 8, 4: 8, 5: 16, 40: 128} {
		if got := padding.Share(time.Second, n); got != want*time.Second {
			t.Errorf("one hop of %d circuits has the mean %v, want %v", n, got, want*time.Second)
		}
	}
}

func TestBurst(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var b padding.Burst
	steps := []struct {
		after time.Duration
		cells int
		want  bool
	}{{0, 5, false}, {time.Second, 6, true}, {time.Second, 4, false}, {200 * time.Millisecond, 2, false}}
	for i, s := range steps {
		now = now.Add(s.after)
		b.Sent(now, s.cells, 6)
		if got := b.Take(); got != s.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	b.Sent(now, 4, 6)
	b.Sent(now.Add(100*time.Millisecond), 2, 6)
	if !b.Take() {
		t.Error("six cells within 100 ms are no burst")
	}
	b.Sent(now, 4, 6)
	b.Sent(now.Add(time.Second), 4, 6)
	if b.Take() {
		t.Error("two small bursts are taken for one")
	}
}

func FuzzLevel(f *testing.F) {
	f.Add("standard")
	f.Add("")
	f.Fuzz(func(t *testing.T, name string) {
		if l, ok := padding.ParseLevel(name); ok && l.String() != name {
			t.Fatalf("%q is read as %v", name, l)
		}
	})
}
