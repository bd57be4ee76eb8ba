package vault

// MessageState is how far a message has come.
type MessageState uint8

// The states of a message. The numbers are on disk; all but failed grow.
const (
	MessageQueued    MessageState = 1
	MessageSending   MessageState = 2
	MessageStored    MessageState = 3
	MessageDelivered MessageState = 4
	MessageRead      MessageState = 5
	MessageFailed    MessageState = 6
	MessageReceived  MessageState = 7
)

// Message is one message of a chat. Messages show in the order of Pos, Counter
// and Seq: a late one gets the place of the one that it should have preceded.
type Message struct {
	Seq      int64    // given by AddMessage
	ID       [16]byte // unique in this vault
	Remote   [16]byte // what the other side calls it
	Peer     [32]byte
	Outgoing bool
	State    MessageState
	Reason   string // of MessageFailed: one of the client's own words
	Sent     int64  // Unix milliseconds
	Received int64
	Pos      int64
	Device   [16]byte // the sender's; zero when outgoing
	Counter  uint64   // the sender's
	Seen     bool
	Taken    bool
	Text     string
}

const messageColumns = "SELECT seq, id, remote, peer, outgoing, state, reason, sent, received, pos, device, counter, seen, taken, body FROM messages "

func scanMessage(r *row) Message {
	var m Message
	m.Seq = r.int64()
	r.fixed(m.ID[:])
	r.fixed(m.Remote[:])
	r.fixed(m.Peer[:])
	m.Outgoing, m.State, m.Reason = r.bool(), MessageState(r.uint8()), r.text()
	m.Sent, m.Received, m.Pos = r.int64(), r.int64(), r.int64()
	r.fixed(m.Device[:])
	m.Counter, m.Seen, m.Taken = r.uint64(), r.bool(), r.bool()
	m.Text = string(r.sealed("messages.body", m.ID[:]))
	return m
}

func (t *Tx) messages(where string, args ...any) (out []Message, err error) {
	err = t.query(messageColumns+where, func(r *row) error {
		out = append(out, scanMessage(r))
		return nil
	}, args...)
	return out, err
}

// Message returns one, or ErrNotFound.
func (t *Tx) Message(id [16]byte) (m Message, err error) {
	err = t.one(messageColumns+"WHERE id=?", func(r *row) error {
		m = scanMessage(r)
		return nil
	}, id[:])
	return m, err
}

// AddMessage inserts m and sets its Seq and Pos.
func (t *Tx) AddMessage(m *Message) error {
	body, err := t.seal([]byte(m.Text), "messages.body", m.ID[:])
	if err != nil {
		return err
	}
	m.Pos = 0
	if !m.Outgoing {
		err = t.query("SELECT pos FROM messages WHERE peer=? AND device=? AND counter>? AND outgoing=0 ORDER BY counter LIMIT 1", func(r *row) error {
			m.Pos = r.int64()
			return nil
		}, m.Peer[:], m.Device[:], m.Counter)
		if err != nil {
			return err
		}
	}
	err = t.exec(`INSERT INTO messages(id, remote, peer, outgoing, state, reason, sent, received, pos, device, counter, seen, taken, body)
		VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		m.ID[:], m.Remote[:], m.Peer[:], m.Outgoing, uint8(m.State), m.Reason, m.Sent, m.Received, m.Pos, m.Device[:], m.Counter, m.Seen, m.Taken, body)
	if err != nil {
		return err
	}
	m.Seq = t.v.db.LastInsertRowID()
	if m.Pos == 0 {
		m.Pos = m.Seq
		return t.exec("UPDATE messages SET pos=seq WHERE seq=?", m.Seq)
	}
	return nil
}

// SetMessage writes the parts that change: state, reason, counter, seen, taken.
func (t *Tx) SetMessage(m Message) error {
	return t.exec("UPDATE messages SET state=?, reason=?, counter=?, seen=?, taken=? WHERE id=?",
		uint8(m.State), m.Reason, m.Counter, m.Seen, m.Taken, m.ID[:])
}

// LastMessages returns up to limit messages of a chat in order, the last ones
// before the given message (nil: the very last).
func (t *Tx) LastMessages(peer [32]byte, before *Message, limit int) ([]Message, error) {
	var out []Message
	var err error
	if before == nil {
		out, err = t.messages("WHERE peer=? ORDER BY pos DESC, counter DESC, seq DESC LIMIT ?", peer[:], limit)
	} else {
		out, err = t.messages("WHERE peer=? AND (pos, counter, seq) < (?,?,?) ORDER BY pos DESC, counter DESC, seq DESC LIMIT ?",
			peer[:], before.Pos, before.Counter, before.Seq, limit)
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, err
}

// CounterBefore returns the greatest counter below m's of the same sender, or
// zero: the difference shows what is missing.
func (t *Tx) CounterBefore(m Message) (n uint64, err error) {
	err = t.query("SELECT counter FROM messages WHERE peer=? AND device=? AND counter<? AND outgoing=0 ORDER BY counter DESC LIMIT 1", func(r *row) error {
		n = r.uint64()
		return nil
	}, m.Peer[:], m.Device[:], m.Counter)
	return n, err
}

// unsealed are queued messages that no entry of the outbox carries yet.
const unsealed = "outgoing=1 AND state=1 AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.message=messages.id)"

// Unsealed returns the queued messages to a peer that still wait for a
// conversation to be sent on, in order.
func (t *Tx) Unsealed(peer [32]byte) ([]Message, error) {
	return t.messages("WHERE peer=? AND "+unsealed+" ORDER BY seq", peer[:])
}

// UnsealedPeers returns the peers of such messages.
func (t *Tx) UnsealedPeers() (out [][32]byte, err error) {
	err = t.query("SELECT DISTINCT peer FROM messages WHERE "+unsealed, func(r *row) error {
		var id [32]byte
		r.fixed(id[:])
		out = append(out, id)
		return nil
	})
	return out, err
}

// Unseen returns the messages of a peer that were not marked seen.
func (t *Tx) Unseen(peer [32]byte) ([]Message, error) {
	return t.messages("WHERE peer=? AND outgoing=0 AND seen=0", peer[:])
}

// CountUnseen counts them.
func (t *Tx) CountUnseen(peer [32]byte) (n int, err error) {
	err = t.one("SELECT count(*) FROM messages WHERE peer=? AND outgoing=0 AND seen=0", func(r *row) error {
		n = int(r.int64())
		return nil
	}, peer[:])
	return n, err
}

// Incoming returns all messages of a peer to us.
func (t *Tx) Incoming(peer [32]byte) ([]Message, error) {
	return t.messages("WHERE peer=? AND outgoing=0 ORDER BY pos, counter, seq", peer[:])
}

// Untaken returns incoming messages not yet given to the command line, in the
// order in which a chat shows them.
func (t *Tx) Untaken() ([]Message, error) {
	return t.messages("WHERE outgoing=0 AND taken=0 ORDER BY pos, counter, seq")
}

// DeleteMessages removes a chat's messages.
func (t *Tx) DeleteMessages(peer [32]byte) error {
	return t.exec("DELETE FROM messages WHERE peer=?", peer[:])
}
