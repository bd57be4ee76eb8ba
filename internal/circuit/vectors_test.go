package circuit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/identity"
)

var update = flag.Bool("update", false, "rewrite spec/vectors/guards.json")

// guardVectors is spec/vectors/guards.json (spec/circuit.md §8).
type guardVectors struct {
	Accepted []acceptedState `json:"accepted"`
	Refused  []refusedState  `json:"refused"`
}

type acceptedState struct {
	State     string        `json:"state"`
	Guards    []storedGuard `json:"guards"`
	Vanguards []storedGuard `json:"vanguards"`
}

type refusedState struct {
	Why   string `json:"why"`
	State string `json:"state"`
}

type storedGuard struct {
	ID      string `json:"id"`
	Added   int64  `json:"added"`
	Expires int64  `json:"expires"`
	Begun   uint16 `json:"begun,omitempty"`
	Built   uint16 `json:"built,omitempty"`
	Used    uint16 `json:"used,omitempty"`
	Served  uint16 `json:"served,omitempty"`
}

func TestGuardVectors(t *testing.T) {
	path := filepath.Join("..", "..", "spec", "vectors", "guards.json")
	if *update {
		b, err := json.MarshalIndent(makeVectors(), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v guardVectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Accepted) == 0 || len(v.Refused) == 0 {
		t.Fatal("no vectors")
	}
	for i, a := range v.Accepted {
		state := unhex(t, a.State)
		s, vs, err := parseGuards(state)
		if err != nil {
			t.Errorf("state %d: %v", i, err)
			continue
		}
		if diff := cmp.Diff(a, described(s, vs)); diff != "" {
			t.Errorf("state %d: %s", i, diff)
		}
		if !bytes.Equal(encodeGuards(s, vs), state) {
			t.Errorf("state %d does not encode alike", i)
		}
	}
	for _, r := range v.Refused {
		if _, _, err := parseGuards(unhex(t, r.State)); !errors.Is(err, ErrGuardState) {
			t.Errorf("%s: got %v, want ErrGuardState", r.Why, err)
		}
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

// described says what a state holds.
func described(s *guardSet, v *vanguardSet) acceptedState {
	out := acceptedState{State: hex.EncodeToString(encodeGuards(s, v)), Guards: []storedGuard{}, Vanguards: []storedGuard{}}
	for _, g := range s.list {
		out.Guards = append(out.Guards, storedGuard{
			g.id.String(), g.added.Unix(), g.expires.Unix(),
			g.bias.built.of, g.bias.built.good, g.bias.served.of, g.bias.served.good,
		})
	}
	for _, g := range v.list {
		out.Vanguards = append(out.Vanguards, storedGuard{ID: g.id.String(), Added: g.added.Unix(), Expires: g.expires.Unix()})
	}
	return out
}

func makeVectors() guardVectors {
	at := func(days int) time.Time { return start.Add(time.Duration(days) * 24 * time.Hour) }
	guards := &guardSet{list: []*guard{
		{id: identity.NodeID{31: 1}, added: at(0), expires: at(90), bias: bias{built: share{70, 65}, served: share{41, 40}}},
		{id: identity.NodeID{31: 2}, added: at(1), expires: at(61)},
	}}
	vanguards := &vanguardSet{list: []*vanguard{
		{id: identity.NodeID{31: 3}, added: at(0), expires: at(8)},
		{id: identity.NodeID{31: 2}, added: at(0), expires: at(12)},
	}}
	const head, entry, vanguardEntry = 2, 32 + 8 + 8 + 4*2, 32 + 8 + 8
	good := encodeGuards(guards, vanguards)
	change := func(at int, b ...byte) string {
		out := bytes.Clone(good)
		copy(out[at:], b)
		return hex.EncodeToString(out)
	}
	second := head + 2*entry + 1 // where the vanguards' entries begin
	many := []byte{guardVersion, maxSample + 1}
	for i := range maxSample + 1 {
		many = append(many, bytes.Clone(good[head:head+entry])...)
		many[len(many)-entry] = byte(i + 1)
	}
	return guardVectors{
		Accepted: []acceptedState{described(&guardSet{}, &vanguardSet{}), described(guards, vanguards)},
		Refused: []refusedState{
			{"empty", ""},
			{"version 2", change(0, 2)},
			{"cut within the vanguards", hex.EncodeToString(good[:len(good)-1])},
			{"without vanguards' count", hex.EncodeToString(good[:second-1])},
			{"a byte too many", hex.EncodeToString(good) + "00"},
			{"61 guards", hex.EncodeToString(append(many, 0))},
			{"5 vanguards announced", change(second-1, 5)},
			{"a guard twice", change(head+entry+31, 1)},
			{"a guard with a zero id", change(head+31, 0)},
			{"more built than begun", change(head+entry-8, 0, 1, 0, 2)},
			{"more served than used", change(head+entry-4, 0, 1, 0, 2)},
			{"a guard that expires after 9999", change(head+40, 255)},
			{"a vanguard twice", change(second+vanguardEntry+31, 3)},
			{"a vanguard with a zero id", change(second+31, 0)},
			{"a vanguard added after 9999", change(second+32, 1)},
		},
	}
}
