package identity

import (
	"errors"
	"strings"
	"testing"

	"sotto/internal/suite"
)

// Strings of BIP-350's list of valid Bech32m.
func TestBech32mKnownAnswers(t *testing.T) {
	for _, s := range []string{
		"a1lqfn3a",
		"an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
		"abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
		"split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
	} {
		i := strings.LastIndexByte(s, '1')
		data, err := bech32Decode(s[:i], s[i+1:])
		if err != nil {
			// These two strings carry 5-bit groups that are no whole bytes.
			if !errors.Is(err, errPadding) {
				t.Errorf("%s: %v", s, err)
			}
			continue
		}
		if got := bech32Encode(s[:i], data); got != s {
			t.Errorf("got %s, want %s", got, s)
		}
	}
	for _, s := range []string{"a1lqfn3q", "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4"[1:]} {
		i := strings.LastIndexByte(s, '1')
		if _, err := bech32Decode(s[:i], s[i+1:]); !errors.Is(err, errChecksum) {
			t.Errorf("%s: got %v", s, err)
		}
	}
}

func TestAccountID(t *testing.T) {
	id := testPersona("a").ID()
	s := id.String()
	if len(s) != AccountIDLength || !strings.HasPrefix(s, "sotto1") {
		t.Fatalf("%q has %d characters", s, len(s))
	}
	for _, in := range []string{s, strings.ToUpper(s), "  " + s + "\n"} {
		if got, err := ParseAccountID(in); err != nil || got != id {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	version2 := bech32Encode(accountPrefix, append([]byte{2}, id.Root[:]...))
	lowOrder := AccountID{Root: suite.VerifyKey{1}}.String()
	tests := map[string]struct {
		in   string
		want error
		says string
	}{
		"empty":           {"", ErrAccountID, "does not begin"},
		"another thing":   {"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", ErrAccountID, "does not begin"},
		"prefix only":     {"sotto1", ErrAccountID, "too short"},
		"cut":             {s[:40], ErrAccountID, "too short"},
		"lengthened":      {s + "q", ErrAccountID, "too long"},
		"mixed case":      {s[:30] + strings.ToUpper(s[30:]), ErrAccountID, "capital"},
		"bad character":   {s[:30] + "b" + s[31:], ErrAccountID, "no ID has"},
		"not ASCII":       {s[:30] + "é" + s[32:], ErrAccountID, "no ID has"},
		"typo":            {s[:30] + other(s[30]) + s[31:], ErrAccountID, "checksum"},
		"other version":   {version2, ErrVersion, "2"},
		"root not usable": {lowOrder, ErrAccountID, "low order"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseAccountID(tc.in)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v, want %v that says %q", err, tc.want, tc.says)
			}
		})
	}
}

// other returns another character of the alphabet.
func other(c byte) string {
	i := strings.IndexByte(bech32Charset, c)
	return string(bech32Charset[(i+1)%32])
}

func TestAccountIDFindsEveryTypo(t *testing.T) {
	s := testPersona("a").ID().String()
	for i := len("sotto1"); i < len(s); i++ {
		if _, err := ParseAccountID(s[:i] + other(s[i]) + s[i+1:]); !errors.Is(err, ErrAccountID) {
			t.Fatalf("character %d: got %v", i, err)
		}
	}
}

func TestPhrase(t *testing.T) {
	zero := must(SeedFromBytes(make([]byte, SeedSize)))
	if got, want := zero.Phrase(), strings.Repeat("abandon ", 23)+"art"; got != want {
		t.Fatalf("got %q, want BIP-39's %q", got, want)
	}
	seed := must(NewSeed(newStream("a")))
	phrase := seed.Phrase()
	for _, in := range []string{phrase, strings.ToUpper(phrase), "\n " + strings.ReplaceAll(phrase, " ", " \t\n ") + " "} {
		if got, err := SeedFromPhrase(in); err != nil || string(got.Bytes()) != string(seed.Bytes()) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestPhraseErrorsHelp(t *testing.T) {
	words := strings.Fields(must(NewSeed(newStream("a"))).Phrase())
	with := func(i int, w string) string {
		out := append([]string(nil), words...)
		out[i] = w
		return strings.Join(out, " ")
	}
	tests := map[string]struct {
		in       string
		position int
		suggest  string
	}{
		"typo":               {with(6, "abandom"), 7, "abandon"},
		"swapped letters":    {with(0, "abiltiy"), 1, "ability"},
		"only the beginning": {with(23, "elephan"), 24, "elephant"},
		"nonsense is bounded": {
			with(3, strings.Repeat("x", 2000)), 4, "",
		},
		"a word too few":    {strings.Join(words[:23], " "), 0, ""},
		"a word too many":   {strings.Join(words, " ") + " zoo", 0, ""},
		"empty":             {"", 0, ""},
		"checksum":          {with(0, pick(words[0])), 0, ""},
		"far too long":      {strings.Repeat("abandon ", 1000), 0, ""},
		"word not of ASCII": {with(1, "été"), 2, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := SeedFromPhrase(tc.in)
			var pe *PhraseError
			if !errors.As(err, &pe) || !errors.Is(err, ErrPhrase) {
				t.Fatalf("got %v, want a PhraseError", err)
			}
			if pe.Position != tc.position {
				t.Errorf("position %d, want %d: %v", pe.Position, tc.position, err)
			}
			if tc.suggest != "" && pe.Suggestion != tc.suggest {
				t.Errorf("suggests %q, want %q", pe.Suggestion, tc.suggest)
			}
		})
	}
}

// pick returns a word of the list that is not w.
func pick(w string) string {
	if w == "zoo" {
		return "zone"
	}
	return "zoo"
}
