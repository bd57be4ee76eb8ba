package client

import (
	"errors"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/ratchet"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

// applyFirst reads a first contact at the front door (spec/client.md §5.6).
func (c *Client) applyFirst(tx *vault.Tx, fx *effects, a arrival, sealed []byte) (taken bool, err error) {
	first, err := mailbox.OpenFirst(a.key, a.addr, sealed)
	if err != nil {
		c.unreadable(err)
		return false, nil
	}
	session, intro, payload, until, err := c.openFirst(first)
	if err != nil {
		c.unreadable(err)
		return false, nil
	}
	// A replay has another outer layer and so another digest as an envelope.
	fresh, err := tx.Mark(ratchet.FirstDigest(first), uint64(until.Unix()))
	if err != nil || !fresh {
		return !fresh, err
	}
	o, t, err := parseOpening(payload)
	if err != nil {
		c.unreadable(err)
		return false, nil
	}
	contact, ok, err := c.welcome(tx, intro.Root)
	if err != nil || !ok {
		return false, err
	}
	ch, err := c.join(tx, intro, o, session)
	if err != nil || ch == nil {
		return false, err
	}
	fx.channels = append(fx.channels, ch)
	if err := c.applyContent(tx, fx, contact, ch.device, t); err != nil {
		return false, err
	}
	if contact.State == vault.ContactBlocked {
		return false, nil // deleting it would tell them that it was read
	}
	fx.events = append(fx.events, Event{Type: EventChat, Peer: identity.AccountID{Root: intro.Root}.String()})
	return true, nil
}

// openFirst decrypts a first message and verifies who wrote it. until is when
// its prekeys are erased, after which a replay cannot be opened any more.
func (c *Client) openFirst(first []byte) (*ratchet.Session, *identity.Introduction, []byte, time.Time, error) {
	fail := func(err error) (*ratchet.Session, *identity.Introduction, []byte, time.Time, error) {
		return nil, nil, nil, time.Time{}, err
	}
	n, err := ratchet.FirstPeriod(first)
	if err != nil {
		return fail(err)
	}
	p := identity.Period(n)
	own := c.ownPeriodAt(p)
	if own == nil {
		return fail(errNoPeriod)
	}
	secrets := ratchet.PrekeySecrets{Identity: c.persona.Identity(), Signed: own.secrets.Prekey, KEM: own.secrets.KEM, Period: n}
	o, err := ratchet.ReadFirst(secrets, first, firstAD(c.root))
	if err != nil {
		return fail(err)
	}
	intro, err := identity.ParseIntroduction(o.Sender())
	if err != nil {
		return fail(err)
	}
	if err := intro.Verify(c.now()); err != nil {
		return fail(err)
	}
	if intro.Root == c.root {
		return fail(ErrSelf)
	}
	session, payload, err := o.Accept(c.rand, intro.Subject.Identity)
	if err != nil {
		return fail(err)
	}
	return session, intro, payload, secretsUntil(p), nil
}

// welcome returns the contact of a first message's sender, a request if it is
// a stranger. ok is false when there is no room for one more.
func (c *Client) welcome(tx *vault.Tx, root suite.VerifyKey) (contact vault.Contact, ok bool, err error) {
	contact, err = tx.Contact(root)
	if err == nil {
		n, err := tx.CountConversations(root)
		return contact, n < maxConversations, err
	}
	if !errors.Is(err, vault.ErrNotFound) {
		return contact, false, err
	}
	n, err := tx.CountContacts(vault.ContactRequest)
	if err != nil || n >= maxRequests {
		return contact, false, err
	}
	contact = vault.Contact{ID: root, Persona: c.number, State: vault.ContactRequest, Created: c.nowMilli()}
	return contact, true, tx.SetContact(contact)
}

// join writes the conversation that a first message invites to; nil if its
// invitation is no good.
func (c *Client) join(tx *vault.Tx, intro *identity.Introduction, o *opening, session *ratchet.Session) (*channel, error) {
	secret, err := mailbox.ConversationFromInvitation(o.Invitation)
	if err != nil {
		c.unreadable(err)
		return nil, nil
	}
	now := c.now()
	if _, err := secret.Box(secret.Period(now.Add(overlap), true), true, c.persona.Base().Public()); err != nil {
		c.unreadable(err) // a period far in the past: its steps would have no end
		return nil, nil
	}
	if _, err := tx.Conversation(secret.ID()); !errors.Is(err, vault.ErrNotFound) {
		return nil, err
	}
	row := vault.Conversation{
		ID: secret.ID(), Peer: intro.Root,
		// A time to come would keep all later conversations from being used.
		Created: min(o.Created, now.UnixMilli()),
		Base:    intro.Base, Device: intro.Subject.Device, Secret: secret.Encode(),
	}
	start := secret.Period(time.UnixMilli(row.Created).Add(-firstGap), true)
	row.ReadPeriod = uint64(max(start, secret.Oldest()))
	if err := tx.SetConversation(row); err != nil {
		return nil, err
	}
	if err := tx.SetSession(row.ID, row.Device, session.Encode()); err != nil {
		return nil, err
	}
	return c.newChannel(row)
}
