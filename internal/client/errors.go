package client

import "errors"

var (
	// ErrState is returned when a profile's state does not allow the call, such
	// as creating an account where there is one.
	ErrState = errors.New("client: the profile's state does not allow this")
	// ErrLocked is returned when the vault must be unlocked first.
	ErrLocked = errors.New("client: the profile is locked")
	// ErrNoNetwork is returned when neither the caller nor the vault names a network.
	ErrNoNetwork = errors.New("client: no network given")
	// ErrTooLong is returned for a text over the limit of spec/client.md §3.
	ErrTooLong = errors.New("client: text too long")
	// ErrEmpty is returned for a text without content or that is not UTF-8.
	ErrEmpty = errors.New("client: empty or malformed text")
	// ErrSelf is returned when the recipient is the account itself.
	ErrSelf = errors.New("client: recipient is this account")
	// ErrBlocked is returned when writing to a blocked contact.
	ErrBlocked = errors.New("client: contact is blocked")
	// ErrUnknown is returned for a contact or message that is not there.
	ErrUnknown = errors.New("client: no such contact or message")
	// ErrNotFailed is returned when retrying a message that did not fail.
	ErrNotFailed = errors.New("client: message has not failed")
	// ErrName is returned for a name that is too long or not plain text.
	ErrName = errors.New("client: unsuitable name")
	// ErrPassphrase is returned for a new passphrase that is too short.
	ErrPassphrase = errors.New("client: passphrase too short")
)
