//go:build !linux

package link

import "net"

// coalesce makes a socket take runs of packets where the kernel can; here it
// cannot.
func coalesce(pc net.PacketConn) net.PacketConn { return pc }
