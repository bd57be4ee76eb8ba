// Package chaos kills, stops, cuts off and otherwise breaks the processes of a
// local network while clients send, and then shows what became of every message
// (docs/chaos.md). It is what `sotto testnet chaos` runs in builds with the tag
// chaos, and part of no other build.
//
// It looks from outside: at what applications show, at what members answer to
// the owners of mailboxes, and at the files below the nodes' folders. It has no
// part in what it judges.
package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/directory"
	"sotto/internal/faults"
	"sotto/internal/identity"
	"sotto/internal/testnet"
)

// Config is a run. Dir, Program, Duration and Nodes are needed.
type Config struct {
	Dir      string // of the network and the profiles; it stays
	Program  string // sotto, with the tag chaos
	Seed     uint64 // of the schedule
	Duration time.Duration
	Nodes    int
	Swarm    int // 0: the usual size
	Accounts int // 0: 4
	// Brief leaves out the figures of puts, nodes that join and leave, the
	// accounts' mailboxes and the search through files.
	Brief bool
	// Patience bounds each wait for what must come; 0: 4 minutes.
	Patience time.Duration
	Note     func(format string, a ...any)
}

const (
	defaultAccounts = 4
	// defaultPatience is far more than anything needs on a slow machine: the
	// longest wait of a node is the minute between two looks for what expired.
	defaultPatience = 4 * time.Minute
	// noteEvery is how often it is told how far the run is.
	noteEvery = 10 * time.Second
	// probersASwarm put and delete at the members of one swarm.
	probersASwarm = 3
	logName       = "chaos.log"
)

func (c Config) patience() time.Duration { return cmp.Or(c.Patience, defaultPatience) }

// world is a network at work, and who uses it.
type world struct {
	cfg      Config
	log      *slog.Logger
	layout   *testnet.Layout
	machines *machines
	swarms   [][]int // the nodes of each, as they are outside of a storm
	spares   []int   // nodes that have yet to join
	exits    *exits
	probers  []*prober // as many as there are swarms, or more
	accounts []*account
	ledger   *ledger

	mu      sync.Mutex // guards what follows
	faults  map[Fault]int
	errs    []error
	changes Changes
	lone    atomic.Int32 // times that a swarm lost its majority
}

// Run lets a network live through a schedule and reports what came of it. An
// error says that the run itself did not work; what is wrong with the network
// stands in the report.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	cfg.Accounts = cmp.Or(cfg.Accounts, defaultAccounts)
	cfg.Swarm = cmp.Or(cfg.Swarm, directory.DefaultSwarm)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(cfg.Dir, logName))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := &world{cfg: cfg, log: slog.New(slog.NewTextHandler(out, nil)), ledger: newLedger(), faults: make(map[Fault]int)}
	if w.layout, err = testnet.Prepare(filepath.Join(cfg.Dir, "network"), cfg.Nodes, cfg.Swarm); err != nil {
		return nil, err
	}
	w.note("starting %d nodes", cfg.Nodes)
	procs, err := testnet.Up(ctx, w.layout, cfg.Program)
	if err != nil {
		return nil, err
	}
	w.machines = newMachines(w.layout, procs, w.log)
	defer func() { err = errors.Join(err, w.machines.heal(context.WithoutCancel(ctx)), procs.Close()) }()
	return w.run(ctx, out)
}

func (w *world) run(ctx context.Context, log io.Writer) (_ *Report, err error) {
	if err := w.populate(ctx, log); err != nil {
		return nil, err
	}
	defer func() {
		endAll(w.accounts)
		err = errors.Join(err, w.exits.Close())
	}()
	r := &Report{Seed: w.cfg.Seed, Nodes: w.cfg.Nodes, Swarms: len(w.swarms), Accounts: len(w.accounts), Seconds: w.cfg.Duration.Seconds()}
	if !w.cfg.Brief {
		w.note("putting while some members of a swarm are away")
		q, err := w.quorum(ctx)
		if err != nil {
			return nil, err
		}
		r.Quorum = &q
		w.note("putting and fetching while a node joins and gets what it is to keep")
		carried, err := w.carry(ctx)
		if err != nil {
			return nil, err
		}
		r.Carried = &carried
	}
	if !w.cfg.Brief {
		if err := w.spare(); err != nil {
			return nil, err
		}
	}
	if err := w.storm(ctx); err != nil {
		return nil, err
	}
	if !w.cfg.Brief {
		r.Changes = &w.changes
	}
	w.judge(ctx, r)
	if !w.cfg.Brief && ctx.Err() == nil {
		w.note("looking for deleted and expired bytes in the nodes' files")
		endAll(w.accounts)
		e, err := w.expiry(ctx)
		if err != nil {
			return nil, err
		}
		r.Expiry = &e
	}
	r.Faults, r.Majorities = w.faults, int(w.lone.Load())
	r.Problems = append(r.Problems, w.machines.fallen()...)
	return r, errors.Join(append(w.errs, ctx.Err())...)
}

