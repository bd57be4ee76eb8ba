//go:build chaos

package main

import (
	"sotto/internal/faults"
	"sotto/internal/node"
)

// disturb lets the node stand on ground that a test can shake (docs/chaos.md).
func disturb(cfg *node.Config) (steady func(), err error) {
	g, err := faults.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Now, cfg.Listen, cfg.FS = g.Now, g.Listen, g.FS()
	return g.Close, nil
}
