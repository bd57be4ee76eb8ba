package main

import (
	"strings"
	"unicode"
)

// printable replaces what could steer a terminal (control characters, and the
// marks that reorder text) in words that came from outside; line breaks stay,
// indented.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return '·'
		}
		return r
	}, s)
	return strings.ReplaceAll(s, "\n", "\n  ")
}
