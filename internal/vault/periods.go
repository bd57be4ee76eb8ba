package vault

import "encoding/binary"

// Period is one device's secrets for one period, and until when its card and
// its front door lie in the network (Unix seconds; zero: not there yet).
type Period struct {
	Persona   uint32
	Period    uint64
	Secrets   []byte
	CardUntil uint64
	DoorUntil uint64
}

func periodID(persona uint32, period uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, persona), period)
}

// Periods returns a persona's periods in order.
func (t *Tx) Periods(persona uint32) (out []Period, err error) {
	err = t.query("SELECT period, card_until, door_until, secrets FROM periods WHERE persona=? ORDER BY period", func(r *row) error {
		p := Period{Persona: persona, Period: r.uint64(), CardUntil: r.uint64(), DoorUntil: r.uint64()}
		p.Secrets = r.sealed("periods.secrets", periodID(persona, p.Period))
		out = append(out, p)
		return nil
	}, persona)
	return out, err
}

// SetPeriod writes one.
func (t *Tx) SetPeriod(p Period) error {
	sealed, err := t.seal(p.Secrets, "periods.secrets", periodID(p.Persona, p.Period))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO periods(persona, period, secrets, card_until, door_until) VALUES(?,?,?,?,?)
		ON CONFLICT(persona, period) DO UPDATE SET secrets=excluded.secrets, card_until=excluded.card_until, door_until=excluded.door_until`,
		p.Persona, p.Period, sealed, p.CardUntil, p.DoorUntil)
}

// ErasePeriods removes the secrets of all periods before first.
func (t *Tx) ErasePeriods(persona uint32, first uint64) error {
	return t.exec("DELETE FROM periods WHERE persona=? AND period<?", persona, first)
}
