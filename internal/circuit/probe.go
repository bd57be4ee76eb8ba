package circuit

import (
	"crypto/subtle"
	"time"

	"sotto/internal/onion"
)

// probe is the question whether the exit is there (spec/circuit.md §5.6). Its
// circuit's mu guards it.
type probe struct {
	due   bool // sent and not answered
	token [8]byte
	sent  time.Time
	timer *time.Timer // runs while the exit is silent
	round int         // of the timer; an older one's call is ignored
}

// probeLocked asks the exit for a sign of life. A question that is due is not
// asked again, but the exit is again expected to speak.
func (c *circuit) probeLocked() {
	p := &c.probe
	if c.err != nil || p.timer != nil {
		return
	}
	if !p.due {
		token, err := c.token()
		if err != nil || c.sendLocked(onion.Probe(token)) != nil {
			return // without randomness or room, the reader's deadline decides
		}
		p.due, p.token, p.sent = true, token, c.now()
	}
	p.round++
	round := p.round
	p.timer = time.AfterFunc(probeTimeout, func() { c.probeExpired(round) })
}

func (c *circuit) probeExpired(round int) {
	c.mu.Lock()
	expired := c.probe.timer != nil && c.probe.round == round
	c.mu.Unlock()
	if expired {
		c.fail(errProbe)
	}
}

// heardLocked ends the wait: any cell of the exit shows that it is there.
func (p *probe) heardLocked() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// answeredLocked takes the reply, for the time that it took.
func (c *circuit) answeredLocked(m onion.Message) error {
	token, err := m.Token()
	if err != nil {
		return err
	}
	if !c.probe.due || subtle.ConstantTimeCompare(token[:], c.probe.token[:]) != 1 {
		return unexpected(exitHop, m)
	}
	c.probe.due = false
	c.rtt = c.now().Sub(c.probe.sent)
	return nil
}
