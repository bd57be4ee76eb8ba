package link

import (
	"crypto/rand"
	"crypto/tls"
	"net/netip"
	"sync"
	"time"

	"sotto/internal/identity"
)

// tickets keeps what a dialling endpoint needs to resume a session: at most
// one ticket per node and protocol, in memory, for a short time and for one use
// (spec/link.md §5.4). Each endpoint has its own, so that no ticket joins two
// accounts.
type tickets struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	round int        // counts the calls of forget
	kept  map[ticketFor]ticket
}

// ticketFor says what a ticket is good for.
type ticketFor struct {
	node     identity.NodeID
	protocol string
	from     netip.Addr // the dialler's own address, if it knows it
}

type ticket struct {
	session *tls.ClientSessionState
	at      time.Time
}

func newTickets(now func() time.Time) *tickets {
	return &tickets{now: now, kept: make(map[ticketFor]ticket)}
}

// forget throws all tickets away, and those that connections of before may
// still receive.
func (t *tickets) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.round++
	clear(t.kept)
}

// expireLocked throws away what is too old. A ticket of the future is, too: the
// clock was set back, and its age is unknown.
func (t *tickets) expireLocked() {
	now := t.now()
	for key, k := range t.kept {
		if age := now.Sub(k.at); age < 0 || age >= ticketLife {
			delete(t.kept, key)
		}
	}
}

// forDial returns the tickets as TLS wants them for one connection.
func (t *tickets) forDial(node identity.NodeID, protocol string, from netip.Addr) tls.ClientSessionCache {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &dialTickets{tickets: t, key: ticketFor{node, protocol, from}, round: t.round}
}

// dialTickets is one connection's view: it can take its node's ticket, once,
// and leave a new one. What TLS calls the key, an address, is not looked at.
type dialTickets struct {
	*tickets
	key   ticketFor
	round int
}

// Get implements tls.ClientSessionCache. A ticket that was handed out is gone,
// whatever becomes of the connection: it has been, or may be, on the wire.
func (d *dialTickets) Get(string) (*tls.ClientSessionState, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expireLocked()
	k, ok := d.kept[d.key]
	delete(d.kept, d.key)
	return k.session, ok
}

// Put implements tls.ClientSessionCache.
func (d *dialTickets) Put(_ string, session *tls.ClientSessionState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if session == nil || d.round != d.tickets.round {
		return
	}
	d.expireLocked()
	d.kept[d.key] = ticket{session, d.now()}
}

// ticketKeys seals the tickets that a listener issues and opens those that
// come back. Everything about a session is in its ticket: nothing is stored.
type ticketKeys struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	keys  [][32]byte // the newest first, at most two
	since time.Time  // of the newest
	conf  *tls.Config
}

func newTicketKeys(now func() time.Time) *ticketKeys { return &ticketKeys{now: now} }

// current returns a configuration with the keys of this moment. A key seals
// for ticketLife and opens for as long again; then it is gone.
func (k *ticketKeys) current() *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.now().Sub(k.since)
	if len(k.keys) > 0 && age >= 0 && age < ticketLife {
		return k.conf
	}
	if age < 0 || age >= 2*ticketLife {
		k.keys = nil
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	k.keys = append([][32]byte{key}, k.keys...)
	k.keys = k.keys[:min(len(k.keys), 2)]
	k.since = k.now()
	k.conf = &tls.Config{MinVersion: tls.VersionTLS13}
	k.conf.SetSessionTicketKeys(k.keys)
	return k.conf
}

// wrap is tls.Config.WrapSession.
func (k *ticketKeys) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	return k.current().EncryptTicket(cs, ss)
}

// unwrap is tls.Config.UnwrapSession. What does not open is no session: the
// handshake is then a full one.
func (k *ticketKeys) unwrap(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	return k.current().DecryptTicket(ticket, cs)
}
