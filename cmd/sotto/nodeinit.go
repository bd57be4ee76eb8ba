package main

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spf13/cobra"

	"sotto/internal/directory"
	"sotto/internal/node"
)

// cardFile is the card in a node's folder.
const cardFile = "card.json"

func newNodeInit(o *options) *cobra.Command {
	var dir, address, operator string
	cmd := &cobra.Command{
		Use:   "init --dir DIR --address IP:PORT --operator NAME",
		Short: "Make a node's keys, and the card with which it asks to join",
		Long: "Makes the folder of a node, or finds its keys there, and writes DIR/" + cardFile + ". Give the card to\n" +
			"whoever signs the network (sotto network join), and put the network.json that you get\n" +
			"back into DIR. A listed node whose address or operator changes joins with a new card.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return usagef("--address: %w", err)
			}
			keys, err := node.MakeKeys(dir, rand.Reader)
			if err != nil {
				return err
			}
			b, err := directory.EncodeCard(keys.Identity, directory.Node{
				Operator: operator, Addr: addr, OnionKey: keys.Onion.Public(),
			})
			if err != nil {
				return err
			}
			path := filepath.Join(dir, cardFile)
			if err := node.ReplaceFile(path, b); err != nil {
				return err
			}
			return o.print(struct {
				ID   string `json:"id"`
				Card string `json:"card"`
			}{keys.ID().String(), path}, fmt.Sprintf("node  %s\ncard  %s", keys.ID(), path))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the node's `DIR`")
	cmd.Flags().StringVar(&address, "address", "", "where it listens, as others reach it: `IP:PORT`, UDP")
	cmd.Flags().StringVar(&operator, "operator", "", "who runs it: `NAME` of a-z, 0-9, '.' and '-', the same for all nodes of one person")
	for _, flag := range []string{"dir", "address", "operator"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return cmd
}
