package vault

import "encoding/binary"

// Setting returns a setting's value, or ErrNotFound.
func (t *Tx) Setting(key string) (value []byte, err error) {
	err = t.one("SELECT value FROM settings WHERE key=?", func(r *row) error {
		value = r.sealed("settings.value", []byte(key))
		return nil
	}, key)
	return value, err
}

// SetSetting writes a setting; a nil value removes it.
func (t *Tx) SetSetting(key string, value []byte) error {
	if value == nil {
		return t.exec("DELETE FROM settings WHERE key=?", key)
	}
	sealed, err := t.seal(value, "settings.value", []byte(key))
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO settings(key, value) VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", key, sealed)
}

// Number is Setting for a number; one that is not there is zero.
func (t *Tx) Number(key string) (uint64, error) {
	b, err := t.Setting(key)
	if err == ErrNotFound {
		return 0, nil
	}
	if err != nil || len(b) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// SetNumber is SetSetting for a number.
func (t *Tx) SetNumber(key string, n uint64) error {
	return t.SetSetting(key, binary.BigEndian.AppendUint64(nil, n))
}
