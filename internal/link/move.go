package link

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
)

var errMovedTooOften = errors.New("link: connection was moved too often")

// tracked is a live connection. Endpoint.mu guards it.
type tracked struct {
	conn   *quic.Conn
	remote netip.AddrPort // of one that we dialled
	on     []*carrier     // that know it; none for an accepted one
	at     *carrier       // that it uses
	path   *quic.Path     // that it uses; nil: that of its handshake
	moving bool
	away   bool // its network was gone when we looked last
	health pathHealth
}

// watch keeps the connections that we dialled on paths that exist, until the
// endpoint is closed (spec/link.md §5.5).
func (e *Endpoint) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	wall, mono := e.cfg.Now(), time.Now()
	for {
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
		nowWall, nowMono := e.cfg.Now(), time.Now()
		// The monotonic clock stands still while a computer sleeps.
		slept := nowWall.Round(0).Sub(wall.Round(0))-nowMono.Sub(mono) > maxIdle
		wall, mono = nowWall, nowMono
		if slept {
			e.abandon()
			continue
		}
		e.look()
		e.sweep()
	}
}

// abandon drops everything that we dialled from carriers of our own, without a
// word: after a sleep, peers have long given these connections up, and the
// network may be another one.
func (e *Endpoint) abandon() {
	e.tickets.forget()
	for _, c := range e.takeCarriers() {
		e.closed(c.silence())
	}
}

// look moves what has to be moved.
func (e *Endpoint) look() {
	e.mu.Lock()
	var dialled []*tracked
	for _, t := range e.conns {
		if t.at != nil && !t.moving {
			dialled = append(dialled, t)
		}
	}
	e.mu.Unlock()
	for _, t := range dialled {
		local, ok := e.cfg.Route(t.remote)
		narrow := t.health.tick(t.conn.ConnectionStats())
		if e.mustMove(t, local, ok, narrow) {
			e.wg.Go(func() { e.move(t, local) })
		}
	}
}

// mustMove decides whether a connection is to be moved to local, and if so
// marks it.
func (e *Endpoint) mustMove(t *tracked, local netip.Addr, reachable, narrow bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !reachable {
		if !t.away && t.at.local.IsValid() {
			e.tickets.forget()
		}
		t.away = true
		return false
	}
	moved := t.at.local.IsValid() && (t.away || t.at.local != local)
	t.away = false
	if moved {
		e.tickets.forget()
	}
	if !moved && !narrow {
		return false
	}
	// Who comes back to an address comes with another port: the old one would
	// join the two visits.
	e.retireLocked(t.at)
	t.moving = true
	return true
}

// move takes a connection to a carrier at local (RFC 9000 §9). If that fails,
// it stays where it is, to be tried again or to die of silence.
func (e *Endpoint) move(t *tracked, local netip.Addr) {
	ctx, cancel := context.WithTimeout(e.ctx, maxIdle)
	defer cancel()
	defer context.AfterFunc(t.conn.Context(), cancel)()
	path, to, err := e.migrate(ctx, t, local)
	e.mu.Lock()
	defer e.mu.Unlock()
	t.moving = false
	if err != nil {
		e.cfg.Logger.Debug("link: a connection could not be moved", "error", err)
		return
	}
	t.at, t.path, t.health = to, path, pathHealth{last: t.conn.ConnectionStats()}
}

func (e *Endpoint) migrate(ctx context.Context, t *tracked, local netip.Addr) (*quic.Path, *carrier, error) {
	to, err := e.acquireAt(local)
	if err != nil {
		return nil, nil, err
	}
	old, err := e.join(t, to)
	if errors.Is(err, errMovedTooOften) {
		return nil, nil, errors.Join(err, t.conn.CloseWithError(closeNormal, ""))
	}
	if err != nil {
		return nil, nil, err
	}
	path, err := t.conn.AddPath(to.transport)
	if err != nil {
		return nil, nil, err
	}
	// The probe carries a connection id of its own, and so does all that
	// follows: nothing on the new path was seen on the old one.
	if err = path.Probe(ctx); err == nil {
		err = path.Switch()
	}
	if err != nil {
		_ = path.Close() // it fails for the path in use alone
		return nil, nil, err
	}
	if old != nil {
		_ = old.Close()
	}
	return path, to, nil
}

// join puts t on a carrier that was acquired for it, until it ends, and returns
// the path that it uses. One that has ended has left all that it was on, and
// leaves this one as well.
func (e *Endpoint) join(t *tracked, to *carrier) (*quic.Path, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns[t.conn] != t {
		to.users--
		return nil, ErrLost
	}
	t.on = append(t.on, to)
	if len(t.on) > maxMoves+1 {
		return nil, errMovedTooOften
	}
	return t.path, nil
}
