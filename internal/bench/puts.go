package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/mailbox"
)

// prepared is a put that was signed and sealed ahead, so that what is measured
// begins with its frame on the way and ends with the answer's last byte. The
// answer is opened and checked afterwards.
type prepared struct {
	to     *requester // whose member's key it is sealed to
	box    *box
	digest mailbox.Digest
	expiry uint64
	frame  []byte
	opener *mailbox.ReplyOpener
	reply  []byte

	due, answered time.Time // since when it waits, when the answer had come
	err           error
}

// prepare seals n puts, to the members in turn and for the boxes in turn. Their
// stamps count for two minutes, so they are to be used at once.
func prepare(ctx context.Context, to []*requester, boxes []*box, n int) ([]*prepared, error) {
	out := make([]*prepared, n)
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				if errs[w] = ctx.Err(); errs[w] == nil {
					out[i], errs[w] = prepareOne(to[i%len(to)], boxes[i%len(boxes)])
				}
			}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

func prepareOne(to *requester, b *box) (*prepared, error) {
	envelope := make([]byte, envelopeSize)
	if _, err := rand.Read(envelope); err != nil {
		return nil, err
	}
	stamp, err := mailbox.NewStamp(rand.Reader, to.node, time.Now())
	if err != nil {
		return nil, err
	}
	put := &mailbox.Put{Locator: b.Locator, Expiry: uint64(time.Now().Add(envelopeLife).Unix()), Envelope: envelope}
	put.Sign(b.shared, nil)
	p := &prepared{to: to, box: b, expiry: put.Expiry, digest: mailbox.EnvelopeDigest(b.Address(), envelope)}
	p.frame, p.opener, err = mailbox.SealStamped(to.cert, stamp, put)
	return p, err
}

// latency is how long the answer took, counted from when the put was due.
func (p *prepared) latency() time.Duration { return p.answered.Sub(p.due) }

// stored opens the answer, and reports whether it is a majority's receipts or a
// refusal for a moment. Every receipt is compared with the put, and with check
// its signature is verified.
func (p *prepared) stored(check bool) (bool, error) {
	if p.err != nil {
		return false, p.err
	}
	if _, err := mailbox.ParseBusyReply(p.reply); err == nil {
		return false, nil
	}
	resp, err := opened(p.opener.Open(p.reply))
	var refused *mailbox.Failure
	if errors.As(err, &refused) && refused.Code == mailbox.CodeBusy {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("bench: put: %w", err)
	}
	st, ok := resp.(*mailbox.Stored)
	if !ok || len(st.Receipts) <= swarmSize/2 {
		return false, errAnswer
	}
	for i := range st.Receipts {
		r := &st.Receipts[i]
		if r.Address != p.box.Address() || r.Digest != p.digest || r.Expiry != p.expiry {
			return false, errAnswer
		}
		if check {
			if err := r.Verify(); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// checkEvery is of how many answers one has its receipts' signatures verified.
const checkEvery = 16

// outcome checks the answers of a run, and returns those puts that are stored.
func outcome(all []*prepared) (stored []*prepared, err error) {
	for i, p := range all {
		ok, err := p.stored(i%checkEvery == 0)
		if err != nil {
			return nil, err
		}
		if ok {
			stored = append(stored, p)
		}
	}
	return stored, nil
}

// give sends a put on a stream and takes the answer.
func (p *prepared) give(r *requester) {
	p.reply, p.err = r.call(p.frame)
	p.answered = time.Now()
}

// together has each of the streams give the next of the puts as soon as it has
// the last one's answer, for d at most. It returns those that were given and
// how long it took. Streams and puts belong to the same member.
func together(streams []*requester, puts []*prepared, d time.Duration) ([]*prepared, time.Duration) {
	var next atomic.Int64
	began := time.Now()
	var wg sync.WaitGroup
	for _, r := range streams {
		wg.Go(func() {
			for time.Since(began) < d {
				i := int(next.Add(1)) - 1
				if i >= len(puts) {
					return
				}
				puts[i].due = time.Now()
				if puts[i].give(r); puts[i].err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	given := puts[:0:0]
	for _, p := range puts {
		if !p.answered.IsZero() {
			given = append(given, p)
		}
	}
	return given, took
}

// paced gives puts at moments that don't depend on the answers (an open loop):
// at a mean rate, and by chance, as clients that know nothing of one another
// do. Each goes out on a stream that is free; one that finds none waits, and
// that counts. It returns how long all took.
func paced(streams []*requester, puts []*prepared, rate float64) time.Duration {
	due := make(chan *prepared, len(puts))
	var wg sync.WaitGroup
	for _, r := range streams {
		wg.Go(func() {
			for p := range due {
				p.give(r)
			}
		})
	}
	began := time.Now()
	at := began
	for _, p := range puts {
		at = at.Add(time.Duration(mathrand.ExpFloat64() / rate * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		p.due = at
		due <- p
	}
	close(due)
	wg.Wait()
	return time.Since(began)
}

// latencies of puts, for percentile.
func latencies(puts []*prepared) []time.Duration {
	out := make([]time.Duration, len(puts))
	for i, p := range puts {
		out[i] = p.latency()
	}
	return out
}
