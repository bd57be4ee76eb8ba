package mailbox

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

func TestBothPartiesFindOneAnother(t *testing.T) {
	w := newWorld(t)
	his := must(ConversationFromInvitation(w.conv.Invitation()))
	if his.ID() != w.conv.ID() || !his.Equal(w.conv) {
		t.Fatal("two conversations")
	}
	for _, initiator := range []bool{true, false} {
		recipient := w.alice
		if initiator {
			recipient = w.bob
		}
		for p := w.conv.Period(w.now, true); p < w.conv.Period(w.now, true)+3; p++ {
			a := must(w.conv.Box(p, initiator, recipient.Base().Public()))
			b := must(his.Box(p, initiator, recipient.Base().Public()))
			if a.Locator != b.Locator || !a.Key.Equal(b.Key) || a.Write.Public() != b.Write.Public() {
				t.Fatal("parties derive different mailboxes")
			}
			owner := must(his.Owner(p, initiator, recipient.Base()))
			if owner.Public() != a.Locator.Owner {
				t.Fatal("the recipient does not own its mailbox")
			}
		}
	}
}

// Mailboxes of one conversation and one account share no field and no bytes
// that a storage node could join them by.
func TestMailboxesCannotBeJoined(t *testing.T) {
	w := newWorld(t)
	second := must(NewConversation(newStream("second"), w.now))
	var locators []Locator
	var envelopes [][]byte
	add := func(b Box) {
		locators = append(locators, b.Locator)
		envelopes = append(envelopes, must(SealEnvelope(newStream("same"), b.Key, b.Locator.Address(), &Envelope{Body: []byte("equal")})))
	}
	for _, c := range []*Conversation{w.conv, second} {
		for i := range identity.Period(3) {
			p := c.Period(w.now, true) + i
			add(must(c.Box(p, true, w.bob.Base().Public())))
			add(must(c.Box(p, false, w.bob.Base().Public())))
		}
	}
	for i := range identity.Period(3) {
		locators = append(locators, must(FrontDoor(w.bob.ID().Root, w.period()+i)), must(CardBox(w.bob.ID().Root, w.period()+i)))
	}
	base, root := w.bob.Base().Public(), w.bob.ID().Root
	keys, addresses := map[suite.VerifyKey]int{base: -1, root: -1}, map[Address]int{}
	for i, l := range locators {
		for _, k := range []suite.VerifyKey{l.Owner, l.Shared} {
			// A front door and the card of its period have one owner; that pair
			// is no secret, since both belong to the period's blinded key.
			if j, seen := keys[k]; seen && !(l.Kind == KindCard && locators[j].Kind == KindFrontDoor && j == i-1) {
				t.Errorf("locators %d and %d share a key", j, i)
			}
			keys[k] = i
		}
		if j, seen := addresses[l.Address()]; seen {
			t.Errorf("locators %d and %d share an address", j, i)
		}
		addresses[l.Address()] = i
	}
	// The nonces are equal on purpose here: what is left must still differ.
	for i := range envelopes {
		for j := range i {
			if run := longestRun(envelopes[i][25:], envelopes[j][25:]); run > 4 {
				t.Errorf("envelopes %d and %d share %d bytes in a row", i, j, run)
			}
		}
	}
}

// longestRun is the longest run of equal bytes at equal places.
func longestRun(a, b []byte) int {
	best, run := 0, 0
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			run++
		} else {
			run = 0
		}
		best = max(best, run)
	}
	return best
}

func TestAddressCommitsToEveryField(t *testing.T) {
	l := newWorld(t).box().Locator
	changed := []Locator{l, l, l, l}
	changed[0].Kind, changed[1].Period = KindFrontDoor, l.Period+1
	changed[2].Owner[0] ^= 1
	changed[3].Shared[0] ^= 1
	for i, c := range changed {
		if c.Address() == l.Address() {
			t.Errorf("change %d leaves the address", i)
		}
	}
}

func TestErasedSecretsStayErased(t *testing.T) {
	w := newWorld(t)
	start := w.conv.Oldest()
	old := must(w.conv.Box(start, true, w.bob.Base().Public()))
	before := w.conv.Encode()
	later := w.now.Add((KeepPeriods + 5) * identity.PeriodLength)
	future := must(w.conv.Box(start+20, true, w.bob.Base().Public()))
	if err := w.conv.Advance(later); err != nil {
		t.Fatal(err)
	}
	if w.conv.Oldest() != start+5 {
		t.Fatalf("oldest is %d, want %d", w.conv.Oldest(), start+5)
	}
	for p := start; p < start+5; p++ {
		if _, err := w.conv.Box(p, true, w.bob.Base().Public()); !errors.Is(err, ErrErased) {
			t.Fatalf("period %d: got %v", p, err)
		}
		if _, err := w.conv.Owner(p, true, w.bob.Base()); !errors.Is(err, ErrErased) {
			t.Fatalf("owner of period %d: got %v", p, err)
		}
	}
	if got := must(w.conv.Box(start+20, true, w.bob.Base().Public())); got.Locator != future.Locator {
		t.Fatal("advancing changed a later period")
	}
	// What is left on disk holds neither the old secret nor what it derived;
	// read as a state of the first period it leads elsewhere.
	after := w.conv.Encode()
	if bytes.Contains(after, before[41:73]) {
		t.Fatal("the old secret is still there")
	}
	copy(after[33:41], before[33:41])
	forged := must(ParseConversation(after))
	if must(forged.Box(start, true, w.bob.Base().Public())).Locator == old.Locator {
		t.Fatal("a later secret yields an earlier period")
	}
}

