package testnet

import "syscall"

// ChildAttributes makes the kernel stop a node whose parent has died, and keeps
// the terminal's interrupt away from it: Close stops the nodes in order.
func ChildAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
