package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Dependencies that every service watches.
const (
	redis = "redis"
	kafka = "kafka"
)

// pingTimeout bounds the wait for a broker's sign of life; pingEvery is the time between two signs that are asked for.
const (
	pingTimeout = 3 * time.Second
	pingEvery   = 5 * time.Second
)

// watch is what is known of one dependency: whether it answers, and since when.
type watch struct {
	name      string
	grace     time.Duration
	reachable prometheus.Gauge

	mu    sync.Mutex
	last  time.Time // of the last sign of life, or of the first question; zero before that
	cause error
}

// watched makes the watch of a dependency that is not asked yet.
func (s *Service) watched(name string) *watch {
	w := &watch{name: name, grace: s.process.ReadyGrace, reachable: s.measured.reachable.WithLabelValues(name)}
	s.watches[name] = w
	return w
}

// watch begins to ask a dependency for signs of life, each within timeout.
func (s *Service) watch(name string, timeout time.Duration, ping func(context.Context) error) {
	w := s.watches[name]
	s.Go("watch of "+name, func(ctx context.Context) error { return w.run(ctx, timeout, ping) })
}

// run asks for a sign of life until ctx ends: at most once a pingEvery, and often enough to see the grace pass.
func (w *watch) run(ctx context.Context, timeout time.Duration, ping func(context.Context) error) error {
	w.mu.Lock()
	w.last = time.Now()
	w.mu.Unlock()
	tick := time.NewTicker(min(pingEvery, max(w.grace/3, time.Millisecond)))
	defer tick.Stop()
	for {
		w.ask(ctx, timeout, ping)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watch) ask(ctx context.Context, timeout time.Duration, ping func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := ping(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cause = err
	if err != nil {
		w.reachable.Set(0)
		return
	}
	w.reachable.Set(1)
	w.last = time.Now()
}

// probe fails once the dependency has been away for longer than the grace. Shorter absences are waited for in place,
// and taking every pod out of service for them would help nobody.
func (w *watch) probe(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if away := time.Since(w.last); w.cause != nil && away > w.grace {
		return fmt.Errorf("%s has not answered for %v: %w", w.name, away.Round(time.Second), w.cause)
	}
	return nil
}
