package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/directory"
	"sotto/internal/node"
	"sotto/internal/suite"
)

// howToChange says how a change is made.
type howToChange struct {
	dry         bool // and nothing is written
	whileMoving bool // though mailboxes still move for the last one
}

func (h *howToChange) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&h.dry, "dry-run", false, "print what would move, and change nothing")
	cmd.Flags().BoolVar(&h.whileMoving, "while-moving", false, "sign though nodes of this machine still move mailboxes")
}

// errMoving is returned for a change that comes before the last one is over.
type errMoving struct {
	serial uint64
	nodes  []string // what each of them is about
}

func (e *errMoving) Error() string {
	return fmt.Sprintf("mailboxes still move for serial %d:\n  %s\nA node knows the keepers of the last %d directories. Wait until these nodes are done "+
		"(sotto node status shows it), or take --while-moving", e.serial, strings.Join(e.nodes, "\n  "), directory.MaxPast)
}

// settled returns an errMoving if a node of this machine, as the file names them,
// has not adopted the last change, or moves mailboxes for it. Of other machines
// the file tells nothing.
func settled(ctx context.Context, n *directory.Network) error {
	e := &errMoving{serial: n.Document.Serial}
	for _, entry := range n.Document.Nodes {
		p, local := n.Processes[entry.ID]
		if !local || p.Dir == "" {
			continue
		}
		st, err := node.ReadStatus(ctx, p.Dir)
		if err != nil {
			return err
		}
		m, what := st.Moving, ""
		switch {
		case !st.Running:
		case m.Serial < e.serial:
			what = fmt.Sprintf("has serial %d", m.Serial)
		case !m.Settled(e.serial):
			what = movingText(m)
		case st.State == "lacking":
			what = "waits for what its store lost"
		}
		if what != "" {
			e.nodes = append(e.nodes, fmt.Sprintf("%s: %s", entry.ID, what))
		}
	}
	if len(e.nodes) == 0 {
		return nil
	}
	return e
}

// changeNetwork plans, signs and writes the next document.
func (o *options) changeNetwork(ctx context.Context, keyFile, file string, how howToChange, change func(*directory.Directory) (directory.Change, error)) error {
	seed, err := node.ReadKey(keyFile)
	if err != nil {
		return err
	}
	signer, err := suite.SigningKeyFrom(seed)
	if err != nil {
		return err
	}
	old, d, err := readNetwork(file)
	if err != nil {
		return err
	}
	if signer.Public() != d.NetworkKey() {
		return fmt.Errorf("%s is not the key of the network in %s", keyFile, file)
	}
	c, err := change(d)
	if err != nil {
		return err
	}
	if !how.dry && !how.whileMoving {
		if err := settled(ctx, old); err != nil {
			return err
		}
	}
	plan, err := d.Plan(rand.Reader, time.Now(), c)
	if err != nil {
		return err
	}
	n, err := directory.SignDocument(signer, plan.Document)
	if err != nil {
		return err
	}
	n.Processes = old.Processes
	if !how.dry {
		if _, err := writeNetwork(file, n); err != nil {
			return err
		}
	}
	for _, id := range weakened(d, plan) {
		o.note("Swarm %d loses half of its keepers or more at once. Let the others fetch what it keeps before these nodes stop.", id)
	}
	return o.print(changeOf(plan, how.dry), describePlan(d, plan, file, how.dry))
}

// weakened returns the swarms that stay and of whose members a majority does not.
func weakened(d *directory.Directory, plan *directory.Plan) (out []directory.SwarmID) {
	stays := make(map[directory.SwarmID]int)
	for _, n := range plan.Document.Nodes {
		if old, ok := d.Node(n.ID); ok && old.Swarm == n.Swarm {
			stays[n.Swarm]++
		}
	}
	for _, n := range plan.Document.Nodes {
		if was := len(d.Swarm(n.Swarm)); was > 0 && 2*stays[n.Swarm] <= was {
			stays[n.Swarm] = was // told once
			out = append(out, n.Swarm)
		}
	}
	return out
}
