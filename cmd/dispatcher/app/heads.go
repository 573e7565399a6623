package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// heads knows how long each partition's first unfinished message has held back its commits.
type heads struct {
	oldest *prometheus.GaugeVec

	mu   sync.Mutex
	ages map[string]map[int]time.Duration
}

func newHeads(oldest *prometheus.GaugeVec) *heads {
	return &heads{oldest: oldest, ages: map[string]map[int]time.Duration{}}
}

// note is stream.Observer.Head.
func (h *heads) note(topic string, partition int, age time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ages[topic] == nil {
		h.ages[topic] = map[int]time.Duration{}
	}
	h.ages[topic][partition] = age
	var longest time.Duration
	for _, a := range h.ages[topic] {
		longest = max(longest, a)
	}
	h.oldest.WithLabelValues(topic).Set(longest.Seconds())
}

// moving returns a readiness probe that fails while a partition has stood still for longer than most.
func (h *heads) moving(most time.Duration) func(context.Context) error {
	return func(context.Context) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		for topic, partitions := range h.ages {
			for p, age := range partitions {
				if age > most {
					return fmt.Errorf("partition %s/%d has stood still for %v", topic, p, age.Round(time.Second))
				}
			}
		}
		return nil
	}
}
