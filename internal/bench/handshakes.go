package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/link"
	"sotto/internal/onion"
	"sotto/internal/suite"
)

// What is measured of handshakes.
const (
	// Rounds are short, so that most of them pass without an interruption.
	answerRounds    = 500
	answersPerRound = 2
	answersCounted  = 100 // for their allocations

	createRounds    = 5
	createsPerRound = 1000
	createsAtOnce   = 16 // far below what a relay lets a client have
)

// answers measures what a relay computes for a CREATE, without the network.
func answers(ctx context.Context, r Run, rounds, perRound int) error {
	secret, err := suite.NewDHPrivate(rand.Reader)
	if err != nil {
		return err
	}
	peer, err := suite.NewDHPrivate(rand.Reader)
	if err != nil {
		return err
	}
	id, public := identity.NodeID{1}, peer.Public()
	_, create, err := onion.StartHandshake(rand.Reader, id, secret.Public(), onion.ClassStream, nil)
	if err != nil {
		return err
	}
	var failed error
	silent := func(onion.Class, []byte) ([]byte, error) { return nil, nil }
	r.Note("answering %d CREATEs in %d interleaved rounds", rounds*perRound, rounds)
	answer := func() {
		_, _, err := onion.AnswerHandshake(rand.Reader, id, secret, create, silent)
		failed = cmp.Or(failed, err)
	}
	times, err := interleave(ctx, rounds, perRound, answer, func() {
		_, err := secret.Shared(public)
		failed = cmp.Or(failed, err)
	})
	if err := cmp.Or(err, failed); err != nil {
		return err
	}
	us := float64(time.Microsecond)
	return r.emit(
		Figure{Bench: "circuit", Name: "handshake_answer", Value: times[0] / us, Unit: "us"}.against("x25519", times[1]/us),
		Figure{Bench: "circuit", Name: "handshake_answer_allocs", Value: allocations(answersCounted, answer), Unit: "allocs"},
	)
}

// handshakeRate counts CREATEs that one relay answers over a link, per second of
// the processor time that relay, client and kernel need together: the client
// shares the process, has made its CREATEs before and does not look into the
// answers, so that a relay alone is faster than the figure.
func (w *relays) handshakeRate(ctx context.Context, r Run) error {
	node, ok := w.directory.Current().Node(w.first)
	if !ok {
		return errors.New("bench: a relay is not in its directory")
	}
	l, err := w.client.Dial(ctx, node)
	if err != nil {
		return err
	}
	defer l.Close()
	r.Note("sending %d CREATEs to one relay, %d at a time", createRounds*createsPerRound, createsAtOnce)
	var rates []float64
	for range createRounds {
		creates, err := newCreates(node, createsPerRound)
		if err != nil {
			return err
		}
		before, ok := cpuTime()
		if !ok {
			r.Note("no rate of handshakes: this system does not tell a process's processor time")
			return nil
		}
		if err := exchangeAll(ctx, l, creates); err != nil {
			return err
		}
		after, _ := cpuTime()
		rates = append(rates, perSecond(len(creates), after-before))
	}
	return r.emit(Figure{Bench: "circuit", Name: "handshake_rate", Value: middle(rates), Unit: "1/s"})
}

// newCreates makes the bytes of n CREATEs for a node.
func newCreates(node directory.Node, n int) ([][]byte, error) {
	creates := make([][]byte, n)
	for i := range creates {
		var err error
		if _, creates[i], err = onion.StartHandshake(rand.Reader, node.ID, node.OnionKey, onion.ClassStream, nil); err != nil {
			return nil, err
		}
	}
	return creates, nil
}

// exchangeAll sends each CREATE on a channel of its own and waits for all answers.
func exchangeAll(ctx context.Context, l *link.Link, creates [][]byte) error {
	errs := make([]error, createsAtOnce)
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range errs {
		wg.Go(func() {
			for errs[worker] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(creates) {
					return
				}
				errs[worker] = exchange(ctx, l, creates[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// exchange sends one CREATE and waits for both cells of its CREATED.
func exchange(ctx context.Context, l *link.Link, create []byte) error {
	ch, err := l.Open(ctx)
	if err != nil {
		return err
	}
	defer ch.Abort(link.Code(onion.ReasonDone))
	parts, err := onion.SplitCreate(create, ch.CircID(), onion.CmdCreate)
	if err != nil {
		return err
	}
	if err := ch.WriteCells(&parts[0], &parts[1]); err != nil {
		return err
	}
	for i := range parts {
		if err := ch.ReadCell(&parts[i]); err != nil {
			return err
		}
	}
	_, err = onion.JoinCreate(&parts[0], &parts[1], onion.CmdCreated)
	return err
}
