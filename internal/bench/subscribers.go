package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/testnet"
	"sotto/internal/vault"
)

// The client whose subscriptions are weighed, with few contacts and with many.
const (
	fewContacts  = 200  // so that client and nodes are in use already
	manyContacts = 1000 // some 2,000 subscriptions, most of what its circuits hold
	// steadyTime is for how long the nodes' counts must not have risen: the second
	// subscriptions to mailboxes come at random moments of 90 s.
	steadyTime = 15 * time.Second
	// standTimeout bounds the wait until all stand.
	standTimeout = 3 * time.Minute
	countEvery   = time.Second
	// littleGarbage is Go's GOGC for these processes: what lives is weighed, and
	// not what setting up leaves behind in each of them.
	littleGarbage = "10"
)

// subscribers weighs a client, and the nodes that carry its subscriptions, with
// few contacts and with many, whom it only listens to. member is what a
// subscription costs the member that it is at, which is not counted again.
func subscribers(ctx context.Context, r Run, member float64) (err error) {
	layout, program, err := idleNetwork(r, "subscribers")
	if err != nil {
		return err
	}
	r.Note("starting %d nodes, and a client with %d contacts, then with %d", idleNodes, fewContacts, manyContacts)
	restore, err := setenv("GOGC", littleGarbage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	nodes, err := testnet.Up(ctx, layout, program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()
	p, err := createProfile(ctx, program, layout.File(), filepath.Join(r.Dir, "listener"))
	if err != nil {
		return err
	}
	few, err := p.listen(ctx, layout, fewContacts)
	if err != nil {
		return err
	}
	many, err := p.listen(ctx, layout, manyContacts-fewContacts)
	if err != nil {
		return err
	}
	count := many.subscriptions - few.subscriptions
	if count < manyContacts-fewContacts {
		return fmt.Errorf("bench: %.0f subscriptions stand for %d contacts", count, manyContacts-fewContacts)
	}
	return r.emit(
		Figure{Bench: "store", Name: "subscription_client_bytes", Value: (many.client - few.client) / count, Unit: "bytes"},
		Figure{Bench: "store", Name: "subscription_exit_bytes", Value: (many.nodes-few.nodes)/count - member, Unit: "bytes"},
	)
}

// setenv sets a variable for the processes to be started.
func setenv(name, value string) (restore func() error, _ error) {
	before, set := os.LookupEnv(name)
	restore = func() error { return os.Unsetenv(name) }
	if set {
		restore = func() error { return os.Setenv(name, before) }
	}
	return restore, os.Setenv(name, value)
}

// taken is what subscriptions take.
type taken struct{ subscriptions, client, nodes float64 }

// listen gives the account further contacts, starts its client, and weighs it
// and all nodes once its subscriptions stand.
func (p *profile) listen(ctx context.Context, layout *testnet.Layout, contacts int) (_ taken, err error) {
	if err := p.acquaint(ctx, contacts); err != nil {
		return taken{}, err
	}
	d, err := p.startDaemon(ctx)
	if err != nil {
		return taken{}, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	var l taken
	if l.subscriptions, err = standing(ctx, layout); err != nil {
		return taken{}, err
	}
	if l.client, err = residentBytes(d.cmd.Process.Pid); err != nil {
		return taken{}, err
	}
	for _, n := range layout.Network.Processes {
		rss, err := residentBytes(n.PID)
		if err != nil {
			return taken{}, err
		}
		l.nodes += rss
	}
	return l, nil
}

// acquaint writes conversations with people who are not there into the account's
// vault, as first contacts would have made them.
func (p *profile) acquaint(ctx context.Context, contacts int) (err error) {
	v, err := vault.Open(ctx, vault.Options{Dir: p.dir}, []byte(p.passphrase))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.Update(ctx, func(tx *vault.Tx) error {
		for range contacts {
			if err := addStranger(tx, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

func addStranger(tx *vault.Tx, now time.Time) error {
	seed, err := identity.NewSeed(rand.Reader)
	if err != nil {
		return err
	}
	peer := seed.Persona(0)
	conv, err := mailbox.NewConversation(rand.Reader, now)
	if err != nil {
		return err
	}
	if err := tx.SetContact(vault.Contact{ID: peer.ID().Root, State: vault.ContactAccepted, Created: now.UnixMilli()}); err != nil {
		return err
	}
	return tx.SetConversation(vault.Conversation{
		ID: conv.ID(), Peer: peer.ID().Root, Created: now.UnixMilli(), Initiator: true,
		Base: peer.Base().Public(), ReadPeriod: uint64(conv.Period(now, false)), Secret: conv.Encode(),
	})
}

// standing waits until no further subscription comes, and counts them.
func standing(ctx context.Context, layout *testnet.Layout) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, standTimeout)
	defer cancel()
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	most, since := 0.0, time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		now := 0.0
		for _, n := range layout.Network.Processes {
			held, err := subscriptionsAt(ctx, n.Metrics)
			if err != nil {
				return 0, err
			}
			now += held
		}
		if now > most {
			most, since = now, time.Now()
		}
		if time.Since(since) >= steadyTime {
			return now, nil
		}
	}
}

// subscriptionsAt asks a node how many it holds.
func subscriptionsAt(ctx context.Context, metrics string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	page, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(page)) {
		if value, ok := strings.CutPrefix(line, "sotto_swarm_subscriptions "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, errors.New("bench: a node tells no count of subscriptions")
}
