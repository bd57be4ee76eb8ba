package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/node"
	"sotto/internal/suite"
)

func newNetwork(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Show a network, and sign who its nodes are",
		Long: "A network is a signed file, network.json. Who has the network's key decides who its nodes\n" +
			"are: each change is a new file with a higher serial, given to one node, from where it\n" +
			"goes on to all nodes and clients.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNetworkShow(o), newNetworkCreate(o), newNetworkJoin(o), newNetworkLeave(o), newNetworkForks(o))
	return cmd
}

func newNetworkShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Verify a network's file and print its key, serial and nodes",
		Long: "Verifies a network.json and prints its key, serial and nodes; of a proof that two\n" +
			"directories were signed with one serial (sotto network forks), both and what differs.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.showNetwork(args[0]) },
	}
}

func (o *options) showNetwork(path string) error {
	b, err := readFile(path, directory.MaxNetworkFile)
	if err != nil {
		return err
	}
	if isFork(b) {
		return o.showFork(path, b)
	}
	_, d, err := parseNetwork(path, b)
	if err != nil {
		return err
	}
	return o.print(networkOf(d), describe(d))
}

func newNetworkCreate(o *options) *cobra.Command {
	var key, network, name string
	cmd := &cobra.Command{
		Use:   "create --name NAME --key KEYFILE --network FILE CARD...",
		Short: "Make a network of the nodes whose cards are given",
		Long: "Makes the network's key, unless KEYFILE holds one, and signs the first network.json.\n" +
			"Keep the key offline: whoever has it decides who the nodes are.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, cards []string) error {
			if _, err := os.Lstat(network); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists already: take join or leave to change a network", network)
			}
			nodes, err := readCards(cards)
			if err != nil {
				return err
			}
			signer, err := networkKey(key)
			if err != nil {
				return err
			}
			n, err := directory.NewNetwork(rand.Reader, signer, directory.Document{Name: name, Created: time.Now(), Nodes: nodes})
			if err != nil {
				return err
			}
			d, err := writeNetwork(network, n)
			if err != nil {
				return err
			}
			return o.print(networkOf(d), describe(d))
		},
	}
	keyFlags(cmd, &key, &network)
	cmd.Flags().StringVar(&name, "name", "", "the network's `NAME`")
	if err := cmd.MarkFlagRequired("name"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func newNetworkJoin(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join --key KEYFILE --network FILE CARD...",
		Short: "Sign the network with further nodes, or with changed cards of listed ones",
		Long: "Gives each node of the cards (sotto node init) a place drawn by lot, prints what moves, and\n" +
			"replaces FILE by the next one. Add nodes of people whom you don't know one at a time.",
	}
	return o.changes(cmd, func(_ *directory.Directory, cards []string) (c directory.Change, err error) {
		c.Join, err = readCards(cards)
		return c, err
	})
}

func newNetworkLeave(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leave --key KEYFILE --network FILE ID...",
		Short: "Sign the network without some of its nodes",
		Long: "Prints what moves, and replaces FILE by the next one. An ID may be cut to its first digits.\n" +
			"Let nodes that leave run on until they say that they have handed over what they kept.",
	}
	return o.changes(cmd, func(d *directory.Directory, ids []string) (c directory.Change, err error) {
		for _, prefix := range ids {
			id, err := findNode(d, prefix)
			if err != nil {
				return c, err
			}
			c.Leave = append(c.Leave, id)
		}
		return c, nil
	})
}

// changes completes a command that signs the next directory, with the change
// that its arguments make.
func (o *options) changes(cmd *cobra.Command, change func(*directory.Directory, []string) (directory.Change, error)) *cobra.Command {
	var key, network string
	var how howToChange
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.changeNetwork(cmd.Context(), key, network, how, func(d *directory.Directory) (directory.Change, error) {
			return change(d, args)
		})
	}
	keyFlags(cmd, &key, &network)
	how.flags(cmd)
	return cmd
}

func keyFlags(cmd *cobra.Command, key, network *string) {
	cmd.Flags().StringVar(key, "key", "", "the `KEYFILE` of the network's signing key")
	cmd.Flags().StringVar(network, "network", "", "the network's `FILE` (network.json)")
	for _, flag := range []string{"key", "network"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // the flags are defined above
		}
	}
}

// minPrefix is the fewest digits of an ID that name a node.
const minPrefix = 8

func findNode(d *directory.Directory, prefix string) (found identity.NodeID, err error) {
	if len(prefix) < minPrefix {
		return found, usagef("%q is too short for a node's ID: take %d digits or more", prefix, minPrefix)
	}
	hits := 0
	for _, n := range d.Nodes() {
		if strings.HasPrefix(n.ID.String(), strings.ToLower(prefix)) {
			found, hits = n.ID, hits+1
		}
	}
	switch hits {
	case 0:
		return found, fmt.Errorf("the network has no node %s", prefix)
	case 1:
		return found, nil
	}
	return found, fmt.Errorf("%d nodes begin with %s", hits, prefix)
}

func readNetwork(path string) (*directory.Network, *directory.Directory, error) {
	b, err := readFile(path, directory.MaxNetworkFile)
	if err != nil {
		return nil, nil, err
	}
	return parseNetwork(path, b)
}

