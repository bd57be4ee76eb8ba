package main

import (
	"context"
	"errors"
	"strings"

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
		{client.ErrPassphrase, "the passphrase is too short: it needs 8 characters or more, better several words"},
		{client.ErrLocked, "the account is locked: open the daemon's link and unlock it there"},
		{client.ErrSelf, "that is your own ID"},
		{client.ErrTooLong, "the text is too long for one message: send it in parts"},
		{client.ErrEmpty, "the text is empty or not UTF-8"},
		{client.ErrName, "the name is too long, or has characters that cannot be shown"},
		{client.ErrUnknown, "no such contact or request"},
		{client.ErrBlocked, "you have blocked this contact: unblock them first (sotto requests unblock ID)"},
		{context.Canceled, "interrupted"},
	} {
		if errors.Is(err, e.is) {
			return e.say
		}
	}
	text := err.Error()
	if said := client.ErrNoNetwork.Error() + ": "; errors.Is(err, client.ErrNoNetwork) && strings.HasPrefix(text, said) {
		return "the network's file cannot be used: " + plain(strings.TrimPrefix(text, said))
	}
	return plain(text)
}

// plain takes off the names of packages with which errors begin: they tell a
// person nothing.
func plain(text string) string {
	for _, name := range []string{"api: ", "client: ", "directory: ", "identity: ", "node: ", "testnet: ", "vault: "} {
		text = strings.TrimPrefix(text, name)
	}
	return text
}