func TestAdvanceKeepsWhatMayStillArrive(t *testing.T) {
	w := newWorld(t)
	for _, initiator := range []bool{true, false} {
		c := must(ParseConversation(w.conv.Encode()))
		start := c.Period(w.now, initiator)
		// The last moment at which an envelope of the first period can wait.
		if err := c.Advance(c.Ends(start, initiator).Add(MaxTTL - time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Box(start, initiator, w.bob.Base().Public()); err != nil {
			t.Fatalf("an envelope that still waits cannot be opened: %v", err)
		}
	}
	if err := w.conv.Advance(w.now.Add(-time.Hour)); err != nil {
		t.Fatalf("clock set back: %v", err)
	}
	if err := w.conv.Advance(w.now.Add(maxSteps * 2 * identity.PeriodLength)); !errors.Is(err, ErrExpired) {
		t.Fatalf("clock run away: got %v", err)
	}
}

// TestPhaseIsTheDirectionsOwn: members that see mailboxes end and others begin
// must not find the two directions of a conversation by their common moment.
func TestPhaseIsTheDirectionsOwn(t *testing.T) {
	w := newWorld(t)
	phases := map[time.Duration]bool{}
	r := newStream("phases")
	for range 20 {
		c := must(NewConversation(r, w.now))
		for _, initiator := range []bool{true, false} {
			p := c.Period(w.now, initiator)
			if p < c.Oldest() {
				t.Fatal("the present is erased from the start")
			}
			if !c.Ends(p, initiator).After(w.now) || c.Ends(p-1, initiator).After(w.now) {
				t.Fatal("now is not in its period")
			}
			if c.Period(c.Ends(p, initiator), initiator) != p+1 || c.Period(c.Ends(p, initiator).Add(-time.Second), initiator) != p {
				t.Fatal("edges of a period")
			}
			phases[c.Ends(p, initiator).Sub(p.End())] = true
		}
		his := must(ConversationFromInvitation(c.Invitation()))
		if his.Ends(1000, false) != c.Ends(1000, false) || his.Ends(1000, true) != c.Ends(1000, true) {
			t.Fatal("the two sides disagree on a phase")
		}
	}
	if len(phases) < 35 {
		t.Fatalf("20 conversations of two directions have %d phases", len(phases))
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	now := max(w.conv.Period(w.now, true), w.conv.Period(w.now, false))
	his, thief := must(ParseConversation(w.conv.Encode())), must(ParseConversation(w.conv.Encode()))
	value := [suite.KeySize]byte{1, 2, 3}
	for _, c := range []*Conversation{w.conv, his} {
		if err := c.Refresh(now+4, [suite.KeySize]byte{9}, w.now); err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(now+2, value, w.now); err != nil {
			t.Fatal(err)
		}
	}
	box := func(c *Conversation, p identity.Period) Locator {
		return must(c.Box(p, true, w.bob.Base().Public())).Locator
	}
	stored := must(ParseConversation(w.conv.Encode()))
	for p := now; p < now+7; p++ {
		if box(w.conv, p) != box(his, p) || box(w.conv, p) != box(stored, p) {
			t.Errorf("period %d: parties differ", p)
		}
		if same := box(w.conv, p) == box(thief, p); same != (p < now+2) {
			t.Errorf("period %d: without the refresh same = %v", p, same)
		}
	}
	want := box(w.conv, now+20)
	if err := w.conv.Advance(w.now.Add((KeepPeriods + 3) * identity.PeriodLength)); err != nil {
		t.Fatal(err)
	}
	if box(w.conv, now+20) != want || len(w.conv.refreshes) != 1 {
		t.Error("advancing past a refresh changed what follows")
	}
	if err := his.Refresh(now, value, w.now); !errors.Is(err, ErrExpired) {
		t.Errorf("current period: got %v", err)
	}
	if err := his.Refresh(now+2, value, w.now); !errors.Is(err, ErrFormat) {
		t.Errorf("second of a period: got %v", err)
	}
	for i := range identity.Period(MaxRefreshes - 2) {
		if err := his.Refresh(now+10+i, value, w.now); err != nil {
			t.Fatal(err)
		}
	}
	if err := his.Refresh(now+100, value, w.now); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many: got %v", err)
	}
}

func TestParseConversationRefuses(t *testing.T) {
	w := newWorld(t)
	enc := w.conv.Encode()
	with := func(i int, v ...byte) []byte {
		b := bytes.Clone(enc)
		copy(b[i:], v)
		return b
	}
	unordered := append(append(bytes.Clone(enc[:len(enc)-1]), 1), make([]byte, 40)...)
	for name, tc := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":               {nil, ErrFormat},
		"version":             {with(0, 2), ErrVersion},
		"cut":                 {enc[:40], ErrFormat},
		"trailing":            {append(bytes.Clone(enc), 0), ErrFormat},
		"period":              {with(33, 0xff), ErrFormat},
		"many refreshes":      {with(len(enc)-1, MaxRefreshes+1), ErrFormat},
		"refreshes unordered": {unordered, ErrFormat},
	} {
		if _, err := ParseConversation(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	if _, err := w.conv.Box(w.conv.Period(w.now, true), true, suite.VerifyKey{1}); !errors.Is(err, identity.ErrKey) {
		t.Errorf("bad base key: got %v", err)
	}
}
