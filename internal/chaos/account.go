package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"sotto/internal/api"
)

const (
	// talkPause is between two texts of an account, in the mean.
	talkPause = 400 * time.Millisecond
	// sendTimeout is how long a daemon may take to accept a text: one that is
	// stopped takes none.
	sendTimeout = 5 * time.Second
	// listenAgain is how soon a daemon's events are asked for again.
	listenAgain = 100 * time.Millisecond
	// historyPage is how many messages are read at a time.
	historyPage = 200
)

// account is a person with a daemon, who writes to the others.
type account struct {
	*Daemon
	n      int // from 1
	id     string
	ledger *ledger
	rand   *rand.Rand
	turn   sync.Mutex // held while it has a fault
}

// newAccounts makes some accounts that know one another.
func newAccounts(ctx context.Context, n int, program, dir, network string, seed uint64, l *ledger, log io.Writer) ([]*account, error) {
	all := make([]*account, n)
	err := together(n, func(i int) error {
		d, err := NewDaemon(ctx, program, dir, network, fmt.Sprintf("account-%d", i+1), log)
		if d != nil { // also one that does not answer is to be ended
			all[i] = &account{Daemon: d, n: i + 1, ledger: l, rand: rand.New(rand.NewPCG(seed, uint64(100+i)))}
		}
		if err != nil {
			return err
		}
		r, err := d.Remote(ctx)
		if err == nil {
			all[i].id = r.ID()
			err = r.Flush(ctx) // others find its card
		}
		return err
	})
	if err == nil {
		err = befriendAll(ctx, all)
	}
	if err != nil {
		endAll(all)
		return nil, err
	}
	return all, nil
}

// together runs f for 0 … n-1 at once.
func together(n int, f func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func endAll(all []*account) {
	for _, a := range all {
		if a != nil {
			a.Kill()
		}
	}
}

// befriendAll makes each account a contact of each other one.
func befriendAll(ctx context.Context, all []*account) error {
	for i, a := range all {
		if err := together(len(all)-i-1, func(j int) error { return befriend(ctx, a, all[i+1+j]) }); err != nil {
			return err
		}
	}
	return nil
}

// befriend lets a write to b, and b accept.
func befriend(ctx context.Context, a, b *account) error {
	from, err := a.Remote(ctx)
	if err != nil {
		return err
	}
	to, err := b.Remote(ctx)
	if err != nil {
		return err
	}
	listen, stop := context.WithCancel(ctx)
	defer stop()
	events := to.Events(listen)
	if err := a.say(ctx, from, b, 0); err != nil {
		return err
	}
	for e := range events {
		b.ledger.event(e)
		if m := e.Message; m != nil && !m.Outgoing && m.Peer == a.id {
			return to.Accept(ctx, a.id)
		}
	}
	return fmt.Errorf("chaos: account %d does not hear of account %d: %w", b.n, a.n, ctx.Err())
}

// say sends the n-th text.
func (a *account) say(ctx context.Context, r *api.Remote, to *account, n int) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	text := fmt.Sprintf("%d to %d, number %d", a.n, to.n, n)
	a.ledger.tried(text, a.n, to.n)
	_, err := r.Send(ctx, to.id, text)
	if err == nil {
		a.ledger.accepted(text)
	}
	return err
}

// talk writes to the others in turn until ctx ends.
func (a *account) talk(ctx context.Context, all []*account) {
	for n := 1; pause(ctx, time.Duration(a.rand.Int64N(int64(2*talkPause)))); n++ {
		to := all[a.rand.IntN(len(all))]
		if to == a {
			continue
		}
		r, err := a.Remote(ctx)
		if err != nil {
			return
		}
		_ = a.say(ctx, r, to, n) // the ledger knows what was accepted
	}
}

// listen passes on what the application announces until ctx ends.
func (a *account) listen(ctx context.Context) {
	for ctx.Err() == nil {
		r, err := a.Remote(ctx)
		if err != nil {
			return
		}
		for e := range r.Events(ctx) {
			a.ledger.event(e)
		}
		pause(ctx, listenAgain)
	}
}

// history tells the ledger all that the application shows of its chats.
func (a *account) history(ctx context.Context, all []*account) error {
	r, err := a.Remote(ctx)
	if err != nil {
		return err
	}
	for _, peer := range all {
		if peer == a {
			continue
		}
		for before := ""; ; {
			page, err := r.Messages(ctx, peer.id, before, historyPage)
			if err != nil {
				return err
			}
			for _, m := range page {
				a.ledger.history(m)
			}
			if len(page) < historyPage {
				break
			}
			before = page[0].ID
		}
	}
	return nil
}

// settle waits until nothing is left to send and all mailboxes were read.
func (a *account) settle(ctx context.Context) error {
	r, err := a.Remote(ctx)
	if err == nil {
		err = r.Flush(ctx)
	}
	if err == nil {
		err = r.Sync(ctx)
	}
	return err
}

// countHistory counts anew what the accounts' applications show.
func countHistory(ctx context.Context, all []*account, l *ledger) (Messages, []string, error) {
	l.forgetHistory()
	for _, a := range all {
		if err := a.history(ctx, all); err != nil {
			return Messages{}, nil, err
		}
	}
	m, faults := l.count()
	return m, faults, nil
}
