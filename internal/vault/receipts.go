package vault

// ReceiptKind is what a receipt tells the sender.
type ReceiptKind uint8

// The kinds of a receipt; read says delivered too.
const (
	ReceiptDelivered ReceiptKind = 1
	ReceiptRead      ReceiptKind = 2
)

// Receipt is one that is to be sent.
type Receipt struct {
	Peer    [32]byte
	Message [16]byte // what the sender calls it
	Kind    ReceiptKind
	Due     int64 // Unix milliseconds
}

// AddReceipt puts one down, or raises the kind of the one that waits.
func (t *Tx) AddReceipt(r Receipt) error {
	return t.exec(`INSERT INTO receipts(peer, message, kind, due) VALUES(?,?,?,?)
		ON CONFLICT(peer, message) DO UPDATE SET kind=max(kind, excluded.kind)`, r.Peer[:], r.Message[:], uint8(r.Kind), r.Due)
}

// Receipts returns up to limit receipts for a peer, the earliest due first.
func (t *Tx) Receipts(peer [32]byte, limit int) (out []Receipt, err error) {
	err = t.query("SELECT message, kind, due FROM receipts WHERE peer=? ORDER BY due LIMIT ?", func(r *row) error {
		x := Receipt{Peer: peer}
		r.fixed(x.Message[:])
		x.Kind, x.Due = ReceiptKind(r.uint8()), r.int64()
		out = append(out, x)
		return nil
	}, peer[:], limit)
	return out, err
}

// ReceiptPeers returns for each peer when its first receipt is due.
func (t *Tx) ReceiptPeers() (map[[32]byte]int64, error) {
	out := map[[32]byte]int64{}
	err := t.query("SELECT peer, min(due) FROM receipts GROUP BY peer", func(r *row) error {
		var id [32]byte
		r.fixed(id[:])
		out[id] = r.int64()
		return nil
	})
	return out, err
}

// DeleteReceipt removes one that is in an envelope now.
func (t *Tx) DeleteReceipt(r Receipt) error {
	return t.exec("DELETE FROM receipts WHERE peer=? AND message=?", r.Peer[:], r.Message[:])
}
