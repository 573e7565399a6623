package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// lostTopics knows which topics cannot be served, and why.
type lostTopics struct {
	now *prometheus.GaugeVec

	mu  sync.Mutex
	why map[string]error
}

func newLostTopics(now *prometheus.GaugeVec) *lostTopics {
	return &lostTopics{now: now, why: map[string]error{}}
}

// note is kafkastream.ConsumerConfig.OnLost.
func (l *lostTopics) note(topic string, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if why == nil {
		delete(l.why, topic)
		l.now.WithLabelValues(topic).Set(0)
		return
	}
	l.why[topic] = why
	l.now.WithLabelValues(topic).Set(1)
}

// none is a readiness probe that fails while a topic is lost.
func (l *lostTopics) none(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, topic := range slices.Sorted(maps.Keys(l.why)) {
		return fmt.Errorf("topic %s cannot be served, the others are: %w", topic, l.why[topic])
	}
	return nil
}

// outside knows since when the group cannot be joined.
type outside struct {
	now prometheus.Gauge

	mu    sync.Mutex
	why   error
	since time.Time
}

// note is kafkastream.ConsumerConfig.OnGroup.
func (o *outside) note(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case why == nil:
		o.now.Set(0)
	case o.why == nil:
		o.now.Set(1)
		o.since = time.Now()
	}
	o.why = why
}

// inside returns a readiness probe that fails when the group could not be joined for longer than grace.
func (o *outside) inside(grace time.Duration) func(context.Context) error {
	return func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.why == nil || time.Since(o.since) < grace {
			return nil
		}
		return fmt.Errorf("the group could not be joined for %v: %w", time.Since(o.since).Round(time.Second), o.why)
	}
}
