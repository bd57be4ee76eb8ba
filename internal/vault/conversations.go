package vault

// Conversation is a pair of mailboxes with a contact.
type Conversation struct {
	ID         [32]byte
	Peer       [32]byte
	Created    int64 // Unix milliseconds, from the invitation
	Initiator  bool  // we made it
	Base       [32]byte
	Device     [16]byte // the peer's
	ReadPeriod uint64   // every earlier period has been read to its end
	Secret     []byte
}

const conversationColumns = "SELECT id, peer, created, initiator, base, device, read_period, secret FROM conversations "

func scanConversation(r *row) Conversation {
	var c Conversation
	r.fixed(c.ID[:])
	r.fixed(c.Peer[:])
	c.Created, c.Initiator = r.int64(), r.bool()
	r.fixed(c.Base[:])
	r.fixed(c.Device[:])
	c.ReadPeriod = r.uint64()
	c.Secret = r.sealed("conversations.secret", c.ID[:])
	return c
}

// Conversation returns one, or ErrNotFound.
func (t *Tx) Conversation(id [32]byte) (c Conversation, err error) {
	err = t.one(conversationColumns+"WHERE id=?", func(r *row) error {
		c = scanConversation(r)
		return nil
	}, id[:])
	return c, err
}

// SendingConversation returns the one to send on: the greatest by time of
// creation and ID, which both sides choose alike (spec/client.md §5.1).
func (t *Tx) SendingConversation(peer [32]byte) (c Conversation, err error) {
	err = t.one(conversationColumns+"WHERE peer=? ORDER BY created DESC, id DESC LIMIT 1", func(r *row) error {
		c = scanConversation(r)
		return nil
	}, peer[:])
	return c, err
}

// Conversations returns all.
func (t *Tx) Conversations() (out []Conversation, err error) {
	err = t.query(conversationColumns, func(r *row) error {
		out = append(out, scanConversation(r))
		return nil
	})
	return out, err
}

// CountConversations counts those with a peer.
func (t *Tx) CountConversations(peer [32]byte) (n int, err error) {
	err = t.one("SELECT count(*) FROM conversations WHERE peer=?", func(r *row) error {
		n = int(r.int64())
		return nil
	}, peer[:])
	return n, err
}

// SetConversation writes one.
func (t *Tx) SetConversation(c Conversation) error {
	secret, err := t.seal(c.Secret, "conversations.secret", c.ID[:])
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO conversations(id, peer, created, initiator, base, device, read_period, secret) VALUES(?,?,?,?,?,?,?,?)
		ON CONFLICT(id) DO UPDATE SET read_period=excluded.read_period, secret=excluded.secret`,
		c.ID[:], c.Peer[:], c.Created, c.Initiator, c.Base[:], c.Device[:], c.ReadPeriod, secret)
}

// MoveConversation writes what changes of one in time, unless it is gone.
func (t *Tx) MoveConversation(c Conversation) error {
	secret, err := t.seal(c.Secret, "conversations.secret", c.ID[:])
	if err != nil {
		return err
	}
	return t.exec("UPDATE conversations SET read_period=?, secret=? WHERE id=?", c.ReadPeriod, secret, c.ID[:])
}

// DeleteConversation removes one with its sessions and what waits to be sent on it.
func (t *Tx) DeleteConversation(id [32]byte) error {
	return t.exec("DELETE FROM conversations WHERE id=?", id[:])
}
