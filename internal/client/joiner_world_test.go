package client

import (
	"context"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// joinScale is how large a world is.
type joinScale struct {
	accounts, conversations, messages, periods, swarms int
	tick                                               time.Duration
}

// joinWorld is people who write to one another for some periods, in virtual
// time, with the real client over the circuits of joiner_circuits_test.go.
type joinWorld struct {
	t     testing.TB
	scale joinScale
	swarm *fakeSwarm
	log   *joinLog
	delay bool // the random delays and phases are on

	people []*joinPerson
	truth  map[int32]joinTruth
	after  func() // when all is over
	tells  bool   // how far it has come
}

// joinTruth is whose a mailbox is. It only scores the joiner.
type joinTruth struct {
	Reader, Writer int // Writer is -1 at a front door
	Conversation   [32]byte
	Out            bool // the initiator's direction
	Period         identity.Period
}

type joinPerson struct {
	w     *joinWorld
	i     int
	net   *modelNet
	cfg   ProfileConfig
	app   *App
	c     *Client
	plans []joinPlan
	id    string
	root  [32]byte
}

// joinPlan is something that a person does at a time.
type joinPlan struct {
	at   time.Duration
	what joinAct
	peer int
	text string
}

type joinAct uint8

const (
	goOnline joinAct = iota
	goOffline
	write
)

// joinTiming is the client's, with the pauses that cost only computing time
// made rarer, and without what makes joining hard if delay is off.
func joinTiming(tick time.Duration, delay bool) *timing {
	t := defaultTiming
	t.tick = tick
	if joinReceipts > 0 {
		t.receiptMax = joinReceipts
	}
	if joinStart > 0 {
		t.start = joinStart
	}
	if joinWatch >= 0 {
		t.watch = joinWatch
	}
	t.unphased = joinUnphased
	if !delay {
		t = t.bare()
	}
	return &t
}

// settling is how long everybody is online at the beginning, for first contact.
const settling = time.Hour

func newJoinWorld(t testing.TB, scale joinScale, delay bool, seed uint64) *joinWorld {
	w := &joinWorld{t: t, scale: scale, swarm: newFakeSwarm(t, 5*scale.swarms), delay: delay, truth: map[int32]joinTruth{}}
	w.log = newJoinLog(w.swarm.order, w.swarm.now)
	r := mrand.New(mrand.NewPCG(seed, 1))
	for i := range scale.accounts {
		p := &joinPerson{w: w, i: i, net: newModelNet(w, i, mrand.New(mrand.NewPCG(seed, uint64(i)+2)))}
		p.cfg = ProfileConfig{
			Dir: t.TempDir(), Network: w.swarm.network, KDF: cheapKDF, timing: joinTiming(scale.tick, delay), Now: w.swarm.now,
			Connect: func(NetworkConfig) (Network, error) { return p.net.connect(), nil },
		}
		w.people = append(w.people, p)
	}
	w.plan(r)
	return w
}

// plan draws who is online when, and who writes what to whom when.
func (w *joinWorld) plan(r *mrand.Rand) {
	end := time.Duration(w.scale.periods) * identity.PeriodLength
	for _, p := range w.people {
		at := settling + time.Duration(r.Int64N(int64(2*time.Hour)))
		for at < end {
			away := time.Duration(float64(3*time.Hour) * (0.3 + r.ExpFloat64()))
			if r.IntN(60) == 0 {
				away += 48 * time.Hour // a journey
			}
			p.plans = append(p.plans, joinPlan{at: at, what: goOffline}, joinPlan{at: min(at+away, end), what: goOnline})
			at += away + time.Duration(float64(3*time.Hour)*(0.2+r.ExpFloat64()))
		}
	}
	pairs := map[[2]int]bool{}
	for len(pairs) < w.scale.conversations {
		a, b := r.IntN(len(w.people)), r.IntN(len(w.people))
		if a == b || pairs[[2]int{a, b}] || pairs[[2]int{b, a}] {
			continue
		}
		pairs[[2]int{a, b}] = true
		p := w.people[a]
		p.plans = append(p.plans, joinPlan{at: 5*time.Minute + time.Duration(r.Int64N(int64(settling/3))), what: write, peer: b, text: "hello"})
		for left := w.scale.messages - 1; left > 0; {
			at := settling + time.Duration(r.Int64N(int64(end-settling-time.Hour)))
			for n := min(left, 2+r.IntN(14)); n > 0; n-- {
				from, to := a, b
				if r.IntN(2) == 0 {
					from, to = b, a
				}
				text := "a line of a conversation"
				if r.IntN(12) == 0 {
					text = strings.Repeat("x", 6000) // of the next class
				}
				w.people[from].plans = append(w.people[from].plans, joinPlan{at: at, what: write, peer: to, text: text})
				at += time.Duration(r.ExpFloat64() * float64(40*time.Second))
				left--
			}
		}
	}
	for _, p := range w.people {
		slices.SortStableFunc(p.plans, func(x, y joinPlan) int { return int(x.at - y.at) })
	}
}

// run lets everybody live, until all is sent and read.
func (w *joinWorld) run() {
	began := time.Now()
	end := began.Add(time.Duration(w.scale.periods) * identity.PeriodLength)
	stop := make(chan struct{})
	var hourly sync.WaitGroup
	hourly.Go(func() { w.rotate(stop) })
	var all sync.WaitGroup
	for _, p := range w.people {
		p.come()
	}
	for _, p := range w.people {
		all.Go(func() { p.live(began, end) })
	}
	all.Wait()
	for _, p := range w.people {
		w.know(p)
		if err := p.app.Close(); err != nil {
			w.t.Error(err)
		}
	}
	close(stop)
	hourly.Wait()
}

// rotate gives members new request keys each hour.
func (w *joinWorld) rotate(stop chan struct{}) {
	t := time.NewTicker(55 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if w.tells {
				w.t.Logf("after %v: %d things seen", time.Since(w.log.began).Round(time.Minute), w.log.seen())
			}
			for _, id := range w.swarm.order {
				w.swarm.rotate(w.swarm.members[id])
			}
		case <-stop:
			return
		}
	}
}

