package client

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sotto/internal/mailbox"
)

var (
	joinSwarms         = flag.String("joiner.swarms", "", "measure the joiner in networks of these numbers of swarms, as 3,10,50")
	joinScaled         = joinScale{}
	joinViews          int
	joinReceipts       time.Duration
	joinStart          time.Duration
	joinWatch          time.Duration
	joinUnphased       bool
	joinDelays         string
	joinSave, joinLoad string
)

func init() {
	flag.IntVar(&joinScaled.accounts, "joiner.accounts", 50, "accounts of the joiner's world")
	flag.IntVar(&joinScaled.conversations, "joiner.conversations", 300, "conversations")
	flag.IntVar(&joinScaled.messages, "joiner.messages", 100, "messages of a conversation")
	flag.IntVar(&joinScaled.periods, "joiner.periods", 3, "periods of 48 hours")
	flag.DurationVar(&joinReceipts, "joiner.receipts", 0, "at most, how long receipts wait, if not as usual")
	flag.DurationVar(&joinStart, "joiner.start", 0, "over how long subscriptions begin at the start, if not as usual")
	flag.DurationVar(&joinWatch, "joiner.watch", -1, "by how much longer mailboxes are watched, if not as usual")
	flag.BoolVar(&joinUnphased, "joiner.unphased", false, "all mailboxes change periods at midnight, whatever else is delayed")
	flag.StringVar(&joinDelays, "joiner.delays", "false,true", "with delays, without")
	flag.StringVar(&joinSave, "joiner.save", "", "keep the worlds in this directory")
	flag.StringVar(&joinLoad, "joiner.load", "", "take the worlds from this directory, where they were kept")
	flag.IntVar(&joinViews, "joiner.views", 30, "pairs of nodes of each role; the more swarms, the less each pair sees")
	flag.DurationVar(&joinScaled.tick, "joiner.tick", 5*time.Minute, "how often clients look at periods")
}

// live runs a world, and returns what is left of it.
func live(t *testing.T, scale joinScale, delay bool, prepare func(*joinWorld)) (out *joinRecord) {
	synctest.Test(t, func(t *testing.T) {
		w := newJoinWorld(t, scale, delay, 1)
		if prepare != nil {
			prepare(w)
		}
		w.run()
		synctest.Wait() // members have seen everything end
		t.Logf("delays %v: %d mailboxes, %d known, %d sights, %d circuits, %d streams, %d windows", delay, len(w.log.locators), len(w.truth), len(w.log.sights), len(w.log.circuits), len(w.log.streams), len(w.log.first))
		out = w.record()
		if w.after != nil {
			w.after()
		}
	})
	return out
}

// What nodes store joins nothing, and what the client does at random moments
// makes it harder for them to join by time. A client that leaves a mark is
// found out, so the joiner can join what can be joined.
func TestJoiner(t *testing.T) {
	if raced {
		t.Skip("virtual days of two worlds take the race detector minutes")
	}
	scale := joinScale{accounts: 6, conversations: 12, messages: 20, periods: 2, swarms: 3, tick: 30 * time.Minute}
	var calm, leaky *joinRecord
	t.Run("worlds", func(t *testing.T) {
		t.Run("calm", func(t *testing.T) {
			t.Parallel()
			calm = live(t, scale, true, func(w *joinWorld) { w.after = w.sayTheSame })
		})
		t.Run("leaky", func(t *testing.T) {
			t.Parallel()
			leaky = live(t, scale, false, func(w *joinWorld) { w.log.mark = accountMark })
		})
	})
	if t.Failed() {
		return
	}
	plain, marked, dull, sharp := calm.join(8, 1), leaky.join(8, 1), calm.sharply(), leaky.sharply()
	for rel := range relations {
		f := plain[allRoles][rel][byBytes]
		t.Logf("%s: by bytes %.3f ± %.3f, by circuits %.3f, by counts %.3f, by times too %.3f", rel, f.auc, f.err, plain[allRoles][rel][byCircuits].auc, plain[allRoles][rel][byCounts].auc, plain[allRoles][rel][byTime].auc)
		if d := math.Abs(f.auc - 0.5); d > 5*f.err+0.02 {
			t.Errorf("%s: bytes alone join mailboxes: AUC %.3f ± %.3f", rel, f.auc, f.err)
		}
	}
	if d := calm.deletedAfter(); d < 10*time.Minute {
		t.Errorf("half of what is read is deleted within %v, which shows when its reader is there", d)
	}
	if f := marked[allRoles][account][byBytes]; f.auc < 0.7 {
		t.Errorf("a client that marks its requests is not found out: AUC %.3f ± %.3f", f.auc, f.err)
	}
	t.Logf("by the first moments alone: %.3f ± %.3f with delays, %.3f ± %.3f without", dull.auc, dull.err, sharp.auc, sharp.err)
	if dull.auc > sharp.auc-0.02 {
		t.Errorf("delays do not help: AUC %.3f by the first moments, %.3f without delays", dull.auc, sharp.auc)
	}
}