// populate makes the accounts and the probers.
func (w *world) populate(ctx context.Context, log io.Writer) (err error) {
	if w.exits, err = newExits(w.layout); err != nil {
		return err
	}
	w.group()
	for i := range probersASwarm * len(w.swarms) {
		w.probers = append(w.probers, newProber(w.exits, i, w.cfg.Seed+uint64(i)))
	}
	w.note("making %d accounts that know one another", w.cfg.Accounts)
	start, cancel := context.WithTimeout(ctx, w.cfg.patience())
	defer cancel()
	w.accounts, err = newAccounts(start, w.cfg.Accounts, w.cfg.Program, w.cfg.Dir, w.layout.File(), w.cfg.Seed, w.ledger, log)
	if err != nil {
		err = errors.Join(err, w.exits.Close())
	}
	return err
}

// group notes who is in each swarm now.
func (w *world) group() {
	d := w.exits.dir.Current()
	w.swarms = nil
	for _, id := range d.Swarms() {
		var members []int
		for _, n := range d.Swarm(id) {
			members = append(members, w.number(n.ID))
		}
		slices.Sort(members)
		w.swarms = append(w.swarms, members)
	}
}

// storm plays the schedule while everybody sends, and mends everything after it.
func (w *world) storm(ctx context.Context) error {
	steps := Plan(w.cfg.Seed, w.cfg.Duration, w.swarms, w.joiners(), len(w.accounts))
	w.note("%d faults in %v from now on, seed %d", len(steps), w.cfg.Duration, w.cfg.Seed)
	talk, stop := context.WithTimeout(ctx, w.cfg.Duration)
	defer stop()
	watch, cease := context.WithCancel(ctx)
	var background, work sync.WaitGroup
	defer func() {
		cease()
		background.Wait()
	}()
	background.Go(func() { w.machines.supervise(watch) })
	for _, a := range w.accounts {
		background.Go(func() { a.listen(watch) })
		work.Go(func() { a.talk(talk, w.accounts) })
	}
	for _, p := range w.probers {
		work.Go(func() { w.fail(p.run(talk)) })
	}
	work.Go(func() { w.tell(talk) })
	work.Go(func() { w.fail(w.succeed(ctx)) })
	began := time.Now()
	for _, s := range steps {
		work.Go(func() { w.play(ctx, began, s) })
	}
	work.Wait()
	w.group()
	return errors.Join(w.machines.heal(ctx), ctx.Err())
}

// note tells a person what goes on, and the log when.
func (w *world) note(format string, a ...any) {
	w.cfg.Note(format, a...)
	w.log.Info(fmt.Sprintf(format, a...))
}

func (w *world) fail(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

// tell says every now and then how far the run is.
func (w *world) tell(ctx context.Context) {
	for began := time.Now(); pause(ctx, noteEvery); {
		m, _ := w.ledger.count()
		p := w.puts()
		w.note("%3.0f s: %d texts, %d stored · %d puts, %d refused · %d faults",
			time.Since(began).Seconds(), m.Sent, m.Stored, p.Acknowledged, p.Refused, w.faultCount())
	}
}

func (w *world) faultCount() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.faults {
		n += c
	}
	return n
}

// judge waits until everything has come that must, and counts; then it lets the
// power fail everywhere, and counts again.
func (w *world) judge(ctx context.Context, r *Report) {
	w.note("everything is whole again: waiting for what is under way")
	w.count(ctx, r)
	if len(r.Problems) > 0 || ctx.Err() != nil {
		return // what is wrong now is what there is to look at
	}
	w.note("killing all nodes and clients at once, and looking again")
	endAll(w.accounts)
	err := w.machines.reboot(ctx)
	for _, a := range w.accounts {
		err = errors.Join(err, a.Start(ctx))
	}
	if err != nil {
		w.fail(err)
		return
	}
	w.count(ctx, r)
	if len(r.Problems) > 0 || ctx.Err() != nil || w.cfg.Brief {
		return
	}
	w.note("reading the accounts' mailboxes without a cursor")
	in, err := w.inboxes(ctx)
	w.fail(err)
	r.Inboxes = &in
}

// number returns which node has the ID.
func (w *world) number(id identity.NodeID) int {
	return 1 + slices.IndexFunc(w.layout.Nodes, func(e testnet.Entry) bool { return e.Node.ID == id })
}

