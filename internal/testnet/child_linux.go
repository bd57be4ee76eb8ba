package testnet

import "syscall"

// childAttributes makes the kernel stop a node whose parent has died, and keeps
// the terminal's interrupt away from it: Close stops the nodes in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
