package circuit

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"sotto/internal/directory"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testDirectory(t testing.TB, nodes int) *directory.Directory {
	t.Helper()
	n, _, err := directory.Local(directory.LocalConfig{Nodes: nodes, Port: 1, Created: start, Rand: testRand(1)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testRand(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func sampled(t testing.TB, d *directory.Directory) *guardSet {
	t.Helper()
	s := &guardSet{}
	changed, err := s.refresh(testRand(2), start, d)
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	return s
}

func TestSampleIsKeptAndRenewed(t *testing.T) {
	d := testDirectory(t, 100)
	s := sampled(t, d)
	if len(s.list) != sampleSize {
		t.Fatalf("%d guards, want %d", len(s.list), sampleSize)
	}
	first := s.encode()
	if changed, _ := s.refresh(testRand(3), start.Add(guardLife-time.Hour), d); changed {
		t.Fatal("the sample changed within its life")
	}
	if !bytes.Equal(first, s.encode()) {
		t.Fatal("the stored form changed")
	}
	later := start.Add(guardLife + guardSpread)
	if changed, _ := s.refresh(testRand(3), later, d); !changed || len(s.list) != sampleSize {
		t.Fatalf("after its life the sample has %d guards", len(s.list))
	}
	for _, g := range s.list {
		if g.added != later {
			t.Fatal("an expired guard is kept")
		}
	}
}

func TestGuardsThatLeaveAreReplacedWithinBounds(t *testing.T) {
	s := sampled(t, testDirectory(t, 40))
	for range 10 { // each time a network of new nodes
		n, _, err := directory.Local(directory.LocalConfig{Nodes: 40, Port: 1, Created: start, Rand: testRand(byte(len(s.list)))})
		if err != nil {
			t.Fatal(err)
		}
		d, err := n.Directory()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.refresh(testRand(4), start, d); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.list) > maxSample {
		t.Fatalf("%d guards, at most %d", len(s.list), maxSample)
	}
}

func TestRolesAfterFailures(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	inUse, spare, ok := s.roles(start, d)
	if !ok || inUse.ID != s.list[0].id || spare.ID != s.list[1].id || directory.Conflict(inUse, spare) {
		t.Fatalf("in use %v, spare %v", inUse, spare)
	}
	s.failed(inUse.ID, start, d)
	if got, _, _ := s.roles(start, d); got.ID != spare.ID {
		t.Fatal("the spare did not take over")
	}
	// Another failure of the same moment counts once.
	s.failed(inUse.ID, start, d)
	if got, _, _ := s.roles(start.Add(guardRetryMin), d); got.ID != inUse.ID {
		t.Fatal("the first guard did not come back")
	}
	s.failed(inUse.ID, start.Add(guardRetryMin), d)
	if got, _, _ := s.roles(start.Add(2*guardRetryMin), d); got.ID == inUse.ID {
		t.Fatal("the pause did not grow")
	}
}

func TestOutageForgivesPrimaries(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	for i := range primaryCount {
		if last := s.failed(s.list[i].id, start, d); last != (i == primaryCount-1) {
			t.Fatalf("guard %d: outage %v", i, last)
		}
	}
	s.succeeded(s.list[7].id, d)
	if got, _, _ := s.roles(start, d); got.ID != s.list[0].id {
		t.Fatal("after an outage the first guard is not tried at once")
	}
	// Guards that are really gone are not forgiven with every success.
	for i := range primaryCount {
		s.failed(s.list[i].id, start.Add(time.Second), d)
	}
	s.succeeded(s.list[7].id, d)
	if got, _, _ := s.roles(start.Add(time.Second), d); got.ID == s.list[0].id {
		t.Fatal("dead guards were forgiven twice")
	}
	for _, g := range s.list {
		s.failed(g.id, start.Add(time.Second), d)
	}
	if len(s.usable(start.Add(time.Second), d)) != len(s.list) {
		t.Fatal("with every guard aside none is tried")
	}
}

func TestBiasedGuardIsDropped(t *testing.T) {
	d := testDirectory(t, 30)
	s := sampled(t, d)
	biased, honest := s.list[0].id, s.list[1].id
	dropped := 0
	for i := range 10 * biasSample {
		if s.counted(biased, i%5 == 0) { // a fifth succeeds
			dropped++
		}
		if s.counted(honest, i%2 == 0) {
			t.Fatal("a guard with every other circuit is a suspect")
		}
	}
	if dropped != 1 {
		t.Fatalf("noticed %d times", dropped)
	}
	for _, n := range s.usable(start, d) {
		if n.ID == biased {
			t.Fatal("the biased guard is still usable")
		}
	}
	back, err := parseGuards(s.encode())
	if err != nil || !back.find(biased).suspect() {
		t.Fatalf("forgotten over a restart: %v", err)
	}
}

func TestGuardStateRefuses(t *testing.T) {
	good := sampled(t, testDirectory(t, 5)).encode()
	entry := good[2 : 2+(len(good)-2)/5]
	for name, b := range map[string][]byte{
		"empty":       {},
		"version":     append([]byte{2}, good[1:]...),
		"cut":         good[:len(good)-1],
		"trailing":    append(bytes.Clone(good), 0),
		"too many":    {guardVersion, maxSample + 1},
		"twice":       append(append([]byte{guardVersion, 2}, entry...), entry...),
		"zero id":     append([]byte{guardVersion, 1}, make([]byte, len(entry))...),
		"many built":  append(append([]byte{guardVersion, 1}, entry[:len(entry)-4]...), 0, 1, 0, 2),
		"huge expiry": append(append(append([]byte{guardVersion, 1}, entry[:40]...), 255, 255, 255, 255, 255, 255, 255, 255), 0, 0, 0, 0),
	} {
		if _, err := parseGuards(b); !errors.Is(err, ErrGuardState) {
			t.Errorf("%s: got %v, want ErrGuardState", name, err)
		}
	}
}

func FuzzGuardState(f *testing.F) {
	f.Add(sampled(f, testDirectory(f, 1)).encode())
	f.Add(sampled(f, testDirectory(f, 30)).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseGuards(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.encode(), b) {
			t.Fatal("accepted state does not encode alike")
		}
	})
}
