package client

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"sotto/internal/mailbox"
)

// wordClass is one of the things that a request says beside its bytes, and that
// are neither a time nor a number of requests: what differs between clients
// there, and is the same for all mailboxes of one, would join them.
type wordClass uint8

const (
	wordRoom   wordClass = iota // for how much a mailbox is opened
	wordDays                    // and for how long
	wordPayer                   // whose quote pays, and how much; up to here it is said at openings
	wordQuote                   // whether others were given the same quote
	wordExpiry                  // what an expiry is over a whole hour
	wordTTL                     // how many hours are left of a put's; a deletion's say when it was put
	wordCursor                  // whose cursor, of which generation, if there is one
	wordLimit                   // of a fetch
	wordSizes                   // the class of an envelope, and of the one before
	wordProof                   // what kind of proof opens the door
	wordAsked                   // whether a key was asked for first: that goes by how often one comes
	wordBegun                   // whether there is a cursor, which is whether anything came before
	wordClasses
	wordsOfBytes = wordAsked
)

func (c wordClass) String() string {
	return [...]string{"room", "days", "payer", "quote", "expiry", "hours left", "cursor", "limit", "sizes", "proof", "keys asked", "reading begun"}[c]
}

// words counts what was said about one mailbox.
type words [wordClasses]map[string]int

func (w *words) add(c wordClass, format string, args ...any) {
	if w[c] == nil {
		w[c] = map[string]int{}
	}
	w[c][fmt.Sprintf(format, args...)]++
}

// same draws a word about each of two mailboxes and compares them. Openings are
// few, and a distance would tell their number.
func (w *words) same(o *words, c wordClass, a, b int32) float64 {
	x, y := w.draw(c, a), o.draw(c, b)
	if x == "" || x != y {
		return 0
	}
	return 1
}

// draw takes one that was said, always the same of one mailbox.
func (w *words) draw(c wordClass, box int32) string {
	total := 0
	for _, n := range w[c] {
		total += n
	}
	if total == 0 {
		return ""
	}
	k := rand.New(rand.NewPCG(uint64(box), uint64(c))).IntN(total)
	for _, word := range slices.Sorted(maps.Keys(w[c])) {
		if k -= w[c][word]; k < 0 {
			return word
		}
	}
	return ""
}

// distance compares what is said about two mailboxes in standard deviations of
// what chance makes of as many words, whatever their number.
func (w *words) distance(o *words, c wordClass) float64 {
	na, nb := 0.0, 0.0
	all := map[string]bool{}
	for x, n := range w[c] {
		na, all[x] = na+float64(n), true
	}
	for x, n := range o[c] {
		nb, all[x] = nb+float64(n), true
	}
	if na == 0 || nb == 0 || len(all) < 2 {
		return 0
	}
	sum, free := 0.0, float64(len(all)-1)
	for x := range all {
		a, b := float64(w[c][x]), float64(o[c][x])
		d := math.Sqrt(nb/na)*a - math.Sqrt(na/nb)*b
		sum += d * d / (a + b)
	}
	return -standard(sum, free)
}

// standard turns a sum of squares of so many degrees of freedom into standard
// deviations of chance (E. B. Wilson, M. M. Hilferty, 1931), so that what there
// is more of is no nearer and no farther than what there is nothing of.
func standard(sum, free float64) float64 {
	d := 2 / (9 * free)
	return (math.Cbrt(sum/free) - 1 + d) / math.Sqrt(d)
}

// said takes down what a request says.
func (l *joinLog) said(loc mailbox.Locator, asked bool, got *mailbox.Received) {
	l.mu.Lock()
	defer l.mu.Unlock()
	box := l.boxLocked(loc)
	w := l.words[box]
	if w == nil {
		w = &words{}
		l.words[box] = w
	}
	w.add(wordAsked, "%v", asked)
	now := uint64(l.clock().Unix())
	lasts := func(expiry uint64) {
		w.add(wordExpiry, "%d", expiry%expiryGrid)
	}
	cursor := func(c mailbox.Cursor) {
		w.add(wordBegun, "%v", c != mailbox.Cursor{})
		if c != (mailbox.Cursor{}) {
			w.add(wordCursor, "%v %d", c.Node == got.Stamp.Node, c.Incarnation)
		}
	}
	switch r := got.Request.(type) {
	case *mailbox.Open:
		w.add(wordRoom, "%d", r.Bytes)
		w.add(wordDays, "%d", r.Days)
		l.paidLocked(w, box, r.Work)
	case *mailbox.Put:
		lasts(r.Expiry)
		w.add(wordTTL, "%d", int64(r.Expiry/expiryGrid)-int64(now/expiryGrid))
		size := sizeClass(len(r.Envelope))
		if l.last[box] > 0 {
			w.add(wordSizes, "%d %d", l.last[box], size)
		}
		l.last[box] = size
		if r.Work != nil {
			l.paidLocked(w, box, *r.Work)
		}
		w.add(wordProof, "%v", r.Certificate != nil)
	case *mailbox.Delete:
		lasts(r.Expiry)
		w.add(wordProof, "%v", r.Certificate != nil)
	case *mailbox.Fetch:
		cursor(r.Cursor)
		w.add(wordLimit, "%d", r.Limit)
	case *mailbox.Subscribe:
		cursor(r.Cursor)
	}
}

// paidLocked looks at a quote. The same one is given to all who ask a member
// within an hour, so that it tells the hour, which is a time; another one in
// that hour would be a mark.
func (l *joinLog) paidLocked(w *words, box int32, work mailbox.Work) {
	q := work.Quote
	w.add(wordPayer, "%d %d", l.nodes[q.Node], q.Bits)
	step := fmt.Sprint(l.nodes[q.Node], q.Bits, q.Issued, q.Expires)
	if l.quotes[step] == (mailbox.WorkQuote{}) {
		l.quotes[step] = q
	}
	if l.quotes[step] == q {
		w.add(wordQuote, "the same as others")
		return
	}
	w.add(wordQuote, "%x", q.Signature[:8])
	l.windowsLocked(box, q.Signature[:])
}

func sizeClass(n int) int {
	switch {
	case n <= 4096:
		return 1
	case n <= 16384:
		return 2
	}
	return 3
}
