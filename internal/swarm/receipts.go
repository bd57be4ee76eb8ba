package swarm

import (
	"context"
	"io"
	"sync"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// receiptSigner signs the receipts of puts together: one signature for all that
// came onto disk while the last one was being made.
type receiptSigner struct {
	wake chan struct{}

	node suite.Signer
	rand io.Reader
	now  func() time.Time

	// mu guards what follows.
	mu     sync.Mutex
	orders []receiptOrder
	closed bool
}

// receiptOrder is an envelope on disk. done is called once, by the signer's
// goroutine, and must not block.
type receiptOrder struct {
	e    *store.Envelope
	done func(*mailbox.Receipt, error)
}

// order has this member's receipt made for an envelope that it has on disk. It
// does not block.
func (rs *receiptSigner) order(e *store.Envelope, done func(*mailbox.Receipt, error)) {
	rs.mu.Lock()
	closed := rs.closed
	if !closed {
		rs.orders = append(rs.orders, receiptOrder{e, done})
	}
	rs.mu.Unlock()
	if closed {
		done(nil, mailbox.ErrBusy)
		return
	}
	signal(rs.wake)
}

// run is the signer's goroutine.
func (rs *receiptSigner) run(ctx context.Context) {
	for {
		select {
		case <-rs.wake:
			rs.sign(rs.take(false))
		case <-ctx.Done():
			for _, o := range rs.take(true) {
				o.done(nil, mailbox.ErrBusy)
			}
			return
		}
	}
}

func (rs *receiptSigner) take(last bool) []receiptOrder {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	orders := rs.orders
	rs.orders, rs.closed = nil, last
	return orders
}

func (rs *receiptSigner) sign(orders []receiptOrder) {
	for len(orders) > 0 {
		n := min(len(orders), mailbox.MaxReceiptBatch)
		rs.signBatch(orders[:n])
		orders = orders[n:]
	}
}

func (rs *receiptSigner) signBatch(orders []receiptOrder) {
	var batch mailbox.ReceiptBatch
	for _, o := range orders {
		batch.Add(o.e.Address, o.e.Digest, o.e.Expiry)
	}
	signed, err := batch.Sign(rs.rand, rs.node, rs.now())
	for i, o := range orders {
		if err != nil {
			o.done(nil, err)
			continue
		}
		o.done(&signed[i], nil)
	}
}
