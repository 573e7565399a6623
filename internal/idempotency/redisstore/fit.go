package redisstore

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/clock"
)

// maxMissed is how many looks in a row may fail before own clock counts as unknown.
const maxMissed = 3

// health is what this process knows of the servers and of its own clock.
type health struct {
	read func() clock.Reading
	rule clock.Rule
	// short: a write was not acknowledged by enough replicas, and no probe was since.
	short atomic.Bool

	looking sync.Mutex          // one look at a time
	clocks  []clock.Measurement // by bucket: the last of the clock by which its records expire; guarded by looking

	mu       sync.Mutex
	last     clock.Measurement // that says anything
	evicting string            // the policy by which a server may evict; "" for none
	loss     string            // why records may be gone, until the loss is stored; "" for nothing
}

func newHealth(c Config) health {
	return health{
		read:   clock.From(c.Now),
		rule:   clock.Rule{Tolerance: c.Tolerance, MaxAge: maxMissed * c.Every},
		clocks: make([]clock.Measurement, c.Buckets),
	}
}

// Fit returns nil while this process may call a vendor, or an [*idempotency.Unfit]. It does no I/O and does not block.
// A step of own clock shows at once; all else as the last look found it.
func (s *Store) Fit() error {
	h := &s.health
	h.mu.Lock()
	last, evicting, loss := h.last, h.evicting, h.loss
	h.mu.Unlock()
	switch {
	case evicting != "":
		return &idempotency.Unfit{
			Reason: idempotency.UnfitEviction, Text: fmt.Sprintf("maxmemory-policy is %q: %s", evicting, errEviction),
		}
	case loss != "":
		return &idempotency.Unfit{
			Reason: idempotency.UnfitLoss, Text: loss + ", and Redis did not take note of it yet",
		}
	case h.short.Load():
		return &idempotency.Unfit{
			Reason: idempotency.UnfitReplicas,
			Text:   fmt.Sprintf("fewer than %d replicas of Redis have the latest write: bring them back", s.config.Replicas),
		}
	}
	return h.rule.Check(last, h.read())
}

// clockIsOff returns an [*idempotency.Unfit] when own clock does not agree with the server's, or was set: nothing may be
// marked by it. A process that does not watch, or allows no tolerance since it sends nothing, is held to a minute.
func (s *Store) clockIsOff(ctx context.Context) error {
	h := &s.health
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	if last.IsZero() {
		before := h.read()
		server, err := s.nodes.client.Time(ctx).Result()
		if err != nil {
			return err
		}
		last = clock.Measurement{Before: before, After: h.read(), Server: server}
	}
	return clock.Rule{Tolerance: cmp.Or(s.config.Tolerance, jumpOf)}.Check(last, h.read())
}

// assess keeps what [Store.Fit] goes by. Without any word about the clock it fails, if that is asked for.
func (s *Store) assess(sights []sight) error {
	h := &s.health
	h.mu.Lock()
	defer h.mu.Unlock()
	var problems []error
	var told bool
	evicting := ""
	for _, found := range sights {
		problems = append(problems, found.err)
		if found.err == nil && !told && h.rule.Tells(found.clock) {
			h.last, told = found.clock, true
		}
		if found.policy != "" {
			evicting = found.policy
		}
	}
	problem := first(problems)
	if evicting != "" || problem == nil {
		h.evicting = evicting
	}
	if problem == nil && !told {
		return errSlow
	}
	return problem
}

// noteLoss keeps why records may be gone, "" once that is stored.
func (s *Store) noteLoss(why string) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	s.health.loss = why
}

// skew is by how much own clock was ahead when it was last compared.
func (s *Store) skew() time.Duration {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if s.health.last.IsZero() {
		return 0
	}
	return s.health.last.Skew()
}
