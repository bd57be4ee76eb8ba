package ratchet

import "fmt"

// script builds the steps of a vector.
type script struct {
	*sessionVector
	said int
}

func newScript(name string) *script {
	return &script{sessionVector: &sessionVector{
		Name: name, Period: 10_000,
		Sender: hexBytes("who I am"), Payload: hexBytes("first words"), AD: hexBytes("both know"),
	}}
}

const (
	initiator = "initiator"
	responder = "responder"
)

func (s *script) add(step *vectorStep) int {
	step.AD = hexBytes("envelope")
	s.Steps = append(s.Steps, step)
	return len(s.Steps) - 1
}

func (s *script) send(by string) int {
	s.said++
	return s.add(&vectorStep{By: by, Op: "encrypt", Plaintext: hexBytes(fmt.Sprintf("message %d", s.said))})
}

func (s *script) receive(of int) *vectorStep {
	by := initiator
	if s.Steps[of].By == initiator {
		by = responder
	}
	return s.Steps[s.add(&vectorStep{By: by, Op: "decrypt", Of: &of})]
}

func (s *script) discard(by string, n int) {
	s.Steps = append(s.Steps, &vectorStep{By: by, Op: "discard", Count: n})
}

func scripts() []*sessionVector {
	return []*sessionVector{
		inOrder().sessionVector, shuffled().sessionVector, failures().sessionVector,
		jump().sessionVector, tooFar().sessionVector, refusals().sessionVector,
	}
}

func inOrder() *script {
	s := newScript("in order")
	for range 2 {
		for _, by := range []string{responder, initiator, initiator} {
			s.receive(s.send(by))
		}
	}
	return s
}

func shuffled() *script {
	s := newScript("shuffled, lost and repeated")
	var sent []int
	for range 2 {
		for range 3 {
			sent = append(sent, s.send(initiator))
		}
		s.receive(sent[len(sent)-1])
		s.receive(s.send(responder))
	}
	s.send(responder) // lost
	s.receive(s.send(responder))
	for _, i := range []int{4, 0, 3} { // 1 is lost
		s.receive(sent[i])
		s.receive(sent[i]).Error = "replay"
	}
	s.receive(sent[2]).Error = "replay"
	return s
}

func failures() *script {
	s := newScript("failures")
	m := s.send(initiator)
	for _, f := range []struct {
		flip int
		err  string
	}{{0, "not_for_us"}, {23, "not_for_us"}, {24, "not_for_us"}, {84, "not_for_us"}, {85, "damaged"}, {109, "damaged"}} {
		step := s.receive(m)
		step.Flip, step.Error = &f.flip, f.err
	}
	step := s.receive(m)
	step.AD, step.Error = hexBytes("another envelope"), "damaged"
	s.Steps = append(s.Steps, &vectorStep{By: initiator, Op: "decrypt", Of: &m, AD: hexBytes("envelope"), Error: "not_for_us"})
	s.receive(m)
	s.receive(m).Error = "replay"
	return s
}

func jump() *script {
	s := newScript("jump")
	early := s.send(initiator)
	kept := s.send(initiator)
	s.discard(initiator, MaxSkip-1)
	s.receive(s.send(initiator))
	s.receive(early).Error = "forgotten"
	s.receive(kept)
	s.receive(s.send(responder)) // so that the stored states are small
	for range MaxReceivingChains {
		s.receive(s.send(initiator))
		s.receive(s.send(responder))
	}
	return s
}

func tooFar() *script {
	s := newScript("too far")
	s.discard(initiator, MaxJump)
	s.receive(s.send(initiator)) // number MaxJump+1: the first message was number 0
	for range MaxReceivingChains {
		s.receive(s.send(responder))
		s.receive(s.send(initiator))
	}
	s.discard(initiator, MaxJump+1)
	s.receive(s.send(initiator)).Error = "too_far"
	s.receive(s.send(responder))
	s.receive(s.send(initiator)).Error = "too_far" // the chain before is too long
	return s
}

func refusals() *script {
	s := newScript("first messages that are refused")
	at := func(i int) *int { return &i }
	s.Refused = []*firstFailure{
		{Flip: at(0), Error: "version"},
		{Flip: at(8), Error: "period"},
		{Flip: at(9), Error: "not_for_us"},    // ephemeral key
		{Flip: at(41), Error: "not_for_us"},   // KEM ciphertext
		{Flip: at(1128), Error: "not_for_us"}, // its end
		{Flip: at(1129), Error: "malformed"},  // length of the sealed sender
		{Flip: at(1131), Error: "not_for_us"}, // sealed sender
		{Flip: at(1155), Error: "identity"},   // nonce
		{Flip: at(1179), Error: "identity"},   // header
		{Flip: at(1240), Error: "damaged"},    // body
		{Cut: at(0), Error: "malformed"},
		{Cut: at(1255), Error: "malformed"},
		{Cut: at(1256), Error: "damaged"},
		{Period: 10_001, Error: "period"},
		{AD: hexBytes("others know"), Error: "not_for_us"},
		{Sender: make(hexBytes, 32), Error: "identity"},
		{Sender: append(make(hexBytes, 31), 9), Error: "identity"},
	}
	return s
}
