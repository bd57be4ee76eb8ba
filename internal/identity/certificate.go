package identity

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	version = 1

	// DeviceIDSize is the size of a DeviceID in bytes.
	DeviceIDSize = 16
	// SubjectSize is the size of an encoded Subject in bytes.
	SubjectSize = DeviceIDSize + suite.DHSize
	// CertificateSize is the size of an encoded Certificate in bytes.
	CertificateSize = certificateBody + suite.SignatureSize
	certificateBody = 1 + 8 + 2*suite.VerifyKeySize + 4 + suite.HashSize

	// MaxRemovals bounds the removal counter, so that adding a mask of as many
	// bits cannot overflow 32.
	MaxRemovals = 1<<31 - 1
)

// DeviceID names one device of an account, to those who know the account.
type DeviceID [DeviceIDSize]byte

// String returns the ID in hex.
func (d DeviceID) String() string { return hex.EncodeToString(d[:]) }

// Subject is what a certificate vouches for beside its period key. It stays
// the same from period to period, so a certificate holds only its digest, and
// storage nodes never see it.
type Subject struct {
	Device   DeviceID
	Identity suite.DHPublic // the device's X25519 identity key
}

func (s Subject) append(b []byte) []byte {
	return append(append(b, s.Device[:]...), s.Identity[:]...)
}

func readSubject(r *wire.Reader) (s Subject) {
	r.Fixed(s.Device[:])
	r.Fixed(s.Identity[:])
	return s
}

func (s Subject) digest(root suite.VerifyKey, p Period) [suite.HashSize]byte {
	return suite.Hash(labelSubject, root[:], p.bytes(), s.append(nil))
}

// Certificate lets a device act for an account during one period: the period's
// blinded root key signs the device's period key (spec/identity.md §4.4).
// Storage nodes see it. Nothing in it tells the account or the device from
// another, nor one period from the next, to those who do not know the root.
type Certificate struct {
	Period    Period
	Blinded   suite.VerifyKey // the root key, blinded for Period
	Removal   uint32          // the removal counter, masked for Period (Removals)
	Key       suite.VerifyKey // the device's period key
	Subject   [suite.HashSize]byte
	Signature suite.Signature // by Blinded
}

// certify returns root's certificate for a device's period key.
func certify(root *BlindableKey, p Period, key suite.VerifyKey, s Subject, removal uint32) (*Certificate, error) {
	if removal > MaxRemovals {
		return nil, fmt.Errorf("%w: removal counter above %d", ErrFormat, MaxRemovals)
	}
	blinded, err := PeriodBlinded(root, p)
	if err != nil {
		return nil, err
	}
	c := &Certificate{
		Period:  p,
		Blinded: blinded.Public(),
		Removal: removal + removalMask(root.public, p),
		Key:     key,
		Subject: s.digest(root.public, p),
	}
	c.Signature = blinded.Sign(labelCertificate, c.body())
	return c, nil
}

// removalMask hides from storage nodes how many devices an account removed,
// which would join its periods; within a period it keeps the order.
func removalMask(root suite.VerifyKey, p Period) uint32 {
	return binary.BigEndian.Uint32(suite.Derive(root[:], labelRemoval, 4, p.bytes())) & MaxRemovals
}

// Removals returns the removal counter, for those who know the root.
func (c *Certificate) Removals(root suite.VerifyKey) uint32 {
	return c.Removal - removalMask(root, c.Period)
}

// VerifyBlinded checks the certificate as a storage node can: that it is
// Blinded's, for period p.
func (c *Certificate) VerifyBlinded(p Period) error {
	if c.Period != p {
		return ErrPeriod
	}
	if !c.Blinded.Verify(labelCertificate, c.body(), c.Signature) {
		return fmt.Errorf("certificate: %w", ErrSignature)
	}
	return nil
}

// Verify checks that the certificate is root's for period p.
func (c *Certificate) Verify(root suite.VerifyKey, p Period) error {
	if c.Period != p {
		return ErrPeriod
	}
	blinded, err := PeriodBlindedPublic(root, p)
	if err != nil {
		return err
	}
	if c.Blinded != blinded {
		return ErrForeign
	}
	return c.VerifyBlinded(p)
}

// VerifySubject checks that the certificate vouches for s, as root's.
func (c *Certificate) VerifySubject(root suite.VerifyKey, s Subject) error {
	if c.Subject != s.digest(root, c.Period) {
		return fmt.Errorf("certificate of another device: %w", ErrForeign)
	}
	return nil
}

func (c *Certificate) body() []byte {
	b := append(make([]byte, 0, CertificateSize), version)
	b = wire.AppendUint64(b, uint64(c.Period))
	b = append(b, c.Blinded[:]...)
	b = wire.AppendUint32(b, c.Removal)
	b = append(b, c.Key[:]...)
	return append(b, c.Subject[:]...)
}

// Encode returns the certificate's CertificateSize bytes.
func (c *Certificate) Encode() []byte { return append(c.body(), c.Signature[:]...) }

// ParseCertificate reads what Encode writes; it verifies nothing.
func ParseCertificate(b []byte) (*Certificate, error) {
	r := wire.NewReader(b)
	c, err := readCertificate(r)
	if err != nil {
		return nil, err
	}
	if err := finish(r, "certificate"); err != nil {
		return nil, err
	}
	return c, nil
}

func readCertificate(r *wire.Reader) (*Certificate, error) {
	if err := readVersion(r, "certificate"); err != nil {
		return nil, err
	}
	c := &Certificate{Period: Period(r.Uint64())}
	r.Fixed(c.Blinded[:])
	c.Removal = r.Uint32()
	r.Fixed(c.Key[:])
	r.Fixed(c.Subject[:])
	r.Fixed(c.Signature[:])
	return c, nil
}

// readVersion refuses another version by name; the rest of the input is then
// not looked at.
func readVersion(r *wire.Reader, what string) error {
	v := r.Uint8()
	if r.Err() != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrFormat, r.Err())
	}
	if v != version {
		return fmt.Errorf("%s: %w %d", what, ErrVersion, v)
	}
	return nil
}

func finish(r *wire.Reader, what string) error {
	if err := r.Finish(); err != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrFormat, err)
	}
	return nil
}
