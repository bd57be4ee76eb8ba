package client

import (
	"encoding/binary"
	"errors"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/vault"
	"sotto/internal/wire"
)

// inbox is a succession of mailboxes that we read: a conversation's, or the
// front door.
type inbox interface {
	// id is the conversation's, or zero for the front door.
	id() [32]byte
	period(now time.Time) identity.Period
	// ends is when a period of this inbox does.
	ends(p identity.Period) time.Time
	// box returns the mailbox of a period, until when it must stand, and the key
	// that opens what is in it.
	box(p identity.Period) (mailbox.Locator, time.Time, suite.Key, error)
	credential(p identity.Period) (credential, error)
	// read is the first period that was not read to its end, and setRead
	// moves it on.
	read() identity.Period
	setRead(tx *vault.Tx, p identity.Period) error
}

var errNoPeriod = errors.New("client: no keys for this period")

// conversationInbox is our side of a conversation.
type conversationInbox struct{ *channel }

func (i conversationInbox) id() [32]byte { return i.channel.id }

func (i conversationInbox) box(p identity.Period) (mailbox.Locator, time.Time, suite.Key, error) {
	b, err := i.channel.box(p, false)
	return b.Locator, i.ends(p).Add(mailbox.MaxTTL), b.Key, err
}

func (i conversationInbox) period(now time.Time) identity.Period { return i.channel.period(now, false) }

func (i conversationInbox) ends(p identity.Period) time.Time { return i.channel.ends(p, false) }

func (i conversationInbox) credential(p identity.Period) (credential, error) {
	s, err := i.owner(p)
	return credential{signer: s}, err
}

func (i conversationInbox) read() identity.Period { return i.readPeriod() }

func (i conversationInbox) setRead(tx *vault.Tx, p identity.Period) error {
	return tx.MoveConversation(i.channel.setRead(p))
}

// frontDoor is where strangers write to.
type frontDoor struct{ c *Client }

// settingDoorRead is where the front door's read period is kept.
const settingDoorRead = "door/read"

func (frontDoor) id() [32]byte { return [32]byte{} }

func (frontDoor) period(now time.Time) identity.Period { return identity.PeriodAt(now) }

func (frontDoor) ends(p identity.Period) time.Time { return p.End() }

func (f frontDoor) box(p identity.Period) (mailbox.Locator, time.Time, suite.Key, error) {
	loc, err := mailbox.FrontDoor(f.c.root, p)
	return loc, p.End().Add(mailbox.MaxTTL), identity.FrontDoorKey(f.c.root, p), err
}

func (f frontDoor) credential(p identity.Period) (credential, error) {
	own := f.c.ownPeriodAt(p)
	if own == nil {
		return credential{}, errNoPeriod
	}
	return credential{signer: own.secrets.Key, cert: &own.secrets.Certificate}, nil
}

func (f frontDoor) read() identity.Period {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.c.doorRead
}

func (f frontDoor) setRead(tx *vault.Tx, p identity.Period) error {
	f.c.mu.Lock()
	f.c.doorRead = max(f.c.doorRead, p)
	p = f.c.doorRead
	f.c.mu.Unlock()
	return tx.SetNumber(settingDoorRead, uint64(p))
}

// watched returns the periods of an inbox to read at now: live ones, which are
// subscribed to, and earlier ones, which are read once to their end. A mailbox
// is watched from before its period until after it, by overlap and by moments
// of its own at both ends.
func (c *Client) watched(in inbox, now time.Time) (live, old []identity.Period) {
	current := in.period(now)
	for p := max(current, 1) - 1; p <= current+1; p++ {
		begins := in.ends(p - 1).Add(-overlap - c.moment(in, p, 0, c.timing.watch))
		ends := in.ends(p).Add(overlap + c.moment(in, p, 1, c.timing.watch))
		if !now.Before(begins) && now.Before(ends) {
			live = append(live, p)
		}
	}
	first := max(in.read(), in.period(now.Add(-mailbox.MaxTTL-overlap)))
	for p := first; p < live[0]; p++ {
		old = append(old, p)
	}
	return live, old
}

// moment is a time up to within that belongs to one end of a mailbox's period,
// and that nobody else can know. It is the same at every start: of several
// draws the first to come would count, which is nearly the same for all.
func (c *Client) moment(in inbox, p identity.Period, end uint8, within time.Duration) time.Duration {
	if within <= 0 || c.timing.unphased {
		return 0
	}
	id := in.id()
	h := suite.Hash(labelMoment, c.salt, id[:], wire.AppendUint64(nil, uint64(p)), []byte{end})
	return time.Duration(binary.BigEndian.Uint64(h[:8]) % uint64(within))
}

// inboxes returns everything that is read now.
func (c *Client) inboxes() []inbox {
	out := []inbox{frontDoor{c}}
	for _, ch := range c.openChannels() {
		out = append(out, conversationInbox{ch})
	}
	return out
}

// lane spreads mailboxes over the receiving lanes; the two subscriptions of one
// take different ones.
func lane(a mailbox.Address, replica int) uint8 { return a[0] + uint8(replica)*(1+a[1]%3) }

// readTarget is the target of reading a mailbox over one of its two lanes.
func (c *Client) readTarget(in inbox, p identity.Period, replica int) (target, suite.Key, error) {
	loc, until, key, err := in.box(p)
	if err != nil {
		return target{}, key, err
	}
	a := loc.Address()
	return target{
		route: route{iso: receiveUse(c.number, lane(a, replica)), avoid: []isolation{receiveUse(c.number, lane(a, 1-replica))}},
		loc:   loc, bytes: mailboxBytes, until: until,
	}, key, nil
}
