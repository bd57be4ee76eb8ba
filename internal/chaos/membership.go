package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sotto/internal/directory"
)

// Changes is how the network's directory changed during the storm.
type Changes struct {
	Directories int `json:"directories"` // signed after the first
	Joined      int `json:"joined"`
	Left        int `json:"left"`
	Moved       int `json:"moved"` // nodes that changed swarms
	Created     int `json:"created"`
	Dissolved   int `json:"dissolved"`
}

// succession is who comes and goes with one directory: how many spare nodes
// join, and how many listed ones leave.
type succession struct{ join, leave int }

// successions come at equal distances through a storm: a swarm grows, swarms are
// split, and grow together again. They are fewer than a node remembers directories
// (directory.MaxPast): the moves of the first may still be under way when the
// last comes.
var successions = []succession{{join: 1}, {join: 4}, {leave: 2}, {leave: 3}}

// steadfast nodes never leave: they have the probers' identities, and are given
// each directory.
var steadfast = []int{1, 2}

// spare makes the folders of the nodes that will join.
func (w *world) spare() error {
	for _, s := range successions {
		for range s.join {
			n, err := w.machines.grow()
			if err != nil {
				return err
			}
			w.spares = append(w.spares, n)
		}
	}
	return nil
}

// succeed lets nodes join and leave through the storm. Those that leave run on,
// since the others fetch from them what they kept, and everything else befalls
// them as before.
func (w *world) succeed(ctx context.Context) error {
	if len(w.spares) == 0 {
		return nil
	}
	leavers := w.leavers()
	began := time.Now()
	for i, s := range successions {
		if !pause(ctx, time.Until(began.Add(w.when(i)))) {
			return nil
		}
		var join, leave []int
		join, w.spares = w.spares[:s.join], w.spares[s.join:]
		leave, leavers = leavers[:s.leave], leavers[s.leave:]
		if err := w.change(ctx, join, leave); err != nil {
			return fmt.Errorf("chaos: nodes %v joining and %v leaving: %w", join, leave, err)
		}
	}
	return nil
}

// when is at which time of a storm a succession begins.
func (w *world) when(i int) time.Duration {
	return w.cfg.Duration * time.Duration(i+1) / time.Duration(len(successions)+1)
}

// joiners are the spare nodes and when they join.
func (w *world) joiners() (out []Joiner) {
	left := w.spares
	for i, s := range successions {
		for range min(s.join, len(left)) {
			out = append(out, Joiner{Node: left[0], At: w.when(i)})
			left = left[1:]
		}
	}
	return out
}

// leavers are all nodes that may leave, in the order in which they do: those
// from before the storm, and then those that joined.
func (w *world) leavers() (out []int) {
	for n := range len(w.machines.all) - len(w.spares) {
		if !slices.Contains(steadfast, n+1) {
			out = append(out, n+1)
		}
	}
	return append(out, w.spares...)
}

// change signs the next directory, gives it to some nodes and starts those that
// it lists anew.
func (w *world) change(ctx context.Context, join, leave []int) error {
	var c directory.Change
	for _, n := range join {
		c.Join = append(c.Join, w.layout.Nodes[n-1].Node)
	}
	for _, n := range leave {
		c.Leave = append(c.Leave, w.id(n))
	}
	plan, err := w.layout.Change(c, slices.Concat(join, steadfast)...)
	if err != nil {
		return err
	}
	if err := w.exits.dir.Adopt(w.layout.Network); err != nil {
		return err
	}
	w.note("directory %d: %d nodes join, %d leave, %d change swarms; %d swarms made, %d dissolved",
		plan.Document.Serial, len(join), len(leave), len(plan.Moved), len(plan.Created), len(plan.Dissolved))
	w.mu.Lock()
	w.changes.Directories++
	w.changes.Joined += len(plan.Joined)
	w.changes.Left += len(plan.Left)
	w.changes.Moved += len(plan.Moved)
	w.changes.Created += len(plan.Created)
	w.changes.Dissolved += len(plan.Dissolved)
	w.mu.Unlock()
	return together(len(join), func(i int) error { return w.machines.restart(ctx, join[i]) })
}
