package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
)

// metrics are what callback-ingest counts; labels come from the closed lists of packages callback and commands.
type metrics struct {
	callbacks *prometheus.CounterVec
	published *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "paydispatch_callbacks_total", Help: "Callbacks, by verdict."}, []string{"vendor", "verdict"}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "paydispatch_results_total", Help: "Published result events."}, []string{"topic", "kind"}),
	}
	reg.MustRegister(m.callbacks, m.published)
	return m
}

// vendor returns the hook that counts one vendor's callbacks.
func (m *metrics) vendor(name string) func(verdict string) {
	for _, verdict := range []string{
		callback.VerdictAccepted, callback.VerdictForged, callback.VerdictMalformed, callback.VerdictUnknown,
		callback.VerdictMismatch, callback.VerdictFault, callback.VerdictThrottled, callback.VerdictMethod, callback.VerdictIgnored,
	} {
		m.callbacks.WithLabelValues(name, verdict)
	}
	return func(verdict string) { m.callbacks.WithLabelValues(name, verdict).Inc() }
}

func (m *metrics) operation(topic string) operation.Observer {
	for _, kind := range []string{commands.KindSucceeded, commands.KindFailed, commands.KindConflict, commands.KindPending, commands.KindAnswered} {
		m.published.WithLabelValues(topic, kind)
	}
	return operation.Observer{
		Called:    func(string, string, time.Duration) {},
		Published: func(kind string) { m.published.WithLabelValues(topic, kind).Inc() },
	}
}
