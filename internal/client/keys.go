package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	// maxCerts bounds the certificates in memory: two members each for what a
	// few hundred mailboxes are put to and read from.
	maxCerts = 1024
	// keysAnHour is how many request keys an honest member shows within an hour:
	// one, the next epoch's, and another after a restart.
	keysAnHour = 3
)

// requestKeys remembers the request keys of members, for each mailbox apart. A
// member that hands a key of its own to each who asks then learns from it only
// which requests are for one mailbox, which their address says anyway
// (spec/client.md §5.11).
type requestKeys struct {
	mu    sync.Mutex // guards what follows
	certs map[keyPlace]*mailbox.RequestKeyCert
	seen  map[keyPlace]*shownKeys
}

// keyPlace is where a certificate may be used.
type keyPlace struct {
	box  mailbox.Address
	node identity.NodeID
}

// shownKeys are the keys that one member has shown for one mailbox within an hour.
type shownKeys struct {
	until time.Time
	keys  map[[suite.HashSize]byte]bool
}

func newRequestKeys() requestKeys {
	return requestKeys{certs: map[keyPlace]*mailbox.RequestKeyCert{}, seen: map[keyPlace]*shownKeys{}}
}

// get returns a certificate that counts now, or nil.
func (k *requestKeys) get(at keyPlace, now time.Time) *mailbox.RequestKeyCert {
	k.mu.Lock()
	cert := k.certs[at]
	k.mu.Unlock()
	if cert == nil || !counts(cert, now) {
		return nil
	}
	return cert
}

// counts says whether a certificate that was verified when it came still does.
func counts(cert *mailbox.RequestKeyCert, now time.Time) bool {
	t := uint64(max(now.Unix(), 0))
	return t+uint64(mailbox.MaxClockSkew/time.Second) >= cert.NotBefore && t < cert.NotAfter
}

func (k *requestKeys) put(at keyPlace, cert *mailbox.RequestKeyCert, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.certs) >= maxCerts {
		k.purgeLocked(now)
	}
	k.certs[at] = cert
	seen := k.seen[at]
	if seen == nil || !now.Before(seen.until) {
		seen = &shownKeys{until: now.Add(time.Hour), keys: map[[suite.HashSize]byte]bool{}}
		k.seenRoomLocked(now)
		k.seen[at] = seen
	}
	if len(seen.keys) <= keysAnHour {
		seen.keys[suite.Hash(labelKey, cert.Public)] = true
	}
}

// purgeLocked makes room: what has expired goes, and else any.
func (k *requestKeys) purgeLocked(now time.Time) {
	for at, cert := range k.certs {
		if !counts(cert, now) {
			delete(k.certs, at)
		}
	}
	for at := range k.certs {
		if len(k.certs) < maxCerts {
			return
		}
		delete(k.certs, at)
	}
}

// seenRoomLocked is purgeLocked for the keys that were shown.
func (k *requestKeys) seenRoomLocked(now time.Time) {
	if len(k.seen) >= maxCerts {
		maps.DeleteFunc(k.seen, func(_ keyPlace, s *shownKeys) bool { return !now.Before(s.until) })
	}
	for at := range k.seen {
		if len(k.seen) < maxCerts {
			return
		}
		delete(k.seen, at)
	}
}

func (k *requestKeys) forget(at keyPlace) {
	k.mu.Lock()
	delete(k.certs, at)
	k.mu.Unlock()
}

// marks reports whether a member has shown more keys for a mailbox than an honest
// one has: it may be telling its askers apart.
func (k *requestKeys) marks(at keyPlace, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := k.seen[at]
	return seen != nil && now.Before(seen.until) && len(seen.keys) > keysAnHour
}

// cert returns the member's request key for a mailbox, from memory or asked for
// on stream.
func (m *members) cert(stream io.ReadWriter, at keyPlace) (_ *mailbox.RequestKeyCert, cached bool, _ error) {
	if cert := m.keys.get(at, m.now()); cert != nil {
		return cert, true, nil
	}
	if err := wire.WriteFrame(stream, mailbox.KeysRequest()); err != nil {
		return nil, false, err
	}
	frame, err := wire.ReadFrame(stream, mailbox.MaxFrame)
	if err != nil {
		return nil, false, err
	}
	cert, err := mailbox.ParseKeysReply(frame)
	if err != nil {
		return nil, false, err
	}
	now := m.now()
	if err := cert.Verify(at.node, now); err != nil {
		return nil, false, fmt.Errorf("client: request key: %w", err)
	}
	m.keys.put(at, cert, now)
	return cert, false, nil
}

// warm fetches a member's request key for a mailbox ahead of need.
func (m *members) warm(ctx context.Context, t target, node identity.NodeID) error {
	at := t.at(node)
	if m.keys.get(at, m.now()) != nil {
		return nil
	}
	stream, err := m.net.OpenStream(ctx, t.route.iso, t.route.avoid, node)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	defer func() {
		stop()
		stream.Close()
	}()
	_, _, err = m.cert(stream, at)
	return err
}
