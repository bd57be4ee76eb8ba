//go:build race

package client

// raced says that the race detector is on.
const raced = true
