package testnet

import (
	"testing"

	"sotto/internal/client"
)

func TestConversation(t *testing.T) {
	n := start(t, 15, 5, Config{})
	alice, bob := newAccount(t, n, "alice", nil), newAccount(t, n, "bob", nil)
	befriend(t, alice, bob)
	deliver(t, alice, bob, "one way", client.MessageDelivered)
	deliver(t, bob, alice, "and back", client.MessageDelivered)
}
