package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"time"

	"sotto/internal/ratchet"
	"sotto/internal/suite"
)

// Sizes of the measurement; see cells.go.
const (
	ratchetRounds    = 200
	messagesPerRound = 40
)

// ratchetPeriod stands in the prekeys; any number does.
const ratchetPeriod = 1

func ratchets(ctx context.Context, r Run) error {
	return measureRatchet(ctx, r, ratchetRounds, messagesPerRound)
}

func measureRatchet(ctx context.Context, r Run, rounds, perRound int) error {
	p, err := newPair()
	if err != nil {
		return err
	}
	turns, err := p.begin()
	if err != nil {
		return err
	}
	oneWay, err := p.begin()
	if err != nil {
		return err
	}
	r.Note("writing and reading %d messages of %d bytes in %d interleaved rounds", rounds*perRound, suite.KeySize, rounds)
	times, err := interleave(ctx, rounds, perRound,
		func() { p.note(p.multiply()) },
		func() { p.note(turns.exchange()); turns.turn() },
		func() { p.note(oneWay.exchange()) },
		func() { _, err := p.begin(); p.note(err) },
	)
	if err := cmp.Or(err, p.failed); err != nil {
		return err
	}
	us := func(i int) float64 { return times[i] / float64(time.Microsecond) }
	return r.emit(
		Figure{Bench: "ratchet", Name: "alternating", Value: us(1), Unit: "us"}.against("x25519", us(0)),
		Figure{Bench: "ratchet", Name: "one_way", Value: us(2), Unit: "us"}.against("x25519", us(0)),
		Figure{Bench: "ratchet", Name: "setup", Value: us(3), Unit: "us"}.against("x25519", us(0)),
		Figure{Bench: "ratchet", Name: "overhead_bytes", Value: ratchet.Overhead, Unit: "bytes"},
	)
}

// pair are two devices that contact one another.
type pair struct {
	alice   suite.DHPrivate
	bob     ratchet.PrekeySecrets
	prekeys ratchet.Prekeys
	failed  error // the first failure of a measured step
}

func newPair() (*pair, error) {
	p := &pair{bob: ratchet.PrekeySecrets{Period: ratchetPeriod}}
	var err error
	for _, k := range []*suite.DHPrivate{&p.alice, &p.bob.Identity, &p.bob.Signed} {
		if *k, err = suite.NewDHPrivate(rand.Reader); err != nil {
			return nil, err
		}
	}
	if p.bob.KEM, err = suite.NewKEMPrivate(rand.Reader); err != nil {
		return nil, err
	}
	p.prekeys = p.bob.Public()
	return p, nil
}

func (p *pair) note(err error) { p.failed = cmp.Or(p.failed, err) }

// multiply is the yardstick: one X25519.
func (p *pair) multiply() error {
	_, err := p.alice.Shared(p.prekeys.Identity)
	return err
}

// session is the two ends of a session.
type session struct{ from, to *ratchet.Session }

// begin is a first contact on both sides.
func (p *pair) begin() (*session, error) {
	from, first, err := ratchet.Initiate(rand.Reader, p.alice, nil, p.prekeys, messageKey[:], nil)
	if err != nil {
		return nil, err
	}
	opening, err := ratchet.ReadFirst(p.bob, first, nil)
	if err != nil {
		return nil, err
	}
	to, _, err := opening.Accept(rand.Reader, p.alice.Public())
	return &session{from, to}, err
}

// messageKey is what a ratchet message carries: the key of an envelope's body.
var messageKey [suite.KeySize]byte

// exchange is one message, written and read.
func (s *session) exchange() error {
	msg, err := s.from.Encrypt(rand.Reader, messageKey[:], nil)
	if err != nil {
		return err
	}
	_, err = s.to.Decrypt(msg, nil)
	return err
}

// turn makes the reader the next writer.
func (s *session) turn() { s.from, s.to = s.to, s.from }