func parseNetwork(path string, b []byte) (*directory.Network, *directory.Directory, error) {
	n, err := directory.ParseNetwork(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	d, err := n.Directory()
	return n, d, err
}

func readCards(paths []string) (nodes []directory.Node, err error) {
	for _, path := range paths {
		b, err := readFile(path, directory.MaxCard)
		if err != nil {
			return nil, err
		}
		n, err := directory.ParseCard(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

// writeNetwork replaces the file, and checks what it wrote first.
func writeNetwork(path string, n *directory.Network) (*directory.Directory, error) {
	d, err := n.Directory()
	if err != nil {
		return nil, err
	}
	b, err := n.Encode()
	if err != nil {
		return nil, err
	}
	return d, node.ReplaceFile(path, b)
}

// networkKey reads the key of a file, or makes one there.
func networkKey(path string) (suite.SigningKey, error) {
	seed, err := node.ReadKey(path)
	if err == nil {
		return suite.SigningKeyFrom(seed)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return suite.SigningKey{}, err
	}
	key, err := suite.NewSigningKey(rand.Reader)
	if err != nil {
		return key, err
	}
	return key, node.WriteKey(path, key.Seed())
}

// What the commands print with --json.
type networkJSON struct {
	Network string      `json:"network"`
	Key     string      `json:"key"`
	Created time.Time   `json:"created"`
	Serial  uint64      `json:"serial"`
	Issued  time.Time   `json:"issued"`
	Nodes   []entryJSON `json:"nodes"`
}

type entryJSON struct {
	ID       string            `json:"id"`
	Operator string            `json:"operator"`
	Address  string            `json:"address"`
	Swarm    directory.SwarmID `json:"swarm"`
}

type changeJSON struct {
	Serial    uint64              `json:"serial"`
	Written   bool                `json:"written"`
	Joined    []string            `json:"joined"`
	Updated   []string            `json:"updated"`
	Left      []string            `json:"left"`
	Moved     []moveJSON          `json:"moved"`
	Created   []directory.SwarmID `json:"created"`
	Dissolved []directory.SwarmID `json:"dissolved"`
	Share     float64             `json:"share"`
}

type moveJSON struct {
	ID   string            `json:"id"`
	From directory.SwarmID `json:"from"`
	To   directory.SwarmID `json:"to"`
}

func networkOf(d *directory.Directory) networkJSON {
	key := d.NetworkKey()
	v := networkJSON{Network: d.Name(), Key: hex.EncodeToString(key[:]), Created: d.Created(), Serial: d.Serial(), Issued: d.Issued()}
	for _, n := range d.Nodes() {
		v.Nodes = append(v.Nodes, entryJSON{n.ID.String(), n.Operator, n.Addr.String(), n.Swarm})
	}
	return v
}

func changeOf(p *directory.Plan, dry bool) changeJSON {
	v := changeJSON{
		Serial: p.Document.Serial, Written: !dry, Joined: idStrings(p.Joined), Updated: idStrings(p.Updated), Left: idStrings(p.Left),
		Moved: []moveJSON{}, Created: append([]directory.SwarmID{}, p.Created...), Dissolved: append([]directory.SwarmID{}, p.Dissolved...), Share: p.Share,
	}
	for _, m := range p.Moved {
		v.Moved = append(v.Moved, moveJSON{m.Node.String(), m.From, m.To})
	}
	return v
}

func idStrings(ids []identity.NodeID) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		out = append(out, id.String())
	}
	return out
}

func describe(d *directory.Directory) string {
	var b strings.Builder
	key := d.NetworkKey()
	operators, networks := d.Diversity()
	fmt.Fprintf(&b, "%s, made %s\n", d.Name(), d.Created().Format(time.RFC3339))
	fmt.Fprintf(&b, "key     %s\n", hex.EncodeToString(key[:]))
	fmt.Fprintf(&b, "serial  %d of %s\n", d.Serial(), d.Issued().Format(time.RFC3339))
	fmt.Fprintf(&b, "nodes   %d, of %d operators in %d networks\nswarms  %d", d.Len(), operators, networks, len(d.Swarms()))
	for _, id := range d.Swarms() {
		fmt.Fprintf(&b, "\n\nswarm %d", id)
		for _, n := range d.Swarm(id) {
			fmt.Fprintf(&b, "\n  %s  %-22s %s", n.ID, n.Addr, n.Operator)
		}
	}
	return b.String()
}

func describePlan(old *directory.Directory, p *directory.Plan, file string, dry bool) string {
	var b strings.Builder
	swarmOf := make(map[identity.NodeID]directory.SwarmID)
	swarms := make(map[directory.SwarmID]bool)
	for _, n := range p.Document.Nodes {
		swarmOf[n.ID], swarms[n.Swarm] = n.Swarm, true
	}
	fmt.Fprintf(&b, "serial %d: nodes %d (before %d), swarms %d (before %d)\n", p.Document.Serial, len(p.Document.Nodes), old.Len(), len(swarms), len(old.Swarms()))
	for _, id := range p.Joined {
		fmt.Fprintf(&b, "  joins    %s, swarm %d\n", id, swarmOf[id])
	}
	for _, id := range p.Updated {
		fmt.Fprintf(&b, "  changes  %s\n", id)
	}
	for _, id := range p.Left {
		fmt.Fprintf(&b, "  leaves   %s\n", id)
	}
	for _, m := range p.Moved {
		fmt.Fprintf(&b, "  moves    %s, from swarm %d to %d\n", m.Node, m.From, m.To)
	}
	for _, id := range p.Created {
		fmt.Fprintf(&b, "  swarm %d is created\n", id)
	}
	for _, id := range p.Dissolved {
		fmt.Fprintf(&b, "  swarm %d is dissolved\n", id)
	}
	fmt.Fprintf(&b, "%.1f %% of all mailboxes move to another swarm.\n", 100*p.Share)
	if dry {
		b.WriteString("Nothing was written.")
	} else {
		fmt.Fprintf(&b, "Copy %s into the folder of one node; the others hear of it from there.", file)
	}
	return b.String()
}
