package testnet

import "syscall"

// ChildAttributes keeps the terminal's interrupt away from a node: Close stops
// the nodes in order.
func ChildAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
