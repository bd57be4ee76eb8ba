package swarm

import (
	"context"
	"io"
	"time"

	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/swarm/store"
)

// receiptSigner signs the receipts of concurrent puts together: one signature
// for all that came onto disk while the last one was being made.
type receiptSigner struct {
	orders chan receiptOrder

	node suite.Signer
	rand io.Reader
	now  func() time.Time
}

type receiptOrder struct {
	e    *store.Envelope
	done chan<- signedReceipt
}

type signedReceipt struct {
	receipt *mailbox.Receipt
	err     error
}

// sign returns this member's receipt for an envelope that it has on disk.
func (rs *receiptSigner) sign(ctx context.Context, e *store.Envelope) (*mailbox.Receipt, error) {
	done := make(chan signedReceipt, 1)
	select {
	case rs.orders <- receiptOrder{e, done}:
	case <-ctx.Done():
		return nil, mailbox.ErrBusy
	}
	select {
	case r := <-done:
		return r.receipt, r.err
	case <-ctx.Done():
		return nil, mailbox.ErrBusy
	}
}

// run is the signer's goroutine.
func (rs *receiptSigner) run(ctx context.Context) {
	for {
		select {
		case o := <-rs.orders:
			rs.signBatch(o)
		case <-ctx.Done():
			return
		}
	}
}

func (rs *receiptSigner) signBatch(first receiptOrder) {
	var batch mailbox.ReceiptBatch
	orders := []receiptOrder{first}
	batch.Add(first.e.Address, first.e.Digest, first.e.Expiry)
gather:
	for batch.Len() < mailbox.MaxReceiptBatch {
		select {
		case o := <-rs.orders:
			batch.Add(o.e.Address, o.e.Digest, o.e.Expiry)
			orders = append(orders, o)
		default:
			break gather
		}
	}
	signed, err := batch.Sign(rs.rand, rs.node, rs.now())
	for i, o := range orders {
		if err != nil {
			o.done <- signedReceipt{err: err}
			continue
		}
		o.done <- signedReceipt{receipt: &signed[i]}
	}
}
