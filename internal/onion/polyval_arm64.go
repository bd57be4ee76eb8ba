//go:build !purego

package onion

import "golang.org/x/sys/cpu"

// havePolyval is whether polyvalBlocks runs on this processor.
var havePolyval = cpu.ARM64.HasPMULL

// polyvalPowers fills the table with the powers of h.
func polyvalPowers(t *polyvalTable, h *fieldElement) {
	power := *h
	t.initShort(power)
	for i := 2; i <= tablePowers; i++ {
		in := power.bytes()
		power = t.blocks(fieldElement{}, in[:])
		entry := &t[tablePowers-i]
		entry.power = power
		entry.mid.lo = power.lo ^ power.hi
	}
}
