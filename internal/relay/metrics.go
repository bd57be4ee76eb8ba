package relay

import (
	"github.com/prometheus/client_golang/prometheus"

	"sotto/internal/onion"
)

// Metrics counts what a relay does. No label tells a client, a peer, an
// address or a circuit from another.
type Metrics struct {
	cells     *prometheus.CounterVec // by direction
	created   prometheus.Counter
	destroyed *prometheus.CounterVec // by reason
	open      prometheus.Gauge
	halfOpen  prometheus.Gauge
	waiting   prometheus.Gauge
	answered  prometheus.Counter
	denied    *prometheus.CounterVec // by reason
	streams   prometheus.Gauge
	bytes     *prometheus.CounterVec // by direction
	queued    prometheus.Gauge

	away, toward           prometheus.Counter // of cells
	bytesAway, bytesToward prometheus.Counter // of bytes
}

const (
	labelAway   = "away"   // from the client
	labelToward = "toward" // the client
)

// NewMetrics makes the metrics and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "sotto", Subsystem: "relay", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "sotto", Subsystem: "relay", Name: name, Help: help})
	}
	m := &Metrics{
		cells:     prometheus.NewCounterVec(counter("cells_total", "Cells forwarded, by direction as seen from the client."), []string{"direction"}),
		created:   prometheus.NewCounter(counter("circuits_created_total", "Circuits whose CREATE was answered.")),
		destroyed: prometheus.NewCounterVec(counter("circuits_destroyed_total", "Circuits that ended, by reason."), []string{"reason"}),
		open:      gauge("circuits_open", "Circuits that are open."),
		halfOpen:  gauge("circuits_half_open", "Channels whose CREATE is not whole yet."),
		waiting:   gauge("handshakes_waiting", "CREATEs that wait to be answered."),
		answered:  prometheus.NewCounter(counter("handshakes_total", "CREATEs for which the cryptography was done.")),
		denied:    prometheus.NewCounterVec(counter("creates_refused_total", "Channels that became no circuit, by reason."), []string{"reason"}),
		streams:   gauge("streams_open", "Exit streams that are open."),
		bytes:     prometheus.NewCounterVec(counter("exit_bytes_total", "Bytes copied between streams and services, by direction."), []string{"direction"}),
		queued:    gauge("queued_bytes", "Bytes that wait on all circuits."),
	}
	m.away, m.toward = m.cells.WithLabelValues(labelAway), m.cells.WithLabelValues(labelToward)
	m.bytesAway, m.bytesToward = m.bytes.WithLabelValues(labelAway), m.bytes.WithLabelValues(labelToward)
	if reg != nil {
		reg.MustRegister(m.cells, m.created, m.destroyed, m.open, m.halfOpen, m.waiting, m.answered, m.denied, m.streams, m.bytes, m.queued)
	}
	return m
}

// ended counts a circuit's end. Reasons are a peer's words: unknown ones share
// a label, so that nobody can make up labels.
func (m *Metrics) ended(why onion.Reason) { m.destroyed.WithLabelValues(why.Known().String()).Inc() }

// refused counts a channel that became no circuit.
func (m *Metrics) refused(why onion.Reason) { m.denied.WithLabelValues(why.Known().String()).Inc() }
