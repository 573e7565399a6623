package memstore

import (
	"context"
	"time"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/clock"
	"paydispatch/internal/idempotency/epoch"
)

// Fit returns nil while this process may call a vendor, or an [*idempotency.Unfit]. It reads the server's clock and probes
// the replicas each time that it is called, where redisstore remembers what its last look found.
func (s *Store) Fit() error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.short = s.short && s.server.alone; s.short {
		return &idempotency.Unfit{Reason: idempotency.UnfitReplicas, Text: "too few replicas have the latest write"}
	}
	return clock.Rule{Tolerance: s.config.Tolerance}.Check(s.clock(), s.read())
}

// Look does once what redisstore's Watch does again and again: it finds losses that no epoch tells, probes the replicas,
// and renews the epochs that this view remembers; one that is missing is a loss.
func (s *Store) Look(ctx context.Context) error {
	if err := available(ctx); err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	now := s.config.Now()
	s.measure(now)
	s.short = s.server.alone
	for bucket, known := range s.known {
		if known.of.IsZero() {
			continue // who does not know it can not tell whether it is missing
		}
		if s.server.epoch(bucket) == known.of {
			s.server.setEpoch(bucket, known.of, s.config.Lifetime)
			s.server.data[bucket].expires = s.server.expiry(s.config.Lifetime)
		}
		s.server.sees(bucket, false, s.config.Lifetime)
		s.believe(bucket, now)
	}
	return nil
}

// measure marks every bucket as lost if the server's clock jumped or keys were evicted. It needs server.mu.
func (s *Store) measure(now time.Time) {
	m := s.clock()
	lost := s.server.noted != s.server.evicted
	if !s.last.IsZero() {
		_, jumped := clock.Jump(s.last, m, jumpOf)
		lost = lost || jumped
	}
	s.last = m
	if !lost {
		return
	}
	s.server.noted = s.server.evicted
	for bucket := range s.known {
		marked := epoch.Mark(s.server.epoch(bucket), s.server.newID, now)
		s.server.setEpoch(bucket, marked, s.config.Lifetime)
		s.believe(bucket, now)
	}
}

// clock reads the server's. It needs server.mu.
func (s *Store) clock() clock.Measurement {
	at := s.read()
	return clock.Measurement{Before: at, After: at, Server: s.server.now()}
}
