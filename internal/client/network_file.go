package client

import (
	"context"
	"fmt"
	"os"

	"sotto/internal/directory"
	"sotto/internal/vault"
)

// network returns the directory that was given now, noting it, or else the one
// of the vault.
func (a *App) network(ctx context.Context, v *vault.Vault) (*directory.Directory, error) {
	given, dir, err := a.givenNetwork()
	if err != nil {
		return nil, err
	}
	err = v.Update(ctx, func(tx *vault.Tx) error {
		account, err := tx.Account()
		if err != nil {
			return err
		}
		defer clear(account.Seed)
		if dir != nil {
			if string(account.Network) == string(given) {
				return nil
			}
			account.Network = given
			return tx.SetAccount(account)
		}
		n, err := directory.ParseNetwork(account.Network)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoNetwork, err)
		}
		dir, err = n.Directory()
		return err
	})
	return dir, err
}

// givenNetwork returns the network of the configuration; nothing if it has none.
func (a *App) givenNetwork() ([]byte, *directory.Directory, error) {
	n := a.cfg.Network
	if n == nil {
		if a.cfg.NetworkFile == "" {
			return nil, nil, nil
		}
		b, err := os.ReadFile(a.cfg.NetworkFile)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNoNetwork, err)
		}
		if n, err = directory.ParseNetwork(b); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrNoNetwork, err)
		}
	}
	dir, err := n.Directory()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNoNetwork, err)
	}
	// What this machine runs is no part of the network.
	b, err := (&directory.Network{Document: n.Document, Key: n.Key, Signature: n.Signature}).Encode()
	return b, dir, err
}
