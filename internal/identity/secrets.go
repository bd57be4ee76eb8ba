package identity

import (
	"fmt"
	"io"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

// PeriodSecrets is what one device holds for one period: its period key, its
// prekeys, and the certificate for them (spec/identity.md §4.5). It is erased
// at the period's end plus the longest TTL.
type PeriodSecrets struct {
	Certificate Certificate
	Subject     Subject
	Key         suite.SigningKey // the period key, Certificate.Key's secret
	Prekey      suite.DHPrivate
	KEM         suite.KEMPrivate
}

// NewPeriodSecrets makes fresh secrets of a device for period p and has root
// certify them.
func NewPeriodSecrets(rand io.Reader, root *BlindableKey, device DeviceID, identity suite.DHPublic, removal uint32, p Period) (*PeriodSecrets, error) {
	s := &PeriodSecrets{Subject: Subject{Device: device, Identity: identity}}
	var err error
	if s.Key, err = suite.NewSigningKey(rand); err != nil {
		return nil, err
	}
	if s.Prekey, err = suite.NewDHPrivate(rand); err != nil {
		return nil, err
	}
	if s.KEM, err = suite.NewKEMPrivate(rand); err != nil {
		return nil, err
	}
	cert, err := certify(root, p, s.Key.Public(), s.Subject, removal)
	if err != nil {
		return nil, err
	}
	s.Certificate = *cert
	return s, nil
}

// Card returns the device's card for the period.
func (s *PeriodSecrets) Card(base suite.VerifyKey) *Card {
	c := &Card{
		Certificate: s.Certificate,
		Subject:     s.Subject,
		Prekey:      s.Prekey.Public(),
		KEM:         s.KEM.Public(),
		Base:        base,
	}
	c.Signature = s.Key.Sign(labelCard, c.body())
	return c
}

// Encode returns the secrets, for storing them encrypted.
func (s *PeriodSecrets) Encode() []byte {
	b := append([]byte{version}, s.Certificate.Encode()...)
	b = s.Subject.append(b)
	b = append(b, s.Key.Seed()...)
	b = append(b, s.Prekey.Bytes()...)
	return append(b, s.KEM.Bytes()...)
}

// ParsePeriodSecrets reads what Encode writes.
func ParsePeriodSecrets(b []byte) (*PeriodSecrets, error) {
	r := wire.NewReader(b)
	if err := readVersion(r, "period secrets"); err != nil {
		return nil, err
	}
	cert, err := readCertificate(r)
	if err != nil {
		return nil, err
	}
	s := &PeriodSecrets{Certificate: *cert, Subject: readSubject(r)}
	seed, prekey, kem := r.Bytes(suite.SigningSeedSize), r.Bytes(suite.DHSize), r.Bytes(suite.KEMSeedSize)
	if err := finish(r, "period secrets"); err != nil {
		return nil, err
	}
	if s.Key, err = suite.SigningKeyFrom(seed); err != nil {
		return nil, err
	}
	if s.Prekey, err = suite.DHPrivateFrom(prekey); err != nil {
		return nil, err
	}
	if s.KEM, err = suite.KEMPrivateFrom(kem); err != nil {
		return nil, err
	}
	if s.Key.Public() != s.Certificate.Key {
		return nil, fmt.Errorf("period secrets: key and certificate differ: %w", ErrFormat)
	}
	return s, nil
}

// String hides the secrets from formatted output.
func (PeriodSecrets) String() string { return "[period secrets]" }

// Format hides the secrets from every verb.
func (PeriodSecrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[period secrets]") }
