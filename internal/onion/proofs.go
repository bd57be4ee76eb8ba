package onion

import (
	"errors"
	"time"
)

// ErrReplay is returned for work that was used before.
var ErrReplay = errors.New("onion: work was used before")

// maxProofs is how many proofs one generation holds, some 32 bytes each. Who
// wants one forgotten early has to have a generation's worth of others
// answered first, which is what the work was to prevent.
const maxProofs = 1 << 17

// proofLife is the longest time for which a proof is good.
const proofLife = (2*workSkew + 1) * WorkSlot

// Proofs remembers the work that was accepted for as long as it is good. The
// zero value is ready. It is not safe for concurrent use.
type Proofs struct {
	began         time.Time // of the present generation
	present, past map[Proof]struct{}
}

// Use refuses a proof that was used before, and remembers it.
func (p *Proofs) Use(proof Proof, now time.Time) error {
	if p.present == nil || len(p.present) >= maxProofs || now.Sub(p.began) >= proofLife {
		if now.Sub(p.began) >= 2*proofLife {
			p.present = nil // all of it is too old
		}
		p.past, p.present, p.began = p.present, make(map[Proof]struct{}), now
	}
	_, present := p.present[proof]
	if _, past := p.past[proof]; present || past {
		return ErrReplay
	}
	p.present[proof] = struct{}{}
	return nil
}
