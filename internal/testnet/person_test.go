package testnet

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sotto/internal/client"
	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/vault"
)

// person is an account whose profile a test closes, opens again and reads.
type person struct {
	account
	name   string
	phrase string
	cfg    client.ProfileConfig

	mu    sync.Mutex // guards addrs
	addrs []net.Addr // of the sockets it has had
}

// newPerson makes an account and waits until others can write to it.
func newPerson(t *testing.T, n *Network, name string, change func(*client.ProfileConfig)) *person {
	t.Helper()
	p := &person{name: name}
	p.dir = filepath.Join(t.TempDir(), "profile")
	p.cfg = client.ProfileConfig{Dir: p.dir, NetworkFile: n.Layout().File(), KDF: testKDF}
	p.cfg.PacketConn = func() (net.PacketConn, error) { return p.socket(n) }
	if change != nil {
		change(&p.cfg)
	}
	t.Cleanup(func() { p.close(t) })
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	var err error
	if p.app, err = client.OpenProfile(p.cfg); err != nil {
		t.Fatal(err)
	}
	if p.phrase, err = p.app.Create(ctx, name, testPassphrase); err != nil {
		t.Fatal(err)
	}
	if p.Client, err = p.app.Client(); err != nil {
		t.Fatal(err)
	}
	p.flush(t)
	return p
}

// flush waits until others can write to the person.
func (p *person) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	if err := p.Flush(ctx); err != nil {
		t.Fatalf("publishing %s's card: %v", p.name, err)
	}
}

func (p *person) socket(n *Network) (net.PacketConn, error) {
	c, err := n.ClientConn()
	if err == nil {
		p.mu.Lock()
		p.addrs = append(p.addrs, c.LocalAddr())
		p.mu.Unlock()
	}
	return c, err
}

// close stops the client as the end of its process would; open starts it anew,
// with another way to the network if connect is not nil.
func (p *person) close(t *testing.T) {
	t.Helper()
	if p.app == nil {
		return
	}
	if err := p.app.Close(); err != nil {
		t.Error(err)
	}
	p.app = nil
}

func (p *person) open(t *testing.T, connect func(client.NetworkConfig) (client.Network, error)) {
	t.Helper()
	p.close(t)
	cfg := p.cfg
	if connect != nil {
		cfg.Connect = connect
	}
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	var err error
	if p.app, err = client.OpenProfile(cfg); err != nil {
		t.Fatal(err)
	}
	if err = p.app.Unlock(ctx, testPassphrase); err != nil {
		t.Fatal(err)
	}
	if p.Client, err = p.app.Client(); err != nil {
		t.Fatal(err)
	}
}

// saying are texts under way.
type saying struct {
	from   *person
	events <-chan client.Event
	state  map[string]int // by message ID: how far it has come
}

// say sends n texts from a to b without waiting.
func say(t *testing.T, ctx context.Context, a *person, b string, n int) *saying {
	t.Helper()
	s := &saying{from: a, events: a.Events(ctx), state: map[string]int{}}
	for i := range n {
		m, err := a.Send(ctx, b, text(a, i))
		if err != nil {
			t.Fatal(err)
		}
		s.state[m.ID] = progress(t, m.State)
	}
	return s
}

// text is words that occur nowhere else.
func text(p *person, i int) string {
	return fmt.Sprintf("%s saw heron number %d over the reed beds", p.name, i)
}

// await waits until every text is in the wanted state or beyond.
func (s *saying) await(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	goal := progress(t, want)
	for {
		left := 0
		for _, at := range s.state {
			if at < goal {
				left++
			}
		}
		if left == 0 {
			return
		}
		e, ok := <-s.events
		if !ok {
			t.Fatalf("%d texts of %s did not become %s: %v", left, s.from.name, want, context.Cause(ctx))
		}
		if e.Message == nil {
			continue
		}
		if at, mine := s.state[e.Message.ID]; mine {
			s.state[e.Message.ID] = max(at, progress(t, e.Message.State))
		}
	}
}

// progress numbers the states of a message that goes well.
func progress(t *testing.T, state string) int {
	t.Helper()
	for i, s := range []string{client.MessageQueued, client.MessageSending, client.MessageStored, client.MessageDelivered, client.MessageRead} {
		if s == state {
			return i
		}
	}
	t.Fatalf("a text is %s", state)
	return -1
}

// converse sends n texts each way at once and waits until all are delivered.
func converse(t *testing.T, a, b *person, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	there, back := say(t, ctx, a, b.ID(), n), say(t, ctx, b, a.ID(), n)
	there.await(t, ctx, client.MessageDelivered)
	back.await(t, ctx, client.MessageDelivered)
}

