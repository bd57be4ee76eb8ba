package vault

// Account is what makes the vault somebody's.
type Account struct {
	Name    string
	Seed    []byte
	Device  [16]byte
	Network []byte // the network's description, as given
}

// The keys of settings that hold it.
const (
	keyName    = "account/name"
	keySeed    = "account/seed"
	keyDevice  = "account/device"
	keyNetwork = "account/network"
)

// Account returns the account, or ErrNotFound before SetAccount.
func (t *Tx) Account() (Account, error) {
	var a Account
	var err error
	if a.Seed, err = t.Setting(keySeed); err != nil {
		return a, err
	}
	device, err := t.Setting(keyDevice)
	if err != nil {
		return a, err
	}
	copy(a.Device[:], device)
	if a.Network, err = t.Setting(keyNetwork); err != nil {
		return a, err
	}
	name, err := t.Setting(keyName)
	a.Name = string(name)
	return a, err
}

// SetAccount writes it.
func (t *Tx) SetAccount(a Account) error {
	for _, s := range []struct {
		key   string
		value []byte
	}{{keySeed, a.Seed}, {keyDevice, a.Device[:]}, {keyNetwork, a.Network}, {keyName, []byte(a.Name)}} {
		if s.value == nil {
			s.value = []byte{}
		}
		if err := t.SetSetting(s.key, s.value); err != nil {
			return err
		}
	}
	return nil
}
