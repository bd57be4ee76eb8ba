//go:build !purego

package onion

import "golang.org/x/sys/cpu"

// haveAES is whether the AES of this package runs on this processor.
var haveAES = cpu.X86.HasAES
