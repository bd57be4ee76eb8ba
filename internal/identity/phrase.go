package identity

import (
	"fmt"
	"strings"

	"github.com/tyler-smith/go-bip39"
)

const (
	// PhraseWords is the number of words of a recovery phrase.
	PhraseWords = 24
	// maxPhrase bounds the text that is looked at: 24 words of 8 letters, and
	// generous space.
	maxPhrase = 4096
)

// PhraseError says what is wrong with a phrase. It wraps ErrPhrase. Position
// counts from 1 and is 0 when no single word is to blame; Word is the person's
// own input, for showing it to them, and is never in the error's text.
type PhraseError struct {
	Position   int
	Word       string
	Suggestion string
	reason     string
}

// Error says what is wrong without repeating a word of the phrase that may be
// right; the suggestion is derived from a word that is not.
func (e *PhraseError) Error() string { return ErrPhrase.Error() + ": " + e.reason }

// Unwrap returns ErrPhrase.
func (e *PhraseError) Unwrap() error { return ErrPhrase }

// Phrase returns the seed's 24 words (BIP-39, English).
func (s Seed) Phrase() string {
	p, err := bip39.NewMnemonic(s.b[:])
	if err != nil {
		panic("identity: Phrase: " + err.Error()) // 256 bits are always allowed
	}
	return p
}

// SeedFromPhrase reads a phrase, in any case and with any space between its
// words. A wrong one is a *PhraseError.
func SeedFromPhrase(phrase string) (Seed, error) {
	if len(phrase) > maxPhrase {
		return Seed{}, &PhraseError{reason: "it is far too long"}
	}
	words := strings.Fields(strings.ToLower(phrase))
	for i, w := range words {
		if _, ok := bip39.GetWordIndex(w); !ok {
			near := nearestWord(w)
			return Seed{}, &PhraseError{
				Position: i + 1, Word: w, Suggestion: near,
				reason: fmt.Sprintf("word %d is not in the list; did you mean %q?", i+1, near),
			}
		}
	}
	if len(words) != PhraseWords {
		return Seed{}, &PhraseError{reason: fmt.Sprintf("it has %d words, not %d", len(words), PhraseWords)}
	}
	entropy, err := bip39.EntropyFromMnemonic(strings.Join(words, " "))
	if err != nil {
		return Seed{}, &PhraseError{reason: "the words do not fit together: one is wrong, or two are swapped"}
	}
	return SeedFromBytes(entropy)
}

const (
	// maxListed is the length of the list's longest word.
	maxListed = 8
	// maxCompared is how much of a wrong word is compared with the list.
	maxCompared = 2 * maxListed
)

// nearestWord returns the word of the list with the least edit distance to w,
// and of several the one that shares the longest beginning.
func nearestWord(w string) string {
	w = w[:min(len(w), maxCompared)]
	best, bestDistance, bestPrefix := "", maxCompared+1, 0
	for _, word := range bip39.GetWordList() {
		d, p := editDistance(w, word), commonPrefix(w, word)
		if d < bestDistance || d == bestDistance && p > bestPrefix {
			best, bestDistance, bestPrefix = word, d, p
		}
	}
	return best
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours between a, of at most maxCompared bytes, and b of the list.
func editDistance(a, b string) int {
	var rows [maxCompared + 1][maxListed + 1]int
	for i := range rows {
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
