package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/cmd/internal/metric"
	"paydispatch/internal/idempotency"
)

// fitness is why this process must not call a vendor now, as the record store's last look found it.
type fitness struct {
	skew  prometheus.Gauge
	unfit *prometheus.GaugeVec

	mu  sync.Mutex
	why error
}

func newFitness(set *metric.Set) *fitness {
	f := &fitness{
		skew: set.Gauge("paydispatch_clock_skew_seconds", "By how much the wall clock of this process is ahead of that of Redis.").WithLabelValues(),
		unfit: set.Gauge("paydispatch_unfit", "1 while this process calls no vendor about what has an effect, because what it would decide by "+
			"cannot be relied on.", "reason"),
	}
	for _, reason := range idempotency.UnfitReasons() {
		f.unfit.WithLabelValues(reason)
	}
	return f
}

// look is redisstore.Config.OnLook.
func (f *fitness) look(why error, skew time.Duration) {
	f.mu.Lock()
	f.why = why
	f.mu.Unlock()
	f.skew.Set(skew.Seconds())
	for _, reason := range idempotency.UnfitReasons() {
		is := 0.0
		if unfit, ok := errors.AsType[*idempotency.Unfit](why); ok && unfit.Reason == reason {
			is = 1
		}
		f.unfit.WithLabelValues(reason).Set(is)
	}
}

// probe is a readiness probe.
func (f *fitness) probe(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why
}
