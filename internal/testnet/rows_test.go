package testnet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"sotto/internal/identity"
	"sotto/internal/mailbox"
)

// rows reads every row of a closed store, below the store's own code.
func rows(t *testing.T, dir string) (out [][2][]byte) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{
		ReadOnly: true, FormatMajorVersion: pebble.FormatNewest, Logger: silence{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		out = append(out, [2][]byte{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return out
}

type silence struct{}

func (silence) Infof(string, ...any)           {}
func (silence) Errorf(string, ...any)          {}
func (silence) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// traits reads a row of a store (spec/swarm.md §4.1) as a curious member would:
// which mailbox it is about, and all of it that could tell one mailbox from
// another. What is no trait, because it is alike in thousands of mailboxes or
// tells a time, is left out by name: kinds, periods, sizes, counters of the
// member's own, times, and its quotes, which are equal for all who ask in one
// half hour. A row that is laid out in another way is an error, so that a new
// field has to be judged here.
func traits(key, value []byte, quotes map[string][]byte) (addr mailbox.Address, out [][]byte, err error) {
	k, v := &layout{b: key}, &layout{b: value, quotes: quotes}
	table := key[0]
	k.skip(1)
	switch table {
	case 'm':
		k.fixed(addr[:])
		v.keep(8)     // generation
		v.skip(4 * 8) // next sequence, bytes granted and used, expiry
	case 'i':
		k.fixed(addr[:])
		k.skip(8)     // sequence
		v.keep(32)    // digest
		v.skip(8 + 4) // expiry, size
	case 'd':
		k.fixed(addr[:])
		k.keep(32)          // digest
		if v.uint(8) == 0 { // sequence; 0 is a deleted one's
			v.skip(2 * 8) // expiry, the envelope's own expiry
		}
	case 'g':
		k.fixed(addr[:])
		k.keep(32)      // id
		v.skip(2*8 + 4) // bytes, expiry, length
		v.open()
	case 't':
		k.fixed(addr[:])
		k.keep(32) // id
		v.skip(8)  // expiry
		v.digests()
		v.skip(4)
		v.delete()
	case 'e':
		k.skip(4) // hour of expiry
		k.fixed(addr[:])
		k.skip(8) // sequence
		v.keep(4) // checksum
		v.skip(4) // length
		v.put()
		v.skip(1) // version of the envelope
		v.keep(len(v.b))
	case 'x':
		k.skip(8 + 1) // expiry, kind
		k.fixed(addr[:])
		k.keep(32)
	case 'y':
		k.skip(8) // expiry
		k.fixed(addr[:])
		k.keep(32)
	case 'h':
		k.skip(32 + 1) // another member, kind
		k.fixed(addr[:])
		k.keep(32)
		v.skip(8) // expiry
	case 'b', 's', 'v': // deleted hours, the whole store, moves between swarms
		return addr, nil, nil
	default:
		return addr, nil, fmt.Errorf("unknown table %q", table)
	}
	if k.bad || v.bad || len(k.b)+len(v.b) > 0 {
		return addr, nil, fmt.Errorf("a row of table %q is not laid out as this test knows: %d and %d bytes left", table, len(k.b), len(v.b))
	}
	return addr, append(append(k.kept, v.kept...), addr[:]), nil
}

// layout goes through a row and keeps the traits.
type layout struct {
	b      []byte
	kept   [][]byte
	bad    bool
	quotes map[string][]byte
}

func (l *layout) take(n int) []byte {
	if n > len(l.b) {
		l.bad, l.b = true, nil
		return make([]byte, n)
	}
	out := l.b[:n]
	l.b = l.b[n:]
	return out
}

func (l *layout) skip(n int)       { l.take(n) }
func (l *layout) keep(n int)       { l.kept = append(l.kept, l.take(n)) }
func (l *layout) fixed(dst []byte) { copy(dst, l.take(len(dst))) }

func (l *layout) uint(size int) (n uint64) {
	for _, c := range l.take(size) {
		n = n<<8 | uint64(c)
	}
	return n
}

func (l *layout) digests() {
	for range l.uint(2) {
		l.keep(mailbox.DigestSize)
	}
}

// head is tag, version, and the locator.
func (l *layout) head() {
	l.skip(2 + 1 + 8) // tag, version, kind, period
	l.keep(32)        // owner key
	l.keep(32)        // write key
}

func (l *layout) open() {
	l.head()
	l.skip(4 + 2) // bytes, days
	l.work()
}

func (l *layout) work() {
	q := l.take(mailbox.WorkSize - 8)
	about := string(q[:32+1+8]) // node, bits, issued
	if issued := binary.BigEndian.Uint64(q[33:]); issued%uint64(mailbox.QuoteStep.Seconds()) != 0 {
		l.bad = true
	}
	if other, ok := l.quotes[about]; ok && !bytes.Equal(other, q) {
		l.bad = true // two quotes of one step that differ would be traits
	}
	l.quotes[about] = q
	l.keep(8) // nonce
}

func (l *layout) put() {
	l.head()
	l.skip(8) // expiry
	l.authorization()
	if l.uint(1) == 1 {
		l.work()
	}
	l.skip(4) // length of the envelope, which stands elsewhere
}

func (l *layout) delete() {
	l.head()
	l.skip(8)
	l.authorization()
	l.digests()
}

func (l *layout) authorization() {
	l.keep(64)
	if l.uint(1) == 1 {
		cert := l.take(identity.CertificateSize)
		l.kept = append(l.kept, cert[1+8:]) // all but version and period
	}
}

// window is the shortest run of bytes that the joiner compares.
const window = 8

// joiner collects the traits of groups of mailboxes and finds runs of bytes that
// occur in two groups.
type joiner struct {
	seen   map[[window]byte]string // group
	joined map[string]bool         // "a and b"
}

func newJoiner() *joiner {
	return &joiner{seen: map[[window]byte]string{}, joined: map[string]bool{}}
}

func (j *joiner) add(group string, traits [][]byte) {
	for _, b := range traits {
		if len(b) < window {
			b = append(bytes.Clone(b), make([]byte, window-len(b))...)
		}
		for i := 0; i+window <= len(b); i++ {
			w := [window]byte(b[i:])
			if bytes.Count(w[:], []byte{0}) >= 3 {
				continue // padding of certificates' small numbers and the like
			}
			if other, ok := j.seen[w]; ok && other != group {
				j.joined[other+" and "+group] = true
			}
			j.seen[w] = group
		}
	}
}
