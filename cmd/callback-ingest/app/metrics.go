package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/cmd/internal/metric"
	"paydispatch/internal/callback"
)

// metrics are what callback-ingest counts; labels come from the closed lists of packages callback and commands.
type metrics struct {
	operations *metric.Operations
	callbacks  *prometheus.CounterVec
	handling   *prometheus.HistogramVec
}

func newMetrics(set *metric.Set) *metrics {
	return &metrics{
		operations: metric.NewOperations(set),
		callbacks:  set.Counter("paydispatch_callbacks_total", "Callbacks, by verdict.", "vendor", "verdict"),
		handling:   set.Histogram("paydispatch_callback_seconds", "How long callbacks took until they were answered.", metric.Short(), "vendor"),
	}
}

// vendor returns the hook that counts one vendor's callbacks.
func (m *metrics) vendor(name string) func(verdict string, took time.Duration) {
	for _, verdict := range callback.Verdicts() {
		m.callbacks.WithLabelValues(name, verdict)
	}
	took := m.handling.WithLabelValues(name)
	return func(verdict string, d time.Duration) {
		m.callbacks.WithLabelValues(name, verdict).Inc()
		took.Observe(metric.Seconds(d))
	}
}