// needle is something that must not be found, and what it is.
type needle struct {
	what  string
	bytes []byte
}

// forms are the ways in which bytes are usually written down.
func forms(what string, raw []byte) []needle {
	h := hex.EncodeToString(raw)
	return []needle{
		{what, raw},
		{what + " in hex", []byte(h)},
		{what + " in capital hex", []byte(strings.ToUpper(h))},
		{what + " in base64", []byte(base64.RawStdEncoding.EncodeToString(raw))},
		{what + " in base64 for URLs", []byte(base64.RawURLEncoding.EncodeToString(raw))},
	}
}

// box is a mailbox that a person used. Those of one group are known to belong
// together: a card and a front door of one period have one owner.
type box struct {
	what  string
	group string
	addr  mailbox.Address
}

// insight is what a profile knows, and nodes must not.
type insight struct {
	needles []needle
	boxes   []box
}

// insight reads a closed profile with its passphrase.
func (p *person) insight(t *testing.T) insight {
	t.Helper()
	ctx := context.Background()
	v, err := vault.Open(ctx, vault.Options{Dir: p.dir}, []byte(testPassphrase))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var out insight
	if err := v.View(ctx, func(tx *vault.Tx) error { return out.read(tx, p) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func (x *insight) read(tx *vault.Tx, p *person) error {
	a, err := tx.Account()
	if err != nil {
		return err
	}
	seed, err := identity.SeedFromBytes(a.Seed)
	if err != nil {
		return err
	}
	self := seed.Persona(0)
	root, base, dh := self.Root().Public(), self.Base().Public(), self.Identity().Public()
	x.add(forms(p.name+"'s root key", root[:])...)
	x.add(forms(p.name+"'s base key", base[:])...)
	x.add(forms(p.name+"'s identity key", dh[:])...)
	x.add(forms(p.name+"'s device", a.Device[:])...)
	x.add(forms(p.name+"'s seed", a.Seed)...)
	x.add(needle{p.name + "'s account ID", []byte(self.ID().String())}, needle{p.name + "'s phrase", []byte(p.phrase)})
	x.add(needle{p.name + "'s name", []byte(p.name)}, needle{"a text", []byte("over the reed beds")})
	x.add(networkAddresses(p)...)
	if err := x.addOwn(tx, p, root); err != nil {
		return err
	}
	rows, err := tx.Conversations()
	if err != nil {
		return err
	}
	for _, row := range rows {
		x.add(forms("a conversation's ID", row.ID[:])...)
		if err := x.addConversation(row, base); err != nil {
			return err
		}
	}
	return nil
}

// networkAddresses are where people's packets came from.
func networkAddresses(people ...*person) (out []needle) {
	for _, p := range people {
		for _, addr := range p.addrs {
			out = append(out, needle{p.name + "'s network address", []byte(addr.String())})
		}
	}
	return out
}

func (x *insight) add(n ...needle) { x.needles = append(x.needles, n...) }

// addOwn adds cards and front doors.
func (x *insight) addOwn(tx *vault.Tx, p *person, root suite.VerifyKey) error {
	periods, err := tx.Periods(0)
	if err != nil {
		return err
	}
	for _, row := range periods {
		n := identity.Period(row.Period)
		group := fmt.Sprintf("%s in period %d", p.name, n)
		for _, loc := range []func(suite.VerifyKey, identity.Period) (mailbox.Locator, error){mailbox.FrontDoor, mailbox.CardBox} {
			l, err := loc(root, n)
			if err != nil {
				return err
			}
			x.boxes = append(x.boxes, box{l.Kind.String() + " of " + group, group, l.Address()})
		}
	}
	return nil
}

// addConversation adds the mailboxes of both directions, in every period that
// a test can have reached.
func (x *insight) addConversation(row vault.Conversation, base suite.VerifyKey) error {
	c, err := mailbox.ParseConversation(row.Secret)
	if err != nil {
		return err
	}
	for p := c.Oldest(); p <= c.Oldest()+3; p++ {
		for _, initiator := range []bool{true, false} {
			reader := base
			if initiator == row.Initiator {
				reader = row.Base
			}
			b, err := c.Box(p, initiator, reader)
			if err != nil {
				return err
			}
			what := fmt.Sprintf("conversation, from its initiator: %v, period %d", initiator, p)
			x.boxes = append(x.boxes, box{what, what, b.Locator.Address()})
		}
	}
	return nil
}
