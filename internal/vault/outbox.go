package vault

// OutboxKind says what an entry is, and so where it goes.
type OutboxKind uint8

// The kinds of an outbox entry. The numbers are on disk.
const (
	OutboxFirst    OutboxKind = 1 // a first contact, to the peer's front door
	OutboxMessage  OutboxKind = 2 // to the conversation's mailbox
	OutboxReceipts OutboxKind = 3 // the same, without a message to show
)

// Entry is an envelope in its final form that has to reach a swarm.
type Entry struct {
	Seq          int64 // given by AddEntry
	Kind         OutboxKind
	Message      [16]byte // zero when there is none to show
	Conversation [32]byte
	Period       uint64
	Expiry       uint64 // Unix seconds
	Created      int64  // Unix milliseconds
	Attempts     uint32
	Next         int64 // Unix milliseconds; not before
	Envelope     []byte
}

// AddEntry inserts e and sets its Seq.
func (t *Tx) AddEntry(e *Entry) error {
	err := t.exec(`INSERT INTO outbox(kind, message, conversation, period, expiry, created, attempts, next, envelope) VALUES(?,?,?,?,?,?,?,?,?)`,
		uint8(e.Kind), e.Message[:], e.Conversation[:], e.Period, e.Expiry, e.Created, e.Attempts, e.Next, e.Envelope)
	e.Seq = t.v.db.LastInsertRowID()
	return err
}

const entryHeads = "SELECT seq, kind, message, conversation, period, expiry, created, attempts, next, x'' FROM outbox "

const entryColumns = "SELECT seq, kind, message, conversation, period, expiry, created, attempts, next, envelope FROM outbox "

func scanEntry(r *row) Entry {
	var e Entry
	e.Seq, e.Kind = r.int64(), OutboxKind(r.uint8())
	r.fixed(e.Message[:])
	r.fixed(e.Conversation[:])
	e.Period, e.Expiry, e.Created = r.uint64(), r.uint64(), r.int64()
	e.Attempts, e.Next, e.Envelope = uint32(r.int64()), r.int64(), r.bytes()
	return e
}

// Entries returns up to limit entries after seq, oldest first, without their
// envelopes: Entry has those.
func (t *Tx) Entries(after int64, limit int) (out []Entry, err error) {
	err = t.query(entryHeads+"WHERE seq>? ORDER BY seq LIMIT ?", func(r *row) error {
		out = append(out, scanEntry(r))
		return nil
	}, after, limit)
	return out, err
}

// Entry returns one with its envelope, or ErrNotFound.
func (t *Tx) Entry(seq int64) (e Entry, err error) {
	err = t.one(entryColumns+"WHERE seq=?", func(r *row) error {
		e = scanEntry(r)
		return nil
	}, seq)
	return e, err
}

// CountEntries counts what has not left.
func (t *Tx) CountEntries() (n int, err error) {
	err = t.one("SELECT count(*) FROM outbox", func(r *row) error {
		n = int(r.int64())
		return nil
	})
	return n, err
}

// SetEntry writes the parts that change: period, expiry, attempts, next and
// envelope.
func (t *Tx) SetEntry(e Entry) error {
	return t.exec("UPDATE outbox SET period=?, expiry=?, attempts=?, next=?, envelope=? WHERE seq=?",
		e.Period, e.Expiry, e.Attempts, e.Next, e.Envelope, e.Seq)
}

// DeleteEntry removes one that has arrived.
func (t *Tx) DeleteEntry(seq int64) error {
	return t.exec("DELETE FROM outbox WHERE seq=?", seq)
}

// EntriesOf returns all entries of a conversation, without their envelopes.
func (t *Tx) EntriesOf(conversation [32]byte) (out []Entry, err error) {
	err = t.query(entryHeads+"WHERE conversation=? ORDER BY seq", func(r *row) error {
		out = append(out, scanEntry(r))
		return nil
	}, conversation[:])
	return out, err
}
