package ratchet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sotto/internal/suite"
)

// TestStateMachine lets two sides talk over a network that loses, reorders,
// repeats and damages, with machines that crash at any point and come back with
// what they last stored.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		t.Repeat(map[string]func(*rapid.T){
			"send":                m.send,
			"crash before store":  m.crashBeforeStore,
			"crash after store":   m.crashAfterStore,
			"crash while reading": m.crashWhileReading,
			"receive":             m.receive,
			"damage":              m.damage,
			"lose":                m.lose,
			"":                    m.check,
		})
		m.deliverRest(t)
	})
}

// side is one machine: its session in memory, and on disk.
type side struct {
	live   *Session
	stored []byte
	// seen lists the peer's ratchet keys in the order that this side met them;
	// it is stored with the session.
	seen []suite.DHPublic
}

// flight is a message on its way to a side, where it stays for repeats.
type flight struct {
	to      int
	msg     []byte
	text    string
	ratchet suite.DHPublic
	read    bool
}

type slot struct {
	ratchet suite.DHPublic
	number  uint32
}

type machine struct {
	sides  [2]*side
	flying []*flight
	used   map[slot]bool // message keys that have left a machine
	count  int
}

func newMachine(t *rapid.T) *machine {
	// Keys come from the system; rapid draws only what happens.
	id := func() suite.DHPrivate { k, _ := suite.NewDHPrivate(rand.Reader); return k }
	kem, _ := suite.NewKEMPrivate(rand.Reader)
	alice, bob := id(), PrekeySecrets{Identity: id(), Signed: id(), KEM: kem}
	a, first, err := Initiate(rand.Reader, alice, nil, bob.Public(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := ReadFirst(bob, first, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := o.Accept(rand.Reader, alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{used: map[slot]bool{}}
	m.sides[0] = &side{live: a, stored: a.Encode()}
	m.sides[1] = &side{live: b, stored: b.Encode(), seen: []suite.DHPublic{a.sending.public}}
	m.used[slot{a.sending.public, 0}] = true
	return m
}

func (s *side) store() { s.stored = s.live.Encode() }

func (s *side) crash(t *rapid.T) {
	live, err := ParseSession(s.stored)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(live.Encode(), s.stored) {
		t.Fatal("a stored session reads differently")
	}
	s.live = live
}

// write encrypts the next message of a drawn side, stored or not.
func (m *machine) write(t *rapid.T) (int, *flight, slot) {
	from := rapid.IntRange(0, 1).Draw(t, "from")
	m.count++
	f := &flight{to: 1 - from, text: fmt.Sprint("message ", m.count)}
	var err error
	if f.msg, err = m.sides[from].live.Encrypt(rand.Reader, []byte(f.text), nil); err != nil {
		t.Fatal(err)
	}
	c := m.sides[from].live.sending
	f.ratchet = c.public
	return from, f, slot{c.public, c.next - 1}
}

func (m *machine) send(t *rapid.T) {
	from, f, used := m.write(t)
	m.sides[from].store()
	if m.used[used] {
		t.Fatalf("message key %d used twice", used.number)
	}
	m.used[used] = true
	m.flying = append(m.flying, f)
}

// crashBeforeStore loses a message that never left: its key is free again.
func (m *machine) crashBeforeStore(t *rapid.T) {
	from, _, _ := m.write(t)
	m.sides[from].crash(t)
}

// crashAfterStore loses a message whose key may have been used: it stays spent.
func (m *machine) crashAfterStore(t *rapid.T) {
	from, _, used := m.write(t)
	m.sides[from].store()
	m.used[used] = true
	m.sides[from].crash(t)
}

func (m *machine) pick(t *rapid.T) *flight {
	if len(m.flying) == 0 {
		t.Skip("nothing is on its way")
	}
	// Mostly the newest ones, so that conversations get somewhere.
	back := rapid.IntRange(0, min(len(m.flying)-1, 12)).Draw(t, "back")
	return m.flying[len(m.flying)-1-back]
}

// crashWhileReading reads a message and crashes before that is stored: it can
// be read again.
func (m *machine) crashWhileReading(t *rapid.T) {
	f := m.pick(t)
	m.sides[f.to].live.Decrypt(f.msg, nil)
	m.sides[f.to].crash(t)
}

func (m *machine) receive(t *rapid.T) { m.deliver(t, m.pick(t)) }

func (m *machine) deliver(t *rapid.T, f *flight) {
	to := m.sides[f.to]
	before := to.live.Encode()
	known := slices.Index(to.seen, f.ratchet)
	got, err := to.live.Decrypt(f.msg, nil)
	switch {
	case known >= 0 && known < len(to.seen)-MaxReceivingChains:
		if !errors.Is(err, ErrNotForUs) {
			t.Fatalf("%s of a dropped chain: %v", f.text, err)
		}
	case f.read:
		if !errors.Is(err, ErrReplay) {
			t.Fatalf("%s again: %v", f.text, err)
		}
	case err != nil:
		t.Fatalf("%s: %v", f.text, err)
	case string(got) != f.text:
		t.Fatalf("%s: got %q", f.text, got)
	default:
		f.read = true
		if known < 0 {
			to.seen = append(to.seen, f.ratchet)
		}
		to.store()
		return
	}
	if !bytes.Equal(before, to.live.Encode()) {
		t.Fatalf("%v changed the session", err)
	}
}

func (m *machine) damage(t *rapid.T) {
	f := m.pick(t)
	bad := bytes.Clone(f.msg)
	bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	to := m.sides[f.to].live
	before := to.Encode()
	if _, err := to.Decrypt(bad, nil); err == nil {
		t.Fatal("a damaged message was read")
	}
	if !bytes.Equal(before, to.Encode()) {
		t.Fatal("a damaged message changed the session")
	}
}

func (m *machine) lose(t *rapid.T) {
	f := m.pick(t)
	m.flying = slices.DeleteFunc(m.flying, func(o *flight) bool { return o == f })
}

// check restarts both sides after every step.
func (m *machine) check(t *rapid.T) {
	for _, s := range m.sides {
		if !bytes.Equal(s.live.Encode(), s.stored) {
			t.Fatal("memory and disk differ between steps")
		}
		s.crash(t)
	}
}

func (m *machine) deliverRest(t *rapid.T) {
	for _, f := range m.flying {
		m.deliver(t, f)
	}
}
