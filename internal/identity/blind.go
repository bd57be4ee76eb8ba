package identity

import (
	"crypto/sha512"
	"fmt"
	"io"

	"filippo.io/edwards25519"

	"sotto/internal/suite"
)

// BlindableKey is an Ed25519 key whose public half others can blind without
// its secret (spec/identity.md §5.2). The zero value is unusable.
type BlindableKey struct {
	_      [0]func()
	scalar *edwards25519.Scalar
	prefix [32]byte
	public suite.VerifyKey
}

// newBlindableKey expands a 32-byte seed as RFC 8032 §5.1.5 does.
func newBlindableKey(seed []byte) *BlindableKey {
	h := sha512.Sum512(seed)
	defer clear(h[:])
	s, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		panic("identity: newBlindableKey: " + err.Error()) // 32 bytes always fit
	}
	k := &BlindableKey{scalar: s, public: publicOf(s)}
	copy(k.prefix[:], h[32:])
	return k
}

func publicOf(s *edwards25519.Scalar) suite.VerifyKey {
	return suite.VerifyKey(edwards25519.NewIdentityPoint().ScalarBaseMult(s).Bytes())
}

// Public returns the key's public half.
func (k *BlindableKey) Public() suite.VerifyKey { return k.public }

// Blind returns the key blinded for label and tweak. Whoever holds a blinded
// secret and the unblinded public key can compute the unblinded secret: it
// never leaves the device that holds k.
func (k *BlindableKey) Blind(label suite.Label, tweak []byte) (*BlindedKey, error) {
	factor := blindingFactor(k.public, label, tweak)
	if isZero(factor) {
		return nil, ErrKey
	}
	b := &BlindedKey{scalar: edwards25519.NewScalar().Multiply(factor, k.scalar)}
	copy(b.prefix[:], suite.Derive(k.prefix[:], labelBlindSecret, len(b.prefix), []byte(label), tweak))
	b.public = publicOf(b.scalar)
	return b, nil
}

// String hides the key from formatted output.
func (BlindableKey) String() string { return "[blindable key]" }

// Format hides the key from every verb.
func (BlindableKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[blindable key]") }

// BlindedKey signs for one label and tweak; its signatures verify as plain
// Ed25519 under Public.
type BlindedKey struct {
	_      [0]func()
	scalar *edwards25519.Scalar
	prefix [32]byte
	public suite.VerifyKey
}

var _ suite.Signer = (*BlindedKey)(nil)

// Public returns the blinded public key.
func (k *BlindedKey) Public() suite.VerifyKey { return k.public }

// Sign signs as RFC 8032 §5.1.6 does, over suite.SignedBytes(label, message).
func (k *BlindedKey) Sign(label suite.Label, message []byte) suite.Signature {
	m := suite.SignedBytes(label, message)
	r := hashToScalar(k.prefix[:], m)
	R := edwards25519.NewIdentityPoint().ScalarBaseMult(r).Bytes()
	h := hashToScalar(R, k.public[:], m)
	s := edwards25519.NewScalar().MultiplyAdd(h, k.scalar, r)
	var sig suite.Signature
	copy(sig[:32], R)
	copy(sig[32:], s.Bytes())
	return sig
}

// String hides the key from formatted output.
func (BlindedKey) String() string { return "[blinded key]" }

// Format hides the key from every verb.
func (BlindedKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[blinded key]") }

// BlindPublic returns the public key that Blind's key has, from pub alone. It
// refuses with ErrKey a pub that is not canonical or has a torsion part: two
// such keys could blind to the same address (spec/identity.md §5.2).
func BlindPublic(pub suite.VerifyKey, label suite.Label, tweak []byte) (suite.VerifyKey, error) {
	p, err := checkPublic(pub)
	if err != nil {
		return suite.VerifyKey{}, err
	}
	factor := blindingFactor(pub, label, tweak)
	if isZero(factor) {
		return suite.VerifyKey{}, ErrKey
	}
	return suite.VerifyKey(p.ScalarMult(factor, p).Bytes()), nil
}

// PeriodBlinded returns the key of root for period p, which certifies period
// keys and owns the period's front door and card mailbox.
func PeriodBlinded(root *BlindableKey, p Period) (*BlindedKey, error) {
	return root.Blind(labelPeriod, p.bytes())
}

// PeriodBlindedPublic returns PeriodBlinded's public key from the root's.
func PeriodBlindedPublic(root suite.VerifyKey, p Period) (suite.VerifyKey, error) {
	return BlindPublic(root, labelPeriod, p.bytes())
}

// checkPublic decodes pub and refuses what is not the canonical encoding of a
// point of prime order.
func checkPublic(pub suite.VerifyKey) (*edwards25519.Point, error) {
	p, err := edwards25519.NewIdentityPoint().SetBytes(pub[:])
	if err != nil {
		return nil, fmt.Errorf("%w: not on the curve", ErrKey)
	}
	if suite.VerifyKey(p.Bytes()) != pub {
		return nil, fmt.Errorf("%w: not canonical", ErrKey)
	}
	identity := edwards25519.NewIdentityPoint()
	if p.Equal(identity) == 1 {
		return nil, fmt.Errorf("%w: of low order", ErrKey)
	}
	// l·P = (l-1)·P + P is the identity only without a torsion part.
	q := edwards25519.NewIdentityPoint().VarTimeMultiScalarMult(
		[]*edwards25519.Scalar{minusOne}, []*edwards25519.Point{p})
	if q.Add(q, p).Equal(identity) != 1 {
		return nil, fmt.Errorf("%w: not of prime order", ErrKey)
	}
	return p, nil
}

var minusOne = func() *edwards25519.Scalar {
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic("identity: minusOne: " + err.Error()) // the encoding of 1 is canonical
	}
	return one.Negate(one)
}()

// blindingFactor is a scalar that depends on the unblinded public key, so that
// nobody without that key can relate two blinded ones.
func blindingFactor(pub suite.VerifyKey, label suite.Label, tweak []byte) *edwards25519.Scalar {
	return uniformScalar(suite.Derive(pub[:], label, 64, tweak))
}

func hashToScalar(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return uniformScalar(h.Sum(nil))
}

func uniformScalar(b []byte) *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetUniformBytes(b)
	if err != nil {
		panic("identity: uniformScalar: " + err.Error()) // b always has 64 bytes
	}
	return s
}

func isZero(s *edwards25519.Scalar) bool {
	return s.Equal(edwards25519.NewScalar()) == 1
}
