package main

import (
	"context"
	"errors"

	"sotto/internal/client"
	"sotto/internal/vault"
)

// explain says what an error means for the person at the terminal, and what
// they can do. Errors that say it themselves pass unchanged.
func explain(err error) string {
	for _, e := range []struct {
		is  error
		say string
	}{
		{vault.ErrPassphrase, "wrong passphrase"},
		{vault.ErrInUse, "the profile is in use by another process: stop it, or let its daemon do the work"},
		{client.ErrPassphrase, "the passphrase is too short"},
		{client.ErrLocked, "the account is locked: open the daemon's link and unlock it there"},
		{client.ErrSelf, "that is your own ID"},
		{client.ErrBlocked, "you have blocked this contact: unblock them first (sotto requests unblock ID)"},
		{context.Canceled, "interrupted"},
	} {
		if errors.Is(err, e.is) {
			return e.say
		}
	}
	return err.Error()
}
