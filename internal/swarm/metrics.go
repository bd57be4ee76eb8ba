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
	repairs       prometheus.Counter
	spoiltLists   prometheus.Counter
	hints         prometheus.Counter
	peerBytes     prometheus.Counter
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
		peerBytes:     counter("peer_bytes_total", "Bytes sent to and received from other members."),
		hints:         counter("hints_total", "Changes noted for members that were passed over."),
	}
	m.spoiltLists = counter("spoilt_lists_total", "Times that a node did not hand out what it listed of a mailbox that moves.")
	m.repairs = counter("store_repairs_total", "Times that damage was found in the store and taken out.")
	if reg == nil {
		return m, nil
	}
	all := []prometheus.Collector{
		m.requests, m.putSeconds, m.pushes, m.expired, m.caughtUp, m.refusedCopies, m.badReceipts, m.repairs, m.spoiltLists, m.hints, m.peerBytes,
		gauge("subscriptions", "Subscriptions held.", func() float64 { return float64(s.subs.len()) }),
		gauge("stored_bytes", "Bytes of envelopes stored.", func() float64 { return float64(s.cfg.Store.Stats().Bytes) }),
		gauge("store_free_bytes", "Bytes free on the store's disk.", func() float64 { return float64(s.cfg.Store.Health().Free) }),
		gauge("store_low", "1 while the disk is too full for anything new.", func() float64 { return oneIf(s.cfg.Store.Health().Low) }),
		gauge("store_read_only", "1 while the engine has met a full disk.", func() float64 { return oneIf(s.cfg.Store.Health().ReadOnly) }),
		gauge("store_repairing", "1 while a damaged store is being repaired.", func() float64 { return oneIf(s.cfg.Store.Health().Repairing) }),
		gauge("store_lacking", "1 while the store lacks what it lost.", func() float64 { return oneIf(s.Moving().Lacking) }),
		gauge("members", "Other members of this member's swarm.", func() float64 { return float64(len(s.view().peers)) }),
		gauge("members_away", "Other members without a connection.", func() float64 { return float64(s.away()) }),
		gauge("members_reconciled", "Other members compared with since the start.", func() float64 { return float64(s.reconciled()) }),
		gauge("moving_sources", "Nodes from which mailboxes are yet to be got, and that can be reached or are needed.", func() float64 { return float64(s.Moving().Ungot) }),
		gauge("moving_mailboxes", "Mailboxes that are yet to be handed over.", func() float64 { return float64(s.Moving().Mailboxes) }),
		gauge("moving_bytes", "Bytes of mailboxes that are yet to be handed over.", func() float64 { return float64(s.Moving().Bytes) }),
		gauge("moving_counted", "1 once it is known what is yet to be handed over.", func() float64 { return oneIf(s.Moving().Counted) }),
		gauge("hints_waiting", "Changes that wait for members that were passed over.", func() float64 { return float64(s.cfg.Store.Stats().Hints) }),
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

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Swarm) away() (n int) {
	for _, p := range s.view().peers {
		p.mu.Lock()
		if p.down {
			n++
		}
		p.mu.Unlock()
	}
	return n
}

func (s *Swarm) reconciled() (n int) {
	for _, p := range s.view().peers {
		if p.reconciled() {
			n++
		}
	}
	return n
}
