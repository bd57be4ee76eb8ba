//go:build !purego

package onion

import "golang.org/x/sys/cpu"

// havePolyval is whether polyvalBlocks runs on this processor.
var havePolyval = cpu.X86.HasPCLMULQDQ

// polyvalPowers fills the table with the powers of h.
//
//go:noescape
func polyvalPowers(table *polyvalTable, h *fieldElement)
