// Package circuit is the client's side of circuits: it keeps guards, chooses
// paths, builds three hops by telescoping, keeps idle circuits ready, and opens
// streams through exits to nodes of swarms. It implements spec/circuit.md §5.
//
// It does not know what the streams carry, nor who the user is: callers name
// what may share a circuit by an Isolation. Cells, layers and handshakes are
// package onion's, connections package link's, the relays' half package
// relay's.
//
// Locks: Manager.mu before circuit.mu; nothing else is taken under circuit.mu but
// the lock of the randomness, and no lock is held over input or output.
package circuit
