//go:build !chaos

package client

// usualTiming is that of a client nobody says otherwise of.
func usualTiming() timing { return defaultTiming }
