// Package relay is a node in its forwarding role: it answers CREATE, extends
// circuits, switches cells between neighbours, and at an exit copies bytes
// between streams and the nodes that they name. It implements
// spec/circuit.md §4.
//
// It interprets no byte of a stream, keeps no state beyond a circuit's life,
// and writes no client's address anywhere. Building circuits is package
// circuit's affair.
//
// The goroutines of one circuit, all waited for by the first:
//
//	serve        reads the previous channel; owns the circuit
//	serveNext    reads the next channel, once there is one
//	queue.drain  writes a channel; runs while something waits
//	extend       runs while an extension is under way
//	stream.run   opens and reads a service stream
//	stream.drain writes a service stream; runs while something waits
//
// Besides, endIdle ends what is idle, one for the relay.
//
// Locks are taken in this order: sender.mu, queue.mu or stream.mu, cover.mu,
// circuit.mu, Relay.mu, account.mu. halfOpen.mu, creations.mu, links.mu and
// targets.mu come after these, and no two of them together.
package relay
