package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sotto/internal/identity"
	"sotto/internal/vault"
	"sotto/internal/wire"
)

// What is held against members (spec/client.md §5.12).
const (
	// strikesToBlame within strikesFor make a member one that keeps messages
	// back: one may be the network's doing, three are not.
	strikesToBlame = 3
	strikesFor     = 24 * time.Hour
	// strikeApart keeps one trouble from counting several times.
	strikeApart = time.Minute
	// blamedFor is how long it is then asked last.
	blamedFor = 24 * time.Hour
	// maxFaults bounds the members that something is held against, maxBlames at
	// how many mailboxes of them.
	maxFaults = 64
	maxBlames = 256
)

// settingHeld is where they are kept.
const settingHeld = "members/held"

// errEnough ends a fetch that has found what it looked for.
var errEnough = errors.New("client: enough was read")

// fault is what the person is told of one member. Times are Unix seconds.
type fault struct {
	total uint32
	last  uint64
}

// blame is what is held against one member at one mailbox, and decides when it is
// asked there: at another, nothing shows of it (spec/client.md §5.11).
type blame struct {
	strikes []uint64 // the latest, oldest first; at most strikesToBlame
	until   uint64   // it is asked last before this
}

// MemberFault is a node that kept messages back or was late with them.
type MemberFault struct {
	Node  Hop       `json:"node"`
	Count int       `json:"count"` // how often
	Last  time.Time `json:"last"`
	Until time.Time `json:"until"` // it is asked last for some mailbox until then; zero if it is not
}

// strike counts one more, and reports whether the member is blamed from now on.
func (f *blame) strike(now uint64) (counted, blamed bool) {
	if n := len(f.strikes); n > 0 && now < f.strikes[n-1]+uint64(strikeApart/time.Second) {
		return false, false
	}
	f.strikes = append(f.strikes, now)
	f.strikes = f.strikes[max(len(f.strikes)-strikesToBlame, 0):]
	blamed = len(f.strikes) == strikesToBlame && now-f.strikes[0] < uint64(strikesFor/time.Second) && f.until <= now
	if blamed {
		f.until = now + uint64(blamedFor/time.Second)
	}
	return true, blamed
}

// blame holds it against a member that it has not brought an envelope, and moves
// the subscription elsewhere: its keeper makes another, at a member that is not
// avoided. Whoever sees the fault reads elsewhere already.
func (c *Client) blame(sub *subscription) {
	at := keyPlace{sub.box, sub.node}
	c.avoid(at)
	sub.close()
	now := uint64(c.now().Unix())
	w := &c.witness
	w.mu.Lock()
	counted, blamed, total := w.strikeLocked(at, now)
	w.mu.Unlock()
	if !counted {
		return
	}
	if err := c.update(c.saveFaults); err != nil {
		return
	}
	text := fmt.Sprintf("A node of %s kept a message back or was late with it, or the path to it was. Sotto has it from another, and reads elsewhere.", c.operatorOf(sub.node))
	if blamed {
		text = fmt.Sprintf("A node of %s kept messages back or was late with them again and again, %d times so far. Sotto asks it last there for a day.", c.operatorOf(sub.node), total)
	}
	c.hub.publish(Event{Type: EventPath, Text: text})
}

// strikeLocked counts one more against a member at a mailbox, and for the person.
func (w *witness) strikeLocked(at keyPlace, now uint64) (counted, blamed bool, total uint32) {
	b := w.blames[at]
	if b == nil {
		b = &blame{}
		w.blames[at] = b
	}
	counted, blamed = b.strike(now)
	f := w.faults[at.node]
	if f == nil {
		f = &fault{}
		w.faults[at.node] = f
	}
	if counted && now >= f.last+uint64(strikeApart/time.Second) {
		f.total, f.last = min(f.total, 1<<31)+1, now
	}
	w.forgetLocked()
	return counted, blamed, f.total
}

// forgetLocked drops what is the longest ago, beyond the bounds.
func (w *witness) forgetLocked() {
	forgetOldest(w.faults, maxFaults, func(f *fault) uint64 { return f.last })
	forgetOldest(w.blames, maxBlames, func(b *blame) uint64 { return b.strikes[len(b.strikes)-1] })
}

