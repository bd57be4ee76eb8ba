package testnet

import (
	"crypto/rand"
	"path/filepath"
	"time"

	"sotto/internal/directory"
	"sotto/internal/node"
	"sotto/internal/suite"
)

// Grow makes the folder of a further node, which the network does not list
// before a Change lets it join.
func (l *Layout) Grow() (Entry, error) {
	i, port := len(l.Nodes)+1, l.Nodes[0].Node.Addr.Port()
	local, err := directory.NewLocalNode(rand.Reader, i, port)
	if err != nil {
		return Entry{}, err
	}
	signed, err := l.Network.Encode()
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Node: local.Node, Dir: nodeDir(l.Dir, i)}
	if err := node.WriteDir(e.Dir, node.Keys{Identity: local.Identity, Onion: local.Onion}, signed); err != nil {
		return Entry{}, err
	}
	l.Nodes = append(l.Nodes, e)
	return e, nil
}

// Change signs the network's next directory, and gives its file to the nodes of
// those numbers, as an operator does. The others have it from them.
func (l *Layout) Change(c directory.Change, to ...int) (*directory.Plan, error) {
	seed, err := node.ReadKey(filepath.Join(l.Dir, KeyFile))
	if err != nil {
		return nil, err
	}
	key, err := suite.SigningKeyFrom(seed)
	if err != nil {
		return nil, err
	}
	d, err := l.Network.Directory()
	if err != nil {
		return nil, err
	}
	plan, err := d.Plan(rand.Reader, time.Now(), c)
	if err != nil {
		return nil, err
	}
	next, err := directory.SignDocument(key, plan.Document)
	if err != nil {
		return nil, err
	}
	next.Processes = l.Network.Processes
	b, err := next.Encode()
	if err != nil {
		return nil, err
	}
	l.Network = next
	for _, n := range to {
		if err := node.ReplaceFile(filepath.Join(l.Nodes[n-1].Dir, NetworkFile), b); err != nil {
			return nil, err
		}
	}
	return plan, l.write()
}
