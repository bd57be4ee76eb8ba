//go:build unix

package chaos

import (
	"os"
	"syscall"
)

// pauseSignal stops a process, or lets it go on.
func pauseSignal(stop bool) os.Signal {
	if stop {
		return syscall.SIGSTOP
	}
	return syscall.SIGCONT
}
