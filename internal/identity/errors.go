package identity

import "errors"

var (
	// ErrKey is returned for a public key that is not the canonical encoding
	// of a point of the prime-order group.
	ErrKey = errors.New("identity: not a usable public key")
	// ErrVersion is returned for an encoding of another version.
	ErrVersion = errors.New("identity: unknown version")
	// ErrFormat is returned for an encoding that is cut, too long or malformed.
	ErrFormat = errors.New("identity: malformed encoding")
	// ErrPeriod is returned when something valid belongs to another period.
	ErrPeriod = errors.New("identity: of another period")
	// ErrForeign is returned when something belongs to another root.
	ErrForeign = errors.New("identity: of another account")
	// ErrSignature is returned for a signature that does not verify.
	ErrSignature = errors.New("identity: bad signature")
	// ErrCard is returned for a sealed card that does not open.
	ErrCard = errors.New("identity: card does not open")
	// ErrSeed is returned for a seed of the wrong size.
	ErrSeed = errors.New("identity: not a seed")
	// ErrPhrase is returned, inside a PhraseError, for a wrong phrase.
	ErrPhrase = errors.New("identity: not a recovery phrase")
	// ErrAccountID is returned for text that is no account ID.
	ErrAccountID = errors.New("identity: not an account ID")
)
