package swarm

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/mailbox"
)

// metrics count, and name nobody: their only labels are the request's type and
// the class of its outcome.
type metrics struct {
	requests      *prometheus.CounterVec
	putSeconds    prometheus.Histogram
	pushes        prometheus.Counter
	expired       prometheus.Counter
	caughtUp      prometheus.Counter
	refusedCopies prometheus.Counter
	badReceipts   prometheus.Counter
	hints         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Swarm) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "sotto_swarm_" + name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sotto_swarm_" + name, Help: help}, f)
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sotto_swarm_requests_total", Help: "Requests of clients by type and outcome.",
		}, []string{"request", "outcome"}),
		putSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sotto_swarm_put_seconds", Help: "From a put to its majority.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}),
		pushes:        counter("pushes_total", "Envelopes pushed to subscribers."),
		expired:       counter("expired_total", "Envelopes that expired."),
		caughtUp:      counter("caught_up_total", "Records fetched from other members."),
		refusedCopies: counter("refused_copies_total", "Records of other members that were refused."),
		badReceipts:   counter("bad_receipts_total", "Receipts of other members that did not verify."),
		hints:         counter("hints_total", "Changes noted for members that were passed over."),
	}
	if reg == nil {
		return m, nil
	}
	all := []prometheus.Collector{
		m.requests, m.putSeconds, m.pushes, m.expired, m.caughtUp, m.refusedCopies, m.badReceipts, m.hints,
		gauge("subscriptions", "Subscriptions held.", func() float64 { return float64(s.subs.len()) }),
		gauge("stored_bytes", "Bytes of envelopes stored.", func() float64 { return float64(s.cfg.Store.Stats().Bytes) }),
		gauge("envelopes", "Envelopes stored.", func() float64 { return float64(s.cfg.Store.Stats().Envelopes) }),
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("swarm: register metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) request(name string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = mailbox.CodeOf(err).String()
	}
	m.requests.WithLabelValues(name, outcome).Inc()
}
