package onion

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"sotto/internal/suite"
)

// clientKeys are what StartHandshake draws from rand.
func clientKeys(t testing.TB, rand []byte) (suite.DHPrivate, suite.KEMPrivate) {
	t.Helper()
	x := dhKey(t, rand[:suite.DHSize])
	kem, err := suite.KEMPrivateFrom(rand[suite.DHSize:])
	if err != nil {
		t.Fatal(err)
	}
	return x, kem
}

func TestWorkStops(t *testing.T) {
	id, secret := testRelay(t, 0)
	asked := 0
	stop := func() bool { asked++; return asked == 3 }
	_, _, err := PaidHandshake(new(counting), id, secret.Public(), ClassStream, nil, Payment{Effort: 64, At: time.Unix(workTime, 0), Stop: stop})
	if !errors.Is(err, ErrStopped) || asked != 3 {
		t.Fatalf("after %d questions: %v", asked, err)
	}
}

// The effort is the logarithm of the tries: of many handshakes, as many tries
// are needed as it says.
func TestEffortIsWhatItCosts(t *testing.T) {
	const effort, samples = 6, 400
	id, secret := testRelay(t, 0)
	rand, tries := new(counting), 0.0
	for i := range samples {
		at := time.Unix(workTime+60*int64(i), 0)
		_, create, err := PaidHandshake(rand, id, secret.Public(), ClassStream, nil, Payment{Effort: effort, At: at})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := CheckWork(id, create, at); err != nil || got != effort {
			t.Fatalf("effort %d, %v", got, err)
		}
		tries += float64(binary.BigEndian.Uint64(create[3:])) + 1
	}
	if mean := tries / samples; mean < 50 || mean > 80 {
		t.Errorf("%.1f tries on average for effort %d, want about 64", mean, effort)
	}
}

func TestProofsAreForgotten(t *testing.T) {
	var p Proofs
	now := time.Unix(workTime, 0)
	if err := p.Use(Proof{1}, now); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, WorkSlot, proofLife - 1, proofLife} {
		if err := p.Use(Proof{1}, now.Add(after)); !errors.Is(err, ErrReplay) {
			t.Errorf("again after %v: %v", after, err)
		}
	}
	if err := p.Use(Proof{1}, now.Add(10*proofLife)); err != nil {
		t.Errorf("long after its end: %v", err)
	}
}

func TestProofsAreBounded(t *testing.T) {
	var p Proofs
	now := time.Unix(workTime, 0)
	for i := range 3 * maxProofs {
		var proof Proof
		binary.BigEndian.PutUint64(proof[:], uint64(i))
		if err := p.Use(proof, now); err != nil {
			t.Fatal(err)
		}
		if n := len(p.present) + len(p.past); n > 2*maxProofs {
			t.Fatalf("%d proofs are held", n)
		}
	}
	last := Proof{}
	binary.BigEndian.PutUint64(last[:], 3*maxProofs-1)
	if err := p.Use(last, now); !errors.Is(err, ErrReplay) {
		t.Errorf("the last proof again: %v", err)
	}
}

// FuzzWork: whatever a CREATE says, checking its work takes a moment, and what
// is accepted is accepted again.
func FuzzWork(f *testing.F) {
	_, create := startTest(f, ClassStream, nil)
	f.Add(create, int64(workTime))
	id, secret := testRelay(f, 0)
	_, paid, err := PaidHandshake(new(counting), id, secret.Public(), ClassStream, nil, Payment{Effort: 4, At: time.Unix(workTime, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(paid, int64(workTime))
	f.Add(paid[:20], int64(-1))
	f.Fuzz(func(t *testing.T, create []byte, at int64) {
		effort, proof, err := CheckWork(id, create, time.Unix(at, 0))
		again, same, err2 := CheckWork(id, create, time.Unix(at, 0))
		if effort != again || proof != same || (err == nil) != (err2 == nil) {
			t.Fatal("two answers to the same question")
		}
		if err == nil && effort > 0 && create[2] != effort {
			t.Fatalf("effort %d where %d is claimed", effort, create[2])
		}
	})
}