// sayTheSame checks that requests say the same about every mailbox of a
// conversation, whosever it is.
func (w *joinWorld) sayTheSame() {
	for _, class := range []wordClass{wordRoom, wordDays, wordQuote, wordExpiry, wordLimit, wordProof} {
		all := map[string]bool{}
		for box, said := range w.log.words {
			if w.log.locators[box].Kind != mailbox.KindConversation {
				continue
			}
			for word := range said[class] {
				all[word] = true
			}
		}
		if len(all) != 1 {
			w.t.Errorf("%v: %d different ones", class, len(all))
		}
	}
}

// sharply joins both directions of conversations by nothing but what follows
// within moments, untrained, with what all members together saw.
func (w *joinRecord) sharply() figure {
	member := map[uint16]bool{}
	for i := range w.Swarms {
		member[uint16(i)] = true
	}
	v := w.seen(member, nil, nil)
	var sets [2][]sample
	r := rand.New(rand.NewPCG(8, 8))
	w.judged(v, directions, falsePairs, &sets, r, func(m, n *boxView) []float64 {
		a, b := m.times[sawPut], n.times[sawPut]
		return []float64{float64(within(a, b, 20, 1000) + within(b, a, 20, 1000))}
	})
	all := append(sets[0], sets[1]...)
	for i := range all {
		all[i].score = all[i].f[0]
	}
	return (*judge)(nil).measure(all, r)
}

// deletedAfter is the median of what passes from the last message to a mailbox
// until what was read is deleted, front doors aside.
func (w *joinRecord) deletedAfter() time.Duration {
	var waits []int64
	put := map[int32]int64{}
	for _, s := range w.Sights {
		if t, known := w.Truth[s.Box]; !known || t.Writer < 0 {
			continue
		}
		switch s.Kind {
		case sawPut:
			put[s.Box] = s.At
		case sawDelete:
			if s.Stream >= 0 {
				waits = append(waits, s.At-put[s.Box])
			}
		}
	}
	if len(waits) == 0 {
		return 0
	}
	slices.Sort(waits)
	return time.Duration(waits[len(waits)/2]) * time.Millisecond
}

// The measurement at scale, by hand (docs/benchmarks.md).
func TestJoinerAtScale(t *testing.T) {
	if *joinSwarms == "" {
		t.Skip("takes minutes: -joiner.swarms=3,10,50")
	}
	for s := range strings.SplitSeq(*joinSwarms, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		scale := joinScaled
		scale.swarms = n
		for _, delay := range []bool{false, true} {
			if !strings.Contains(joinDelays, fmt.Sprint(delay)) {
				continue
			}
			t.Run(fmt.Sprintf("%d swarms, delays %v", n, delay), func(t *testing.T) {
				began := time.Now()
				name := fmt.Sprintf("world-%d-%v", n, delay)
				var w *joinRecord
				if joinLoad != "" {
					w = loadRecord(t, joinLoad, name)
				} else {
					w = live(t, scale, delay, func(w *joinWorld) { w.tells = true })
					t.Logf("lived in %v", time.Since(began))
				}
				if joinSave != "" {
					w.save(t, joinSave, name)
				}
				w.join(joinViews, 1).print(t)
				w.tell(t, joinViews, 2)
				t.Logf("took %v", time.Since(began))
			})
		}
	}
}
