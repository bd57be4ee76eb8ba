package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"sotto/internal/node"
	"sotto/internal/swarm/store"
)

// catchUpSizes say how much members have in common, and how much one lacks.
type catchUpSizes struct {
	common  int // small records
	missing int // envelopes of envelopeSize
	streams int
}

var fullCatchUp = catchUpSizes{common: 20_000, missing: 1000, streams: 32}

const (
	commonBoxes   = 64
	commonWriters = 256
	lookPause     = 20 * time.Millisecond
)

// catchUp counts the bytes that one member costs who comes back, first after it
// missed puts, and then when it lacks nothing.
func catchUp(ctx context.Context, r Run, sizes catchUpSizes) (err error) {
	c := &returning{sizes: sizes}
	if c.members, err = startMembers(filepath.Join(r.Dir, "returning")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	r.Note("filling five members alike with %d records", sizes.common)
	if err := c.fill(ctx); err != nil {
		return err
	}
	r.Note("one of them is away for %d puts of %d bytes, and returns", sizes.missing, envelopeSize)
	if err := c.miss(ctx); err != nil {
		return err
	}
	spent, err := c.back(ctx)
	if err != nil {
		return err
	}
	if err := c.stop(last); err != nil {
		return err
	}
	equal, err := c.back(ctx)
	if err != nil {
		return err
	}
	return r.emit(
		Figure{Bench: "store", Name: "catchup_bytes_ratio", Value: spent / float64(sizes.missing*envelopeSize), Unit: "ratio"},
		// It compares with each of the others, and they with it.
		Figure{Bench: "store", Name: "equal_round_bytes", Value: equal / (2 * (swarmSize - 1)), Unit: "bytes"},
	)
}

// last is the member that goes and returns.
const last = swarmSize - 1

// returning is a swarm whose last member goes and returns.
type returning struct {
	*members
	sizes catchUpSizes
}

// fill stops all members, gives each the same records, and starts them again.
func (c *returning) fill(ctx context.Context) error {
	now := uint64(time.Now().Unix())
	for i := range c.nodes {
		if err := c.stop(i); err != nil {
			return err
		}
		if err := c.fillOne(ctx, filepath.Join(c.dirs[i], "store"), now); err != nil {
			return err
		}
	}
	for i := range c.nodes {
		if err := c.restart(i); err != nil {
			return err
		}
	}
	for i := range c.nodes {
		if _, err := c.until(ctx, i, c.sizes.common); err != nil {
			return err
		}
	}
	return nil
}

// fillOne writes records that nobody will check, expiring at whole hours of a
// fortnight as clients' do.
func (c *returning) fillOne(ctx context.Context, dir string, now uint64) (err error) {
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	box := func(i int) store.Address { return sha256.Sum256(fmt.Appendf(nil, "box %d", i)) }
	for i := range commonBoxes {
		g := store.Grant{Address: box(i), ID: store.Ref{1}, Bytes: 1 << 30, Expiry: now + boxDays*86400, Proof: []byte("grant")}
		if err := st.OpenMailbox(ctx, g); err != nil {
			return err
		}
	}
	errs := make([]error, commonWriters)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < c.sizes.common && errs[w] == nil; i += commonWriters {
				b := binary.BigEndian.AppendUint64(nil, uint64(i))
				d := sha256.Sum256(b)
				hours := uint64(1 + binary.BigEndian.Uint32(d[:])%(14*24))
				_, errs[w] = st.Put(ctx, &store.Envelope{
					Address: box(int(d[9]) % commonBoxes), Digest: d, Expiry: (now/3600 + hours) * 3600,
					Proof: []byte("proof"), Bytes: b,
				})
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// restart starts a member that was stopped, with a page of its figures.
func (c *returning) restart(i int) (err error) {
	c.nodes[i], err = node.Start(node.Config{Dir: c.dirs[i], Metrics: "127.0.0.1:0"})
	return err
}

// miss stores puts while the last member is away.
func (c *returning) miss(ctx context.Context) error {
	streams, err := c.dialMany(ctx, 0, c.sizes.streams)
	if err != nil {
		return err
	}
	defer closeAll(streams)
	boxes, err := c.openBoxes(streams[0], 2, smallBox)
	if err != nil {
		return err
	}
	if err := c.stop(last); err != nil {
		return err
	}
	all, err := prepare(ctx, streams[:1], boxes, c.sizes.missing)
	if err != nil {
		return err
	}
	given, _ := together(streams, all, time.Minute)
	stored, err := outcome(given)
	if err == nil && len(stored) != c.sizes.missing {
		err = fmt.Errorf("bench: %d of %d puts were stored while a member is away", len(stored), c.sizes.missing)
	}
	return err
}

// back starts the last member, waits until it has all, and returns the bytes
// that went between it and the others.
func (c *returning) back(ctx context.Context) (float64, error) {
	if err := c.restart(last); err != nil {
		return 0, err
	}
	st, err := c.until(ctx, last, c.sizes.common+c.sizes.missing)
	return st.Other["peer_bytes_total"], err
}

// until waits for a member to have compared with all others and to have so many
// envelopes.
func (c *returning) until(ctx context.Context, i, envelopes int) (node.Status, error) {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	for {
		st, err := node.ReadStatus(ctx, c.dirs[i])
		if err != nil || st.MembersReconciled == swarmSize-1 && st.Envelopes >= uint64(envelopes) {
			return st, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return st, ctx.Err()
		}
	}
}
