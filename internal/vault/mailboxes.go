package vault

// Tombstone is an envelope to delete from its swarm. Owner is a conversation,
// or zero for the front door.
type Tombstone struct {
	Owner  [32]byte
	Period uint64
	Digest [32]byte
	Expiry uint64 // Unix seconds; after it nothing is left to delete
}

// AddTombstone puts one down.
func (t *Tx) AddTombstone(s Tombstone) error {
	return t.exec("INSERT OR IGNORE INTO tombstones(owner, period, digest, expiry) VALUES(?,?,?,?)", s.Owner[:], s.Period, s.Digest[:], s.Expiry)
}

// TombstoneBox is a mailbox that has tombstones.
type TombstoneBox struct {
	Owner  [32]byte
	Period uint64
}

// TombstoneBoxes returns all of them.
func (t *Tx) TombstoneBoxes() (out []TombstoneBox, err error) {
	err = t.query("SELECT DISTINCT owner, period FROM tombstones", func(r *row) error {
		var b TombstoneBox
		r.fixed(b.Owner[:])
		b.Period = r.uint64()
		out = append(out, b)
		return nil
	})
	return out, err
}

// Tombstones returns up to limit of one mailbox.
func (t *Tx) Tombstones(box TombstoneBox, limit int) (out []Tombstone, err error) {
	err = t.query("SELECT digest, expiry FROM tombstones WHERE owner=? AND period=? ORDER BY digest LIMIT ?", func(r *row) error {
		s := Tombstone{Owner: box.Owner, Period: box.Period}
		r.fixed(s.Digest[:])
		s.Expiry = r.uint64()
		out = append(out, s)
		return nil
	}, box.Owner[:], box.Period, limit)
	return out, err
}

// DeleteTombstone removes one that the swarm has.
func (t *Tx) DeleteTombstone(s Tombstone) error {
	return t.exec("DELETE FROM tombstones WHERE owner=? AND period=? AND digest=?", s.Owner[:], s.Period, s.Digest[:])
}

// Cursor returns how far a mailbox was read at a member, or nil.
func (t *Tx) Cursor(address, node [32]byte) (cursor []byte, err error) {
	err = t.query("SELECT cursor FROM cursors WHERE address=? AND node=?", func(r *row) error {
		cursor = r.bytes()
		return nil
	}, address[:], node[:])
	return cursor, err
}

// SetCursor writes it; it may be forgotten after expiry (Unix seconds).
func (t *Tx) SetCursor(address, node [32]byte, cursor []byte, expiry uint64) error {
	return t.exec(`INSERT INTO cursors(address, node, cursor, expiry) VALUES(?,?,?,?)
		ON CONFLICT(address, node) DO UPDATE SET cursor=excluded.cursor, expiry=excluded.expiry`, address[:], node[:], cursor, expiry)
}

// Mark records a digest until expiry and reports whether it is new: of
// envelopes and of first messages, so that neither is taken twice.
func (t *Tx) Mark(digest [32]byte, expiry uint64) (fresh bool, err error) {
	if err := t.exec("INSERT OR IGNORE INTO seen(digest, expiry) VALUES(?,?)", digest[:], expiry); err != nil {
		return false, err
	}
	return t.v.db.Changes() == 1, nil
}

// Marked reports whether Mark recorded a digest.
func (t *Tx) Marked(digest [32]byte) (found bool, err error) {
	err = t.query("SELECT 1 FROM seen WHERE digest=?", func(*row) error {
		found = true
		return nil
	}, digest[:])
	return found, err
}

// OpenedUntil returns until when a mailbox is known to be open, or zero.
func (t *Tx) OpenedUntil(address [32]byte) (until uint64, err error) {
	err = t.query("SELECT expiry FROM opened WHERE address=?", func(r *row) error {
		until = r.uint64()
		return nil
	}, address[:])
	return until, err
}

// SetOpened writes it.
func (t *Tx) SetOpened(address [32]byte, until uint64) error {
	return t.exec("INSERT INTO opened(address, expiry) VALUES(?,?) ON CONFLICT(address) DO UPDATE SET expiry=excluded.expiry", address[:], until)
}

// Expire removes records that have lost their meaning at now (Unix seconds).
func (t *Tx) Expire(now uint64) error {
	for _, sql := range []string{
		"DELETE FROM seen WHERE expiry<?",
		"DELETE FROM tombstones WHERE expiry<?",
		"DELETE FROM cursors WHERE expiry<?",
		"DELETE FROM opened WHERE expiry<?",
	} {
		if err := t.exec(sql, now); err != nil {
			return err
		}
	}
	return nil
}
