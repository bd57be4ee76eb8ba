package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// jumpWidth is how much of a key is looked at when a reader gets over what it
	// cannot read: neighbours differ within it in every table.
	jumpWidth = 12
	// jumpWithin is that within one mailbox: its address, and as much as a seq.
	jumpWithin = 1 + 32 + 8
	// jumpTries is how often it tries to read on behind the next prefix of one
	// width before it takes a shorter one.
	jumpTries = 4
)

// isDamage tells a store whose files say something else than what was written
// from one that cannot be read now.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || pebble.IsCorruptionError(err)
}

// scanMailbox visits the rows of one mailbox in a table, in order, and gets over
// what cannot be read: it says how often it had to. What is behind all damage is
// found from the end, since the steps of scan may pass it over.
func scanMailbox(r pebble.Reader, prefix []byte, visit func(key, value []byte) error) (gaps int, err error) {
	hi := upper(prefix)
	last, err := scanReadable(r, prefix, hi, visit)
	if err == nil || !pebble.IsCorruptionError(err) {
		return 0, err
	}
	from, err := readableFrom(r, prefix, hi)
	if err != nil {
		return 0, err
	}
	next := append(append([]byte(nil), prefix...), make([]byte, jumpWithin-len(prefix))...)
	if last != nil {
		next = append(last, 0)
	}
	gaps, err = scan(r, next, from, jumpWithin, visit)
	if err != nil {
		return gaps, err
	}
	_, err = scanReadable(r, from, hi, visit)
	return gaps, err
}

// readableFrom returns the first key from which all rows before hi can be read.
func readableFrom(r pebble.Reader, lo, hi []byte) (from []byte, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	from = hi
	for ok := it.Last(); ok; ok = it.Prev() {
		from = append(from[:0:0], it.Key()...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil && !pebble.IsCorruptionError(err) {
		return nil, err
	}
	return from, nil
}

// scan visits the rows from lo to hi, in order, and gets over what cannot be
// read: it says how often it had to. It tries the keys behind it in steps that
// grow from the next one of a width. Keys and values are valid during visit.
func scan(r pebble.Reader, lo, hi []byte, finest int, visit func(key, value []byte) error) (gaps int, err error) {
	width, tries := finest, 0
	for lo != nil && string(lo) < string(hi) {
		last, err := scanReadable(r, lo, hi, visit)
		if err == nil || !pebble.IsCorruptionError(err) {
			return gaps, err
		}
		if last != nil {
			lo, width, tries = last, finest, 0
		}
		if tries == 0 && width == finest {
			gaps++
		}
		if tries++; tries == jumpTries && width > 1 {
			width, tries = width-1, 1
		}
		lo = upper(lo[:min(len(lo), width)])
	}
	return gaps, nil
}

// scanReadable visits rows until one cannot be read, and returns the last key.
func scanReadable(r pebble.Reader, lo, hi []byte, visit func(key, value []byte) error) (last []byte, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
	if err != nil {
		return nil, fmt.Errorf("store: iterate: %w", err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		last = append(last[:0], it.Key()...)
		v, verr := it.ValueAndErr()
		if verr != nil {
			err = verr
			break
		}
		err = visit(last, v)
	}
	return last, errors.Join(err, it.Error(), it.Close())
}

// table is the range of one table's keys.
func table(name byte) (lo, hi []byte) { return []byte{name}, []byte{name + 1} }
