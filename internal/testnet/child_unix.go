//go:build unix && !linux

package testnet

import "syscall"

// childAttributes keeps the terminal's interrupt away from a node: Close stops
// the nodes in order.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
