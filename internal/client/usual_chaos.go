//go:build chaos

package client

import "time"

// usualTiming deletes soon what was read: the random delays of
// spec/client.md §5.8 keep mailboxes from being joined and promise nothing that
// a test of processes looks at, which would only wait for them (docs/chaos.md).
func usualTiming() timing {
	t := defaultTiming
	t.tombstones, t.door = time.Second, time.Second
	return t
}
