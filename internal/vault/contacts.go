package vault

// ContactState is how we stand with somebody.
type ContactState uint8

// The states of a contact. The numbers are on disk.
const (
	ContactRequest  ContactState = 1 // wrote to us, not accepted
	ContactAccepted ContactState = 2
	ContactBlocked  ContactState = 3
)

// Contact is somebody, by their root key.
type Contact struct {
	ID      [32]byte
	Persona uint32 // the one of ours that they know
	State   ContactState
	Name    string
	Created int64  // Unix milliseconds
	Counter uint64 // the last number given to a message of ours
}

func scanContact(r *row) Contact {
	var c Contact
	r.fixed(c.ID[:])
	c.Persona, c.State = uint32(r.int64()), ContactState(r.uint8())
	c.Created, c.Counter = r.int64(), r.uint64()
	c.Name = string(r.sealed("contacts.name", c.ID[:]))
	return c
}

// Contact returns one, or ErrNotFound.
func (t *Tx) Contact(id [32]byte) (c Contact, err error) {
	err = t.one("SELECT id, persona, state, created, counter, name FROM contacts WHERE id=?", func(r *row) error {
		c = scanContact(r)
		return nil
	}, id[:])
	return c, err
}

// Contacts returns all.
func (t *Tx) Contacts() (out []Contact, err error) {
	err = t.query("SELECT id, persona, state, created, counter, name FROM contacts", func(r *row) error {
		out = append(out, scanContact(r))
		return nil
	})
	return out, err
}

// DeleteContact forgets somebody, with all that hangs on them.
func (t *Tx) DeleteContact(id [32]byte) error {
	return t.exec("DELETE FROM contacts WHERE id=?", id[:])
}

// CountContacts counts those in a state.
func (t *Tx) CountContacts(state ContactState) (n int, err error) {
	err = t.one("SELECT count(*) FROM contacts WHERE state=?", func(r *row) error {
		n = int(r.int64())
		return nil
	}, uint8(state))
	return n, err
}

// SetContact writes one.
func (t *Tx) SetContact(c Contact) error {
	name, err := t.seal([]byte(c.Name), "contacts.name", c.ID[:])
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO contacts(id, persona, state, name, created, counter) VALUES(?,?,?,?,?,?)
		ON CONFLICT(id) DO UPDATE SET persona=excluded.persona, state=excluded.state, name=excluded.name, created=excluded.created, counter=excluded.counter`,
		c.ID[:], c.Persona, uint8(c.State), name, c.Created, c.Counter)
}
