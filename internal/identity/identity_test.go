package identity

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sotto/internal/suite"
)

// stream is deterministic randomness.
type stream struct {
	seed, rest []byte
	n          byte
}

func newStream(seed string) *stream { return &stream{seed: []byte(seed)} }

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.rest) == 0 {
			s.rest = suite.Derive(s.seed, suite.LabelPrefix+"test/stream", 4096, []byte{s.n})
			s.n++
		}
		p[i], s.rest = s.rest[0], s.rest[1:]
	}
	return len(p), nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const (
	testLabel  suite.Label = suite.LabelPrefix + "test"
	testPeriod             = Period(10_250)
)

func testPersona(seed string) *Persona { return must(NewSeed(newStream(seed))).Persona(0) }

func testSecrets(seed string, p Period) *PeriodSecrets {
	who := testPersona(seed)
	return must(NewPeriodSecrets(newStream(fmt.Sprint("secrets ", seed, p)), who.Root(), DeviceID{1, 2}, who.Identity().Public(), 3, p))
}

func TestPeriods(t *testing.T) {
	at := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	p := PeriodAt(at)
	if p.Start().After(at) || !p.End().After(at) || p.End().Sub(p.Start()) != PeriodLength {
		t.Fatalf("period %d from %v to %v does not hold %v", p, p.Start(), p.End(), at)
	}
	if PeriodAt(p.End()) != p+1 || PeriodAt(p.End().Add(-time.Second)) != p || PeriodAt(time.Unix(-5, 0)) != 0 {
		t.Fatal("edges of a period")
	}
}

