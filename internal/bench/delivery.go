package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"sotto/internal/client"
	"sotto/internal/simnet"
	"sotto/internal/testnet"
	"sotto/internal/vault"
)

// The network that messages cross, and how many do.
const (
	deliveryNodes = 15
	deliverySwarm = 5
	simnetLatency = 30 * time.Millisecond // one way, per link
	pauseBetween  = 20 * time.Millisecond // what is measured is no burst

	// A part ends with whichever of the two comes first.
	deliveries   = 200
	deliveryTime = 15 * time.Second
	// settleTimeout bounds making accounts and the first contact.
	settleTimeout = 40 * time.Second
	// deliveryTimeout bounds one message.
	deliveryTimeout = 30 * time.Second
)

// lightKDF is a cheap passphrase: the vaults live for a minute.
var lightKDF = vault.KDFParams{MemoryKiB: 1 << 10, Passes: 1, Threads: 1}

func delivery(ctx context.Context, r Run) error {
	if err := deliverOn(ctx, r, "loopback", nil); err != nil {
		return err
	}
	sim := simnet.New(simnet.Config{Latency: simnetLatency})
	defer sim.Close()
	return deliverOn(ctx, r, "simnet30", sim)
}

// deliverOn measures one network: nil is loopback.
func deliverOn(ctx context.Context, r Run, name string, sim *simnet.Net) (err error) {
	layout, err := testnet.Prepare(filepath.Join(r.Dir, name), deliveryNodes, deliverySwarm)
	if err != nil {
		return err
	}
	r.Note("%s: starting %d nodes and two accounts", name, deliveryNodes)
	network, err := testnet.Start(layout, testnet.Config{Net: sim})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	var people [2]*person
	for i := range people {
		p, err := newPerson(ctx, network, filepath.Join(layout.Dir, fmt.Sprintf("account-%d", i)))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.app.Close()) }()
		people[i] = p
	}
	if err := introduce(ctx, people[0], people[1]); err != nil {
		return err
	}
	r.Note("%s: sending up to %d messages, one after the other", name, deliveries)
	times, err := converse(ctx, people)
	if err != nil {
		return err
	}
	return r.emit(
		Figure{Bench: "delivery", Name: name + "_p50", Value: milliseconds(percentile(times, 50)), Unit: "ms"},
		Figure{Bench: "delivery", Name: name + "_p95", Value: milliseconds(percentile(times, 95)), Unit: "ms"},
	)
}

// person is an account at work, and what a screen would show of it.
type person struct {
	*client.Client
	app    *client.App
	events <-chan client.Event
}

func newPerson(ctx context.Context, network *testnet.Network, dir string) (*person, error) {
	app, err := client.OpenProfile(client.ProfileConfig{
		Dir: dir, NetworkFile: network.Layout().File(), PacketConn: network.ClientConn, KDF: lightKDF,
	})
	if err != nil {
		return nil, err
	}
	p := &person{app: app}
	if err := p.settle(ctx); err != nil {
		return nil, errors.Join(err, app.Close())
	}
	return p, nil
}

// settle makes the account, and waits until others can write to it.
func (p *person) settle(ctx context.Context) error {
	if _, err := p.app.Create(ctx, "", rand.Text()); err != nil {
		return err
	}
	var err error
	if p.Client, err = p.app.Client(); err != nil {
		return err
	}
	p.events = p.Events(ctx)
	wait, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	return p.Flush(wait)
}

// introduce makes two people contacts of one another.
func introduce(ctx context.Context, a, b *person) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for _, way := range [][2]*person{{a, b}, {b, a}} { // who answers, accepts
		if _, err := way[0].deliver(ctx, way[1], "hello"); err != nil {
			return err
		}
	}
	return errors.Join(a.Flush(ctx), b.Flush(ctx))
}

// converse sends messages in turn, and returns how long each took.
func converse(ctx context.Context, people [2]*person) ([]time.Duration, error) {
	var times []time.Duration
	for end := time.Now().Add(deliveryTime); len(times) < deliveries && time.Now().Before(end); {
		from, to := people[len(times)%2], people[(len(times)+1)%2]
		took, err := from.deliver(ctx, to, fmt.Sprintf("message %d", len(times)))
		if err != nil {
			return nil, err
		}
		times = append(times, took)
		select {
		case <-time.After(pauseBetween):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return times, nil
}

// deliver returns how long it took from the call of Send to the event that
// shows the message at the other end.
func (p *person) deliver(ctx context.Context, to *person, text string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	began := time.Now()
	if _, err := p.Send(ctx, to.ID(), text); err != nil {
		return 0, err
	}
	for {
		select {
		case e, open := <-to.events:
			if !open {
				return 0, client.ErrLocked
			}
			if e.Type == client.EventMessage && !e.Message.Outgoing && e.Message.Text == text {
				return time.Since(began), nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("bench: a message was not delivered: %w", ctx.Err())
		}
	}
}
