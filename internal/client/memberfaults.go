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
	// maxFaults bounds the members that something is held against.
	maxFaults = 64
)

// settingFaults is where they are kept.
const settingFaults = "members/faults"

// errEnough ends a fetch that has found what it looked for.
var errEnough = errors.New("client: enough was read")

// fault is what is held against one member. Times are Unix seconds.
type fault struct {
	total   uint32
	strikes []uint64 // the latest, oldest first; at most strikesToBlame
	until   uint64   // it is asked last before this
}

// MemberFault is a node that kept messages back or was late with them.
type MemberFault struct {
	Node  Hop       `json:"node"`
	Count int       `json:"count"` // how often
	Last  time.Time `json:"last"`
	Until time.Time `json:"until"` // it is asked last until then; zero if it is not
}

// strike counts one more, and reports whether the member is blamed from now on.
func (f *fault) strike(now uint64) (counted, blamed bool) {
	if n := len(f.strikes); n > 0 && now < f.strikes[n-1]+uint64(strikeApart/time.Second) {
		return false, false
	}
	f.total = min(f.total, 1<<31) + 1
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
	c.avoid(sub.node)
	sub.close()
	now := uint64(c.now().Unix())
	w := &c.witness
	w.mu.Lock()
	f := w.faults[sub.node]
	if f == nil {
		f = &fault{}
		w.faults[sub.node] = f
		w.forgetLocked()
	}
	counted, blamed := f.strike(now)
	total := f.total
	w.mu.Unlock()
	if !counted {
		return
	}
	if err := c.update(c.saveFaults); err != nil {
		return
	}
	text := fmt.Sprintf("A node of %s kept a message back or was late with it, or the path to it was. Sotto has it from another, and reads elsewhere.", c.operatorOf(sub.node))
	if blamed {
		text = fmt.Sprintf("A node of %s kept messages back or was late with them again and again, %d times so far. Sotto asks it last for a day.", c.operatorOf(sub.node), total)
	}
	c.hub.publish(Event{Type: EventPath, Text: text})
}

// forgetLocked drops the member whose last fault is the longest ago, beyond the
// bound.
func (w *witness) forgetLocked() {
	if len(w.faults) <= maxFaults {
		return
	}
	var oldest identity.NodeID
	first := ^uint64(0)
	for id, f := range w.faults {
		if n := len(f.strikes); n > 0 && f.strikes[n-1] < first {
			oldest, first = id, f.strikes[n-1]
		}
	}
	delete(w.faults, oldest)
}

// blamed reports whether a member is to be asked last.
func (w *witness) blamed(id identity.NodeID, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.faults[id]
	return f != nil && uint64(max(now.Unix(), 0)) < f.until
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
		m := MemberFault{Node: Hop{ID: hex.EncodeToString(id[:])}, Count: int(f.total), Last: time.Unix(int64(f.strikes[len(f.strikes)-1]), 0).UTC()}
		if now < f.until {
			m.Until = time.Unix(int64(f.until), 0).UTC()
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
	return tx.SetSetting(settingFaults, c.witness.encodeLocked())
}

func (c *Client) loadFaults(tx *vault.Tx) error {
	b, err := tx.Setting(settingFaults)
	if errors.Is(err, vault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c.witness.decode(b)
	return nil
}

// encodeLocked is: for each member its ID, total u32, until u64, and its strikes,
// of which unused ones are zero.
func (w *witness) encodeLocked() []byte {
	var b []byte
	for id, f := range w.faults {
		b = wire.AppendUint64(wire.AppendUint32(append(b, id[:]...), f.total), f.until)
		for i := range strikesToBlame {
			at := uint64(0)
			if i < len(f.strikes) {
				at = f.strikes[i]
			}
			b = wire.AppendUint64(b, at)
		}
	}
	return b
}

// decode takes what it understands: the rest is no more than a memory.
func (w *witness) decode(b []byte) {
	r := wire.NewReader(b)
	for r.Len() > 0 && len(w.faults) < maxFaults {
		var id identity.NodeID
		r.Fixed(id[:])
		f := &fault{total: r.Uint32(), until: r.Uint64()}
		for range strikesToBlame {
			if at := r.Uint64(); at != 0 {
				f.strikes = append(f.strikes, at)
			}
		}
		if r.Err() != nil {
			return
		}
		if len(f.strikes) > 0 {
			w.faults[id] = f
		}
	}
}
