package vault

// Session returns the ratchet's state with a device, or ErrNotFound.
func (t *Tx) Session(conversation [32]byte, device [16]byte) (state []byte, err error) {
	err = t.one("SELECT state FROM sessions WHERE conversation=? AND device=?", func(r *row) error {
		state = r.sealed("sessions.state", conversation[:], device[:])
		return nil
	}, conversation[:], device[:])
	return state, err
}

// SetSession writes it.
func (t *Tx) SetSession(conversation [32]byte, device [16]byte, state []byte) error {
	sealed, err := t.seal(state, "sessions.state", conversation[:], device[:])
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO sessions(conversation, device, state) VALUES(?,?,?)
		ON CONFLICT(conversation, device) DO UPDATE SET state=excluded.state`, conversation[:], device[:], sealed)
}