func (w *world) count(ctx context.Context, r *Report) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.patience())
	defer cancel()
	began := time.Now()
	for _, a := range w.accounts {
		if a.Ended() {
			r.Problems = append(r.Problems, fmt.Sprintf("the daemon of account %d ended by itself", a.n))
			w.fail(a.Start(ctx))
		}
	}
	var audits sync.WaitGroup
	found := make([]map[identity.NodeID]auditFault, len(w.probers))
	for i, p := range w.probers {
		audits.Go(func() { found[i] = p.audit(ctx) })
	}
	var faults []string
	r.Messages, faults = w.quiet(ctx)
	w.log.Info("the accounts are done")
	audits.Wait()
	w.log.Info("the members are read")
	r.Puts = w.puts()
	for _, at := range found {
		for id, f := range at {
			r.Puts.add(f)
			r.Problems = append(r.Problems, fmt.Sprintf("node %d: %v", w.number(id), f))
		}
	}
	if r.Puts.False > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d puts were acknowledged without a majority's receipts", r.Puts.False))
	}
	r.Problems = append(r.Problems, faults...)
	if r.SettledAfter == 0 {
		r.SettledAfter = time.Since(began).Seconds()
	}
}

// quiet lets the accounts finish until all is as it must be, or ctx ends.
func (w *world) quiet(ctx context.Context) (Messages, []string) {
	for {
		err := together(len(w.accounts), func(i int) error { return w.accounts[i].settle(ctx) })
		if err != nil {
			w.log.Info("the accounts are not done", "error", err)
		}
		m, faults, err := countHistory(context.WithoutCancel(ctx), w.accounts, w.ledger)
		if err != nil {
			return m, append(faults, err.Error())
		}
		if m.clean() || !pause(ctx, time.Second) { // one account's end is another's beginning
			return m, faults
		}
	}
}

func (w *world) puts() (out Puts) {
	for _, p := range w.probers {
		p.mu.Lock()
		out.Acknowledged += p.puts
		out.Refused += p.refused
		out.Deleted += p.deletes
		out.False += p.falseAcks
		p.mu.Unlock()
	}
	return out
}

// play is one step of the schedule. A fault ends also when ctx does.
func (w *world) play(ctx context.Context, began time.Time, s Step) {
	if !pause(ctx, time.Until(began.Add(s.At))) {
		return
	}
	if s.Fault != KillClient && s.Fault != StopClient {
		// What comes so late that it has not joined yet suffers nothing.
		s.Targets = slices.DeleteFunc(slices.Clone(s.Targets), w.machines.absent)
	}
	if len(s.Targets) == 0 {
		return
	}
	w.log.Info("begin", "fault", s.Fault, "targets", s.Targets, "for", s.For, "majority", s.Majority)
	var all sync.WaitGroup
	for _, n := range s.Targets {
		all.Go(func() { w.fail(w.suffer(ctx, n, s)) })
	}
	all.Wait()
	w.log.Info("end", "fault", s.Fault, "targets", s.Targets)
	w.mu.Lock()
	w.faults[s.Fault] += len(s.Targets)
	w.mu.Unlock()
	if s.Majority {
		w.lone.Add(1)
	}
}

// suffer is a step for one target.
func (w *world) suffer(ctx context.Context, n int, s Step) error {
	begin, end := w.remedy(ctx, n, s)
	switch s.Fault {
	case KillClient, StopClient:
		w.accounts[n-1].turn.Lock()
		defer w.accounts[n-1].turn.Unlock()
	case Clock: // beside any other
	default:
		w.machines.all[n-1].turn.Lock()
		defer w.machines.all[n-1].turn.Unlock()
	}
	if err := begin(); err != nil {
		return fmt.Errorf("chaos: %s: %w", s.Fault, err)
	}
	pause(ctx, s.For)
	if err := end(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("chaos: after %s: %w", s.Fault, err)
	}
	return nil
}

// remedy returns what a step does to a target, and what mends it.
func (w *world) remedy(ctx context.Context, n int, s Step) (begin, end func() error) {
	m := w.machines
	shake := func(change func(*faults.State)) func() error { return func() error { return m.shake(n, change) } }
	switch s.Fault {
	case Kill:
		return func() error { return m.kill(n) }, func() error { return m.restart(ctx, n) }
	case Stop:
		return func() error { return m.stop(n) }, func() error { return m.resume(n) }
	case Alone:
		return shake(func(f *faults.State) { f.Alone = true }), shake(func(f *faults.State) { f.Alone = false })
	case Split:
		return shake(func(f *faults.State) { f.Cut = m.addresses(s.Others) }), shake(func(f *faults.State) { f.Cut = nil })
	case FullDisk:
		return shake(func(f *faults.State) { f.DiskFull = true }), shake(func(f *faults.State) { f.DiskFull = false })
	case SlowDisk:
		return shake(func(f *faults.State) { f.DiskWait = s.Wait }), shake(func(f *faults.State) { f.DiskWait = 0 })
	case Clock:
		return shake(func(f *faults.State) { f.Clock = s.Clock }), shake(func(f *faults.State) { f.Clock = 0 })
	case KillClient:
		a := w.accounts[n-1]
		return func() error { a.Kill(); return nil }, func() error { return a.Start(ctx) }
	default: // StopClient
		a := w.accounts[n-1]
		return func() error { return a.Pause(true) }, func() error { return a.Pause(false) }
	}
}