func forgetOldest[K comparable, V any](m map[K]V, most int, last func(V) uint64) {
	for len(m) > most {
		var oldest K
		first := ^uint64(0)
		for k, v := range m {
			if at := last(v); at <= first {
				oldest, first = k, at
			}
		}
		delete(m, oldest)
	}
}

// blamed reports whether a member is to be asked last for a mailbox.
func (w *witness) blamed(at keyPlace, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.blames[at]
	return b != nil && uint64(max(now.Unix(), 0)) < b.until
}

func (c *Client) operatorOf(id identity.NodeID) string {
	if n, ok := c.dir.Current().Node(id); ok && n.Operator != "" {
		return n.Operator
	}
	return "an unknown operator"
}

// MemberFaults returns the nodes that kept messages back or were late with them,
// the latest first. Nobody else is told.
func (c *Client) MemberFaults(context.Context) ([]MemberFault, error) {
	now := uint64(c.now().Unix())
	out := []MemberFault{}
	c.witness.mu.Lock()
	for id, f := range c.witness.faults {
		m := MemberFault{Node: Hop{ID: hex.EncodeToString(id[:])}, Count: int(f.total), Last: time.Unix(int64(f.last), 0).UTC()}
		until := uint64(0)
		for at, b := range c.witness.blames {
			if at.node == id {
				until = max(until, b.until)
			}
		}
		if now < until {
			m.Until = time.Unix(int64(until), 0).UTC()
		}
		if n, ok := c.dir.Current().Node(id); ok {
			m.Node.Operator, m.Node.Address = n.Operator, n.Addr.String()
		}
		out = append(out, m)
	}
	c.witness.mu.Unlock()
	slices.SortFunc(out, func(a, b MemberFault) int {
		if d := b.Last.Compare(a.Last); d != 0 {
			return d
		}
		return strings.Compare(a.Node.ID, b.Node.ID)
	})
	return out, nil
}

func (c *Client) saveFaults(tx *vault.Tx) error {
	c.witness.mu.Lock()
	defer c.witness.mu.Unlock()
	return tx.SetSetting(settingHeld, c.witness.encodeLocked())
}

func (c *Client) loadFaults(tx *vault.Tx) error {
	b, err := tx.Setting(settingHeld)
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c.witness.decode(b)
	return nil
}

// encodeLocked is: the number of members u32; for each its ID, total u32, last
// u64; then for each mailbox and member the address, the ID, until u64, and the
// strikes, of which unused ones are zero.
func (w *witness) encodeLocked() []byte {
	b := wire.AppendUint32(nil, uint32(len(w.faults)))
	for id, f := range w.faults {
		b = wire.AppendUint64(wire.AppendUint32(append(b, id[:]...), f.total), f.last)
	}
	for at, f := range w.blames {
		b = append(append(b, at.box[:]...), at.node[:]...)
		b = wire.AppendUint64(b, f.until)
		for i := range strikesToBlame {
			strike := uint64(0)
			if i < len(f.strikes) {
				strike = f.strikes[i]
			}
			b = wire.AppendUint64(b, strike)
		}
	}
	return b
}

// decode takes what it understands: the rest is no more than a memory.
func (w *witness) decode(b []byte) {
	r := wire.NewReader(b)
	for range min(r.Uint32(), maxFaults) {
		var id identity.NodeID
		r.Fixed(id[:])
		f := &fault{total: r.Uint32(), last: r.Uint64()}
		if r.Err() != nil {
			return
		}
		w.faults[id] = f
	}
	for r.Len() > 0 && len(w.blames) < maxBlames {
		var at keyPlace
		r.Fixed(at.box[:])
		r.Fixed(at.node[:])
		f := &blame{until: r.Uint64()}
		for range strikesToBlame {
			if strike := r.Uint64(); strike != 0 {
				f.strikes = append(f.strikes, strike)
			}
		}
		if r.Err() != nil {
			return
		}
		if len(f.strikes) > 0 {
			w.blames[at] = f
		}
	}
}
