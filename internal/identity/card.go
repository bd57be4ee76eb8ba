package identity

import (
	"fmt"
	"io"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// CardSize is the size of an encoded Card in bytes.
	CardSize = cardBody + suite.SignatureSize
	cardBody = 1 + CertificateSize + SubjectSize + suite.DHSize + suite.KEMPublicSize + suite.VerifyKeySize
	// SealedCardSize is the size of a sealed card: the smallest size class of
	// envelopes, so that a card is stored as it is (spec/mailbox.md §3).
	SealedCardSize = 4096

	cardPadded = SealedCardSize - 1 - suite.NonceSize - suite.TagSize
)

// Card is what strangers need to write to one device of an account during one
// period for the first time (spec/identity.md §4.6).
type Card struct {
	Certificate Certificate
	Subject     Subject
	Prekey      suite.DHPublic
	KEM         suite.KEMPublic
	Base        suite.VerifyKey // the persona's base key, unblinded
	Signature   suite.Signature // by Certificate.Key
}

// Verify checks that the card is root's for period p.
func (c *Card) Verify(root suite.VerifyKey, p Period) error {
	if err := c.Certificate.Verify(root, p); err != nil {
		return err
	}
	if err := c.Certificate.VerifySubject(root, c.Subject); err != nil {
		return err
	}
	if _, err := checkPublic(c.Base); err != nil {
		return fmt.Errorf("base key: %w", err)
	}
	if !c.Certificate.Key.Verify(labelCard, c.body(), c.Signature) {
		return fmt.Errorf("card: %w", ErrSignature)
	}
	return nil
}

func (c *Card) body() []byte {
	b := append(make([]byte, 0, CardSize), version)
	b = append(b, c.Certificate.Encode()...)
	b = c.Subject.append(b)
	b = append(b, c.Prekey[:]...)
	b = append(b, c.KEM[:]...)
	return append(b, c.Base[:]...)
}

// Encode returns the card's CardSize bytes.
func (c *Card) Encode() []byte { return append(c.body(), c.Signature[:]...) }

// ParseCard reads what Encode writes; it verifies nothing.
func ParseCard(b []byte) (*Card, error) {
	r := wire.NewReader(b)
	if err := readVersion(r, "card"); err != nil {
		return nil, err
	}
	cert, err := readCertificate(r)
	if err != nil {
		return nil, err
	}
	c := &Card{Certificate: *cert, Subject: readSubject(r)}
	r.Fixed(c.Prekey[:])
	r.Fixed(c.KEM[:])
	r.Fixed(c.Base[:])
	r.Fixed(c.Signature[:])
	if err := finish(r, "card"); err != nil {
		return nil, err
	}
	return c, nil
}

// SealCard encrypts a card to everyone who knows root, as SealedCardSize bytes.
func SealCard(rand io.Reader, root suite.VerifyKey, p Period, c *Card) ([]byte, error) {
	padded := make([]byte, cardPadded)
	copy(padded, c.Encode())
	sealed, err := suite.SealRandom(rand, cardKey(root, p), padded, []byte{version})
	if err != nil {
		return nil, err
	}
	return append([]byte{version}, sealed...), nil
}

// OpenCard decrypts a sealed card and verifies it as root's for period p.
func OpenCard(root suite.VerifyKey, p Period, sealed []byte) (*Card, error) {
	r := wire.NewReader(sealed)
	if err := readVersion(r, "sealed card"); err != nil {
		return nil, err
	}
	if len(sealed) != SealedCardSize {
		return nil, fmt.Errorf("sealed card of %d bytes, want %d: %w", len(sealed), SealedCardSize, ErrFormat)
	}
	padded, err := suite.OpenRandom(cardKey(root, p), r.Rest(), []byte{version})
	if err != nil {
		return nil, ErrCard
	}
	c, err := ParseCard(padded[:CardSize])
	if err != nil {
		return nil, err
	}
	if err := c.Verify(root, p); err != nil {
		return nil, err
	}
	if !allZero(padded[CardSize:]) {
		return nil, fmt.Errorf("sealed card: padding is not zero: %w", ErrFormat)
	}
	return c, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func cardKey(root suite.VerifyKey, p Period) suite.Key {
	return suite.DeriveKey(root[:], labelCardKey, p.bytes())
}

// CardShared is the key that fetches root's card of period p; everyone who
// knows the account ID derives it.
func CardShared(root suite.VerifyKey, p Period) suite.SigningKey {
	return sharedKey(root, labelCardShared, p)
}

// FrontDoorShared is the key that puts into root's front door in period p.
func FrontDoorShared(root suite.VerifyKey, p Period) suite.SigningKey {
	return sharedKey(root, labelFrontDoorShared, p)
}

// FrontDoorKey encrypts what is put into root's front door in period p, so
// that storage holds nothing but noise; the letter inside has its own secrecy.
func FrontDoorKey(root suite.VerifyKey, p Period) suite.Key {
	return suite.DeriveKey(root[:], labelFrontDoorKey, p.bytes())
}

func sharedKey(root suite.VerifyKey, label suite.Label, p Period) suite.SigningKey {
	k, err := suite.SigningKeyFrom(suite.Derive(root[:], label, suite.SigningSeedSize, p.bytes()))
	if err != nil {
		panic("identity: sharedKey: " + err.Error()) // the seed has the right size
	}
	return k
}
