package client

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sotto/internal/directory"
	"sotto/internal/vault"
)

// network returns a source that begins with the directory of the vault, or with
// the one that was given now if that is a newer one of the same network. An older
// one changes nothing: files lie around for long.
func (a *App) network(ctx context.Context, v *vault.Vault) (*directory.Live, error) {
	given, dir, err := a.givenNetwork()
	if err != nil {
		return nil, err
	}
	var live *directory.Live
	var fork *directory.Fork
	err = v.Update(ctx, func(tx *vault.Tx) error {
		account, err := tx.Account()
		if err != nil {
			return err
		}
		defer clear(account.Seed)
		n, err := directory.ParseNetwork(account.Network)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoNetwork, err)
		}
		known, err := n.Directory()
		if err != nil {
			return err
		}
		live = directory.NewLive(known, a.cfg.Now)
		if dir == nil {
			return nil
		}
		switch err := live.Adopt(dir.Network()); {
		case errors.Is(err, directory.ErrNotNewer):
			return nil
		case errors.As(err, &fork):
			return keepFork(tx, fork, a.cfg.Now()) // refused below
		case err != nil:
			return fmt.Errorf("%w: %w", ErrNoNetwork, err)
		}
		account.Network = given
		return tx.SetAccount(account)
	})
	if err == nil && fork != nil {
		err = fmt.Errorf("%w: %w", ErrNoNetwork, fork)
	}
	return live, err
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
