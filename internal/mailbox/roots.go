package mailbox

import (
	"sync"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// rootsKept is how many roots are remembered: receipts of one batch arrive
// together, so the last few are enough.
const rootsKept = 8

// Roots remembers the last roots of one node whose signature it verified, so
// that of all receipts that were signed together only the first costs a
// signature. The zero value remembers none. Its methods may be called
// concurrently.
type Roots struct {
	mu    sync.Mutex // guards all below, and is held while a root is verified: others mostly wait for the same
	known [rootsKept]signedRoot
	next  int
}

// signedRoot is all that a signature covers, and the signature.
type signedRoot struct {
	node      identity.NodeID
	time      uint64
	size      uint16
	root      [suite.HashSize]byte
	signature suite.Signature
}

// Confirms is r.Confirms(a, d, expiry).
func (k *Roots) Confirms(r *Receipt, a Address, d Digest, expiry uint64) error {
	if err := r.isFor(a, d, expiry); err != nil {
		return err
	}
	root, err := r.root()
	if err != nil {
		return err
	}
	signed := signedRoot{r.Node, r.Time, r.Size, root, r.Signature}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.known {
		if k.known[i] == signed { // a root of no leaf is refused above, so none equals an empty place
			return nil
		}
	}
	if err := r.verifySignature(root); err != nil {
		return err
	}
	k.known[k.next] = signed
	k.next = (k.next + 1) % rootsKept
	return nil
}
