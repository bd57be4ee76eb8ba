package bench

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
)

// overloadFactor is how many times as many puts are made ready as were answered.
const overloadFactor = 3

// overload measures how many puts a second are stored for a crowd of clients,
// each of which gives the next one as soon as it has its answer, and how long
// those take. Nobody waits for another's stream: clients have one each.
func (s *storeRun) overload(ctx context.Context) error {
	s.Note("giving puts from %d clients at once", s.crowd)
	streams, err := s.m.dialMany(ctx, 0, s.crowd)
	if err != nil {
		return err
	}
	defer closeAll(streams)
	all, err := prepare(ctx, streams[:1], s.boxes, int(overloadFactor*s.rate*s.paced.Seconds())+1)
	if err != nil {
		return err
	}
	given, took := together(streams, all, s.paced)
	stored, err := outcome(given)
	if err != nil {
		return err
	}
	return s.emit(
		Figure{Bench: "store", Name: "overload_goodput_ratio", Value: perSecond(len(stored), took) / s.rate, Unit: "ratio"},
		Figure{Bench: "store", Name: "overload_stored_ratio", Value: float64(len(stored)) / float64(len(given)), Unit: "ratio"},
		Figure{Bench: "store", Name: "overload_put_p99", Value: milliseconds(percentile(latencies(stored), 99)), Unit: "ms"},
	)
}

// absence measures puts at a quarter of the rate while all members are there,
// while two are deaf, as a stopped process is, and while two have ended.
// The first of these is the measure of the others, and comes when the engines
// may still have tables to merge.
func (s *storeRun) absence(ctx context.Context) error {
	s.Note("giving puts at a quarter of that rate, with all members, with two that are deaf, and without these")
	healthy, err := s.p95(ctx)
	if err != nil {
		return err
	}
	away := []int{swarmSize - 2, swarmSize - 1}
	for _, i := range away {
		if err := s.m.deafen(i); err != nil {
			return nil // not on this system: these figures are absent
		}
	}
	deaf, err := s.p95(ctx)
	if err != nil {
		return err
	}
	for _, i := range away {
		if err := s.m.stop(i); err != nil {
			return err
		}
	}
	down, err := s.p95(ctx)
	if err != nil {
		return err
	}
	return s.emit(
		Figure{Bench: "store", Name: "put_p95_quarter_rate", Value: milliseconds(healthy), Unit: "ms"},
		Figure{Bench: "store", Name: "put_p95_two_stopped_ratio", Value: float64(deaf) / float64(healthy), Unit: "ratio"},
		Figure{Bench: "store", Name: "put_p95_two_down_ratio", Value: float64(down) / float64(healthy), Unit: "ratio"},
	)
}

// p95 is what 95 of 100 puts take at most, all of which must be stored.
func (s *storeRun) p95(ctx context.Context) (time.Duration, error) {
	rate := s.rate / 4
	all, err := prepare(ctx, s.streams[:1], s.boxes, int(rate*s.paced.Seconds())+1)
	if err != nil {
		return 0, err
	}
	paced(s.streams, all, rate)
	stored, err := outcome(all)
	if err == nil && len(stored) < len(all) {
		err = errAnswer
	}
	return percentile(latencies(stored), 95), err
}

// deafen lets nothing through to a member any more. What it says of itself
// still leaves: to the others it is as a process that was stopped.
func (m *members) deafen(i int) error {
	udp, ok := m.conns[i].(*net.UDPConn)
	if !ok {
		return errors.ErrUnsupported
	}
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	return ipv4.NewPacketConn(udp).SetBPF(nothing)
}

// stop ends a member.
func (m *members) stop(i int) error { return m.nodes[i].Close() }
