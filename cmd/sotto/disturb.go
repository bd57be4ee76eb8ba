//go:build !chaos

package main

import "sotto/internal/node"

// disturb is nothing but in builds with the tag chaos (docs/chaos.md).
func disturb(*node.Config) (steady func(), err error) { return func() {}, nil }