func (p *joinPerson) come() {
	app, err := OpenProfile(p.cfg)
	if err == nil && p.app == nil {
		_, err = app.Create(context.Background(), "somebody", passphrase)
	} else if err == nil {
		err = app.Unlock(context.Background(), passphrase)
	}
	if err != nil {
		p.w.t.Error(err)
		return
	}
	p.app = app
	if p.c, err = app.Client(); err != nil {
		p.w.t.Error(err)
	}
	if p.root == ([32]byte{}) { // others read both from now on
		p.id, p.root = p.c.ID(), p.c.root
	}
}

func (p *joinPerson) leave() {
	p.w.know(p)
	if err := p.app.Close(); err != nil {
		p.w.t.Error(err)
	}
	p.c = nil
}

// live does what is planned. What is to be written while away is written soon
// after coming back.
func (p *joinPerson) live(began, end time.Time) {
	var waiting []joinPlan
	accepting := time.NewTicker(30 * time.Second)
	defer accepting.Stop()
	for _, plan := range p.plans {
		for time.Now().Before(began.Add(plan.at)) {
			d := time.NewTimer(time.Until(began.Add(plan.at)))
			select {
			case <-d.C:
			case <-accepting.C:
				if p.c != nil && time.Since(began) < settling {
					p.accept()
				} else {
					accepting.Stop()
				}
			}
			d.Stop()
		}
		switch plan.what {
		case goOffline:
			if p.c != nil {
				p.leave()
			}
		case goOnline:
			if p.c == nil {
				p.come()
			}
			for i, late := range waiting {
				time.Sleep(time.Duration(8+i*5) * time.Second)
				p.write(late)
			}
			waiting = nil
		case write:
			if p.c == nil {
				waiting = append(waiting, plan)
			} else {
				p.write(plan)
			}
		}
	}
	if p.c == nil {
		p.come()
	}
	for _, late := range waiting {
		p.write(late)
	}
	time.Sleep(time.Until(end))
	time.Sleep(2 * time.Hour) // all is sent, read and confirmed
}

func (p *joinPerson) write(plan joinPlan) {
	_, err := p.c.Send(context.Background(), p.w.people[plan.peer].id, plan.text)
	if err != nil {
		p.w.t.Error(err)
	}
}

func (p *joinPerson) accept() {
	requests, err := p.c.Requests(context.Background())
	if err != nil {
		p.w.t.Error(err)
	}
	for _, r := range requests {
		if err := p.c.Accept(context.Background(), r.Peer); err != nil {
			p.w.t.Error(err)
		}
	}
}

// know takes down whose mailboxes a person reads, for scoring.
func (w *joinWorld) know(p *joinPerson) {
	now := identity.PeriodAt(time.Now())
	owners := map[[32]byte]int{}
	for _, q := range w.people {
		owners[q.root] = q.i
	}
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	for period := now - identity.Period(w.scale.periods) - 1; period <= now+1; period++ {
		if loc, err := mailbox.FrontDoor(p.root, period); err == nil {
			w.knowLocked(loc, joinTruth{Reader: p.i, Writer: -1, Period: period})
		}
		for _, ch := range p.c.allChannels() {
			box, err := ch.box(period, false)
			if errors.Is(err, mailbox.ErrErased) {
				continue
			}
			if err != nil {
				w.t.Error(err)
				continue
			}
			w.knowLocked(box.Locator, joinTruth{p.i, owners[ch.peer], ch.id, !ch.initiator, period})
		}
	}
}

func (w *joinWorld) knowLocked(loc mailbox.Locator, truth joinTruth) {
	if box, ok := w.log.boxes[loc.Address()]; ok {
		w.truth[box] = truth
	}
}

// accountMark is what a leaky client would leave.
func accountMark(client int) []byte {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], uint64(client)*0x9e3779b97f4a7c15+1)
	return seed[:]
}
