package swarm

import (
	"context"
	crand "crypto/rand"
	"errors"
	"testing"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// Puts that came to disk together share a signature, and each gets its own
// receipt. When the signer ends, what waits is answered, and what comes later.
func TestReceiptsAreSignedTogether(t *testing.T) {
	rs := &receiptSigner{
		wake: make(chan struct{}, 1), node: must(suite.NewSigningKey(crand.Reader)), rand: crand.Reader, now: time.Now,
	}
	const n = 40
	got := make(chan *mailbox.Receipt, n)
	for i := range n {
		e := &store.Envelope{Digest: store.Digest{byte(i)}, Expiry: 7}
		rs.order(e, func(r *mailbox.Receipt, err error) {
			if err == nil {
				err = r.Confirms(e.Address, e.Digest, 7)
			}
			if err != nil {
				t.Error(err)
			}
			got <- r
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		rs.run(ctx)
		close(ended)
	}()
	for range n {
		if r := <-got; r.Size != n {
			t.Errorf("receipt of %d", r.Size)
		}
	}
	cancel()
	<-ended
	late := make(chan error, 1)
	rs.order(&store.Envelope{}, func(_ *mailbox.Receipt, err error) { late <- err })
	if err := <-late; !errors.Is(err, mailbox.ErrBusy) {
		t.Errorf("after the end: %v", err)
	}
}
