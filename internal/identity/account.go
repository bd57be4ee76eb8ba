package identity

import (
	"fmt"
	"strings"

	"sotto/internal/suite"
)

const (
	accountPrefix  = "sotto"
	accountPayload = 1 + suite.VerifyKeySize

	// AccountIDLength is the number of characters of an account ID: the prefix
	// and "1", 33 bytes in characters of 5 bits, and 6 of checksum.
	AccountIDLength = len(accountPrefix) + 1 + (accountPayload*8+4)/5 + bech32Checksum
)

// AccountID names an account by the root key of the persona that it shows.
type AccountID struct{ Root suite.VerifyKey }

// String returns the ID in bech32m (spec/identity.md §4.2).
func (a AccountID) String() string {
	return bech32Encode(accountPrefix, append([]byte{version}, a.Root[:]...))
}

// ParseAccountID reads an account ID, in small or capital letters and with
// space around it. Its errors wrap ErrAccountID, or ErrVersion for an ID of
// another version, and tell a person what is wrong.
func ParseAccountID(s string) (AccountID, error) {
	s = strings.TrimSpace(s)
	if len(s) <= len(accountPrefix) || !strings.EqualFold(s[:len(accountPrefix)+1], accountPrefix+"1") {
		return AccountID{}, fmt.Errorf("%w: it does not begin with %q", ErrAccountID, accountPrefix+"1")
	}
	if len(s) < AccountIDLength {
		return AccountID{}, fmt.Errorf("%w: it is too short: %d characters of %d", ErrAccountID, len(s), AccountIDLength)
	}
	if len(s) > AccountIDLength {
		return AccountID{}, fmt.Errorf("%w: it is too long: %d characters, not %d", ErrAccountID, len(s), AccountIDLength)
	}
	if strings.ToLower(s) != s && strings.ToUpper(s) != s {
		return AccountID{}, fmt.Errorf("%w: %w", ErrAccountID, errMixedCase)
	}
	payload, err := bech32Decode(accountPrefix, s[len(accountPrefix)+1:])
	if err != nil {
		return AccountID{}, fmt.Errorf("%w: %w", ErrAccountID, err)
	}
	if payload[0] != version {
		return AccountID{}, fmt.Errorf("account ID: %w %d: it needs a newer program", ErrVersion, payload[0])
	}
	a := AccountID{Root: suite.VerifyKey(payload[1:])}
	if _, err := checkPublic(a.Root); err != nil {
		return AccountID{}, fmt.Errorf("%w: %w", ErrAccountID, err)
	}
	return a, nil
}