func TestNodeID(t *testing.T) {
	n := NodeID{0xab, 1}
	if got, err := ParseNodeID(n.String()); err != nil || got != n {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", strings.Repeat("g", 64), n.String() + "0"} {
		if _, err := ParseNodeID(bad); !errors.Is(err, ErrNodeID) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestPersonasShareNothing(t *testing.T) {
	s := must(NewSeed(newStream("a")))
	a, b := s.Persona(0), s.Persona(1)
	if a.ID() == b.ID() || a.Base().Public() == b.Base().Public() || a.Identity().Public() == b.Identity().Public() {
		t.Fatal("two personas share a key")
	}
	if a.Root().Public() == a.Base().Public() {
		t.Fatal("root and base are one key")
	}
	if s.Persona(0).ID() != a.ID() {
		t.Fatal("a persona is not the same twice")
	}
}

func TestBlindedSignaturesArePlainEd25519(t *testing.T) {
	k := testPersona("a").Root()
	for _, tweak := range []string{"", "1", strings.Repeat("long", 100)} {
		b := must(k.Blind(testLabel, []byte(tweak)))
		pub := must(BlindPublic(k.Public(), testLabel, []byte(tweak)))
		if b.Public() != pub {
			t.Fatal("secret and public halves blind to different keys")
		}
		sig := b.Sign(testLabel, []byte("message"))
		if !pub.Verify(testLabel, []byte("message"), sig) {
			t.Fatal("signature does not verify")
		}
		if pub.Verify(testLabel, []byte("other"), sig) || pub.Verify(testLabel+"2", []byte("message"), sig) || k.Public().Verify(testLabel, []byte("message"), sig) {
			t.Fatal("signature verifies for something else")
		}
		if sig != b.Sign(testLabel, []byte("message")) {
			t.Fatal("signatures are not deterministic")
		}
	}
}

// The blinded keys of two periods are unrelated, and each needs the root: from
// the blinded key of one, blinding again does not lead to the next.
func TestPeriodsAreUnlinkable(t *testing.T) {
	root := testPersona("a").Root()
	a, b := must(PeriodBlinded(root, 5)), must(PeriodBlinded(root, 6))
	if a.Public() == b.Public() || a.Public() == root.Public() {
		t.Fatal("periods share a key")
	}
	if got := must(PeriodBlindedPublic(a.Public(), 6)); got == b.Public() {
		t.Fatal("the next period's key follows from this one's")
	}
	sig := a.Sign(testLabel, []byte("m"))
	if b.Public().Verify(testLabel, []byte("m"), sig) {
		t.Fatal("a signature of one period serves for the next")
	}
	if a.Public() == must(BlindPublic(root.Public(), testLabel, Period(5).bytes())) {
		t.Fatal("two labels blind alike")
	}
	// Nonces of two blinded keys must not repeat for one message.
	if s := b.Sign(testLabel, []byte("m")); bytes.Equal(s[:32], sig[:32]) {
		t.Fatal("two blinded keys use one nonce")
	}
}

func TestCertificateShowsNodesNothingThatLasts(t *testing.T) {
	a, b := testSecrets("a", 5), testSecrets("a", 6)
	who := testPersona("a")
	id := who.Identity().Public()
	root := who.ID().Root
	for _, lasting := range [][]byte{a.Subject.Device[:], id[:], root[:]} {
		if bytes.Contains(a.Certificate.Encode(), lasting) {
			t.Fatalf("certificate holds %x", lasting)
		}
	}
	ca, cb := a.Certificate, b.Certificate
	if ca.Subject == cb.Subject || ca.Removal == cb.Removal || ca.Key == cb.Key || ca.Blinded == cb.Blinded {
		t.Fatal("certificates of two periods share a field")
	}
	if ca.Removals(root) != 3 || cb.Removals(root) != 3 {
		t.Fatal("those who know the root cannot read the removal counter")
	}
}

func TestCardAndCertificateRefuse(t *testing.T) {
	who, other := testPersona("a"), testPersona("b")
	root := who.ID().Root
	card := func() *Card { return testSecrets("a", testPeriod).Card(who.Base().Public()) }
	if err := card().Verify(root, testPeriod); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*Card)
		root   suite.VerifyKey
		period Period
		want   error
	}{
		"other root":         {nil, other.ID().Root, testPeriod, ErrForeign},
		"other period":       {nil, root, testPeriod + 1, ErrPeriod},
		"period claimed":     {func(c *Card) { c.Certificate.Period++ }, root, testPeriod + 1, ErrForeign},
		"removal changed":    {func(c *Card) { c.Certificate.Removal++ }, root, testPeriod, ErrSignature},
		"period key changed": {func(c *Card) { c.Certificate.Key[0] ^= 1 }, root, testPeriod, ErrSignature},
		"other device":       {func(c *Card) { c.Subject.Device[0] ^= 1 }, root, testPeriod, ErrForeign},
		"other identity":     {func(c *Card) { c.Subject.Identity[0] ^= 1 }, root, testPeriod, ErrForeign},
		"prekey changed":     {func(c *Card) { c.Prekey[0] ^= 1 }, root, testPeriod, ErrSignature},
		"KEM key changed":    {func(c *Card) { c.KEM[0] ^= 1 }, root, testPeriod, ErrSignature},
		"base key changed":   {func(c *Card) { c.Base = other.Base().Public() }, root, testPeriod, ErrSignature},
		"base of low order":  {func(c *Card) { c.Base = suite.VerifyKey{1} }, root, testPeriod, ErrKey},
		"root of low order":  {nil, suite.VerifyKey{1}, testPeriod, ErrKey},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := card()
			if tc.change != nil {
				tc.change(c)
			}
			if err := c.Verify(tc.root, tc.period); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestSealedCard(t *testing.T) {
	who, other := testPersona("a"), testPersona("b")
	root := who.ID().Root
	card := testSecrets("a", testPeriod).Card(who.Base().Public())
	sealed := must(SealCard(newStream("n"), root, testPeriod, card))
	if len(sealed) != SealedCardSize {
		t.Fatalf("%d bytes", len(sealed))
	}
	if got := must(OpenCard(root, testPeriod, sealed)); *got != *card {
		t.Fatal("another card came back")
	}
	if bytes.Contains(sealed, root[:]) || bytes.Contains(sealed, card.Prekey[:]) {
		t.Fatal("sealed card shows a key")
	}
	if _, err := OpenCard(other.ID().Root, testPeriod, sealed); !errors.Is(err, ErrCard) {
		t.Errorf("other root: got %v", err)
	}
	if _, err := OpenCard(root, testPeriod+1, sealed); !errors.Is(err, ErrCard) {
		t.Errorf("other period: got %v", err)
	}
	if _, err := OpenCard(root, testPeriod, sealed[:4000]); !errors.Is(err, ErrFormat) {
		t.Errorf("cut: got %v", err)
	}
	if _, err := OpenCard(root, testPeriod, append([]byte{2}, sealed[1:]...)); !errors.Is(err, ErrVersion) {
		t.Errorf("version: got %v", err)
	}
	// Somebody who knows the root can seal, but not sign: a card of another
	// account under this one's key is refused.
	foreign := must(SealCard(newStream("n"), root, testPeriod, testSecrets("b", testPeriod).Card(other.Base().Public())))
	if _, err := OpenCard(root, testPeriod, foreign); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign card: got %v", err)
	}
}

func TestSharedKeysDifferByPeriodAndUse(t *testing.T) {
	root := testPersona("a").ID().Root
	seen := map[suite.VerifyKey]bool{}
	for p := testPeriod; p < testPeriod+3; p++ {
		seen[FrontDoorShared(root, p).Public()] = true
		seen[CardShared(root, p).Public()] = true
	}
	if len(seen) != 6 || FrontDoorKey(root, 1).Equal(FrontDoorKey(root, 2)) {
		t.Fatal("keys of two periods or uses are equal")
	}
}

func TestPeriodSecretsSurviveStoring(t *testing.T) {
	s := testSecrets("a", testPeriod)
	got := must(ParsePeriodSecrets(s.Encode()))
	base := testPersona("a").Base().Public()
	if *got.Card(base) != *s.Card(base) {
		t.Fatal("stored secrets make another card")
	}
	swapped := testSecrets("b", testPeriod)
	swapped.Certificate = s.Certificate
	if _, err := ParsePeriodSecrets(swapped.Encode()); !errors.Is(err, ErrFormat) {
		t.Fatalf("key of another certificate: got %v", err)
	}
	if _, err := NewPeriodSecrets(newStream("x"), testPersona("a").Root(), DeviceID{}, suite.DHPublic{}, MaxRemovals+1, 1); !errors.Is(err, ErrFormat) {
		t.Fatalf("removal counter out of range: got %v", err)
	}
}

func TestIntroduction(t *testing.T) {
	who, other := testPersona("a"), testPersona("b")
	intro := func() *Introduction {
		return testSecrets("a", testPeriod).Introduce(who.ID().Root, who.Base().Public())
	}
	now := testPeriod.Start().Add(time.Hour)
	if got := must(ParseIntroduction(intro().Encode())); *got != *intro() {
		t.Fatal("another introduction came back")
	}
	late := now.Add(IntroductionPeriods * PeriodLength)
	for _, at := range []time.Time{now, late, now.Add(-PeriodLength)} {
		if err := intro().Verify(at); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}
	tests := map[string]struct {
		change func(*Introduction)
		now    time.Time
		want   error
	}{
		"too late":       {func(*Introduction) {}, late.Add(PeriodLength), ErrPeriod},
		"too early":      {func(*Introduction) {}, now.Add(-2 * PeriodLength), ErrPeriod},
		"other root":     {func(i *Introduction) { i.Root = other.ID().Root }, now, ErrForeign},
		"other identity": {func(i *Introduction) { i.Subject.Identity[3] ^= 1 }, now, ErrForeign},
		"bad base":       {func(i *Introduction) { i.Base = suite.VerifyKey{} }, now, ErrKey},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			i := intro()
			tc.change(i)
			if err := i.Verify(tc.now); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// Every cut and every lengthening of every encoding is refused.
func TestParsersRefuseOtherLengths(t *testing.T) {
	s := testSecrets("a", testPeriod)
	who := testPersona("a")
	tests := map[string]struct {
		enc   []byte
		parse func([]byte) error
	}{
		"certificate": {s.Certificate.Encode(), func(b []byte) error { _, err := ParseCertificate(b); return err }},
		"card":        {s.Card(who.Base().Public()).Encode(), func(b []byte) error { _, err := ParseCard(b); return err }},
		"secrets":     {s.Encode(), func(b []byte) error { _, err := ParsePeriodSecrets(b); return err }},
		"introduction": {s.Introduce(who.ID().Root, who.Base().Public()).Encode(), func(b []byte) error {
			_, err := ParseIntroduction(b)
			return err
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tc.parse(tc.enc); err != nil {
				t.Fatal(err)
			}
			for n := range len(tc.enc) {
				if err := tc.parse(tc.enc[:n]); !errors.Is(err, ErrFormat) {
					t.Fatalf("cut to %d: got %v", n, err)
				}
			}
			if err := tc.parse(append(bytes.Clone(tc.enc), 0)); !errors.Is(err, ErrFormat) {
				t.Fatalf("one byte more: got %v", err)
			}
			if err := tc.parse(append([]byte{9}, tc.enc[1:]...)); !errors.Is(err, ErrVersion) {
				t.Fatalf("other version: got %v", err)
			}
		})
	}
}

func TestSecretsDoNotFormat(t *testing.T) {
	seed, err := SeedFromBytes(bytes.Repeat([]byte{0xab}, SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	who := seed.Persona(0)
	blinded := must(PeriodBlinded(who.Root(), 1))
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		out := fmt.Sprintf(strings.Repeat(format+" ", 4), seed, who.Root(), blinded, testSecrets("a", 1))
		if strings.Contains(out, "abab") || strings.Contains(out, "171 171") || strings.Contains(out, "0xab") || len(out) > 100 {
			t.Errorf("%s shows secrets: %s", format, out)
		}
	}
}

func BenchmarkPeriodBlindedPublic(b *testing.B) {
	root := testPersona("a").ID().Root
	for b.Loop() {
		if _, err := PeriodBlindedPublic(root, testPeriod); err != nil {
			b.Fatal(err)
		}
	}
}
