package identity

import (
	"fmt"
	"time"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// IntroductionSize is the size of an encoded Introduction in bytes.
	IntroductionSize = 1 + 2*suite.VerifyKeySize + CertificateSize + SubjectSize
	// IntroductionPeriods is how many periods an introduction may have waited:
	// the longest TTL, and one for the period that was running.
	IntroductionPeriods = CardPeriodsAhead + 1
)

// Introduction is how the sender of a first message says who it is. It travels
// inside that message, to the recipient alone, and covers no content: what
// ties the message to the sender is the key agreement with Subject.Identity.
type Introduction struct {
	Root        suite.VerifyKey
	Base        suite.VerifyKey
	Certificate Certificate
	Subject     Subject
}

// Introduce returns the introduction of the device that holds s.
func (s *PeriodSecrets) Introduce(root, base suite.VerifyKey) *Introduction {
	return &Introduction{Root: root, Base: base, Certificate: s.Certificate, Subject: s.Subject}
}

// Verify checks that Root vouches for Subject, with a certificate that may
// still be on its way at now.
func (i *Introduction) Verify(now time.Time) error {
	p := PeriodAt(now)
	if i.Certificate.Period > p+1 || i.Certificate.Period+IntroductionPeriods < p {
		return fmt.Errorf("introduction: %w", ErrPeriod)
	}
	if _, err := checkPublic(i.Base); err != nil {
		return fmt.Errorf("introduction: base key: %w", err)
	}
	if err := i.Certificate.Verify(i.Root, i.Certificate.Period); err != nil {
		return err
	}
	return i.Certificate.VerifySubject(i.Root, i.Subject)
}

// Encode returns the introduction's IntroductionSize bytes.
func (i *Introduction) Encode() []byte {
	b := append(make([]byte, 0, IntroductionSize), version)
	b = append(b, i.Root[:]...)
	b = append(b, i.Base[:]...)
	b = append(b, i.Certificate.Encode()...)
	return i.Subject.append(b)
}

// ParseIntroduction reads what Encode writes; it verifies nothing.
func ParseIntroduction(b []byte) (*Introduction, error) {
	r := wire.NewReader(b)
	if err := readVersion(r, "introduction"); err != nil {
		return nil, err
	}
	i := &Introduction{}
	r.Fixed(i.Root[:])
	r.Fixed(i.Base[:])
	cert, err := readCertificate(r)
	if err != nil {
		return nil, err
	}
	i.Certificate, i.Subject = *cert, readSubject(r)
	if err := finish(r, "introduction"); err != nil {
		return nil, err
	}
	return i, nil
}
