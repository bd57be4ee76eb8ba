package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"sotto/internal/mailbox"
)

// listener is a subscriber of one mailbox, which notes when frames come and
// opens them afterwards.
type listener struct {
	r      *requester
	opener *mailbox.ReplyOpener
	frames [][]byte
	times  []time.Time
	err    error
}

// listen takes n frames.
func (l *listener) listen(n int) {
	for range n {
		frame, err := l.r.read()
		if err != nil {
			l.err = err
			return
		}
		l.frames, l.times = append(l.frames, frame), append(l.times, time.Now())
	}
}

// arrivals opens what came, by digest.
func (l *listener) arrivals(into map[mailbox.Digest]time.Time) error {
	if l.err != nil {
		return l.err
	}
	for i, frame := range l.frames {
		resp, err := opened(l.opener.Open(frame))
		if err != nil {
			return err
		}
		p, ok := resp.(*mailbox.Pushed)
		if !ok {
			return errAnswer
		}
		into[p.Item.Digest] = l.times[i]
	}
	return nil
}

// pushes measures how long envelopes take to their subscribers, each of whom
// listens to a mailbox of its own at one of the members in turn, while puts
// come in at one of them at a given rate.
func (s *storeRun) pushes(ctx context.Context) error {
	s.Note("giving %.0f puts a second, with %d subscribers at all members", s.pushRate, s.subscribers)
	boxes, err := s.m.openBoxes(s.streams[0], s.subscribers, smallBox)
	if err != nil {
		return err
	}
	listeners := make([]*listener, len(boxes))
	for i, b := range boxes {
		r, err := s.m.dial(ctx, i)
		if err != nil {
			return err
		}
		defer r.close()
		opener, err := r.subscribe(b)
		if err != nil {
			return err
		}
		listeners[i] = &listener{r: r, opener: opener}
	}
	each := max(int(s.pushRate*s.paced.Seconds())/len(boxes), 1)
	all, err := prepare(ctx, s.streams[:1], boxes, each*len(boxes))
	if err != nil {
		return err
	}
	times, err := s.pushAll(all, listeners, each)
	if err != nil {
		return err
	}
	return s.emit(
		Figure{Bench: "store", Name: "push_p50", Value: milliseconds(percentile(times, 50)), Unit: "ms"},
		Figure{Bench: "store", Name: "push_p99", Value: milliseconds(percentile(times, 99)), Unit: "ms"},
	)
}

// pushAll returns how long each push took from when its put was due.
func (s *storeRun) pushAll(all []*prepared, listeners []*listener, each int) ([]time.Duration, error) {
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { l.listen(each) })
	}
	paced(s.streams, all, s.pushRate)
	stored, err := outcome(all)
	if err == nil && len(stored) < len(all) {
		err = errAnswer // a push that never comes would be waited for
	}
	if err != nil {
		for _, l := range listeners {
			l.r.close()
		}
	}
	wg.Wait()
	arrived := make(map[mailbox.Digest]time.Time)
	for _, l := range listeners {
		err = errors.Join(err, l.arrivals(arrived))
	}
	if err != nil {
		return nil, err
	}
	times := make([]time.Duration, len(all))
	for i, p := range all {
		at, ok := arrived[p.digest]
		if !ok {
			return nil, errAnswer
		}
		times[i] = at.Sub(p.due)
	}
	return times, nil
}
