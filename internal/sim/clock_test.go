package sim

import (
	"context"
	"strings"
	"time"

	"paydispatch/internal/idempotency"
)

// errClock is why a process whose clock is off calls no vendor.
var errClock = &idempotency.Unfit{Reason: idempotency.UnfitClockStep, Text: "own clock is off"}

// clock is one process' wall clock: a little off always, and far off for a while. It is guarded by the gate's lock.
type clock struct {
	little   time.Duration
	far      time.Duration
	from, to time.Time
}

// now is the process' wall clock.
func (w *world) now(inc *incarnation) time.Time {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	now := time.Now().Round(0)
	if inc.clock.off(now) {
		now = now.Add(inc.clock.far)
	}
	return now.Add(inc.clock.little)
}

// heldUntil is when a moment of the process' own clock comes: lanes wait by the bubble's.
func (w *world) heldUntil(inc *incarnation, due time.Time) time.Time {
	if due.IsZero() {
		return due
	}
	return due.Add(-time.Until(w.now(inc)))
}

func (c clock) off(now time.Time) bool { return !now.Before(c.from) && now.Before(c.to) }

// fit is what the record store says of a process: its clock is far off, or its writes are not acknowledged.
func (w *world) fit(inc *incarnation, store func() error) error {
	w.gate.mu.Lock()
	off := inc.clock.off(time.Now())
	w.gate.mu.Unlock()
	if off {
		return errClock
	}
	return store()
}

// setClock sets the clock of a dispatcher, ahead or back, for a while.
func (w *world) setClock(p *process) bool {
	if p == w.callback {
		return false
	}
	w.setClockOf(p.current())
	return true
}

// setsClock sets the clock of a process while it submits, before it hears how that ended.
func (w *world) setsClock(c *call) {
	if w.faults.clocks && c.kind == kindAnswer && strings.Contains(c.name, " send#") && w.rng.IntN(2) == 0 {
		w.setClockOf(c.owner)
	}
}

func (w *world) setClockOf(inc *incarnation) {
	far := between(w.rng, 5*time.Second, 10*time.Minute)
	if w.rng.IntN(2) == 0 {
		far = -far
	}
	w.stats.events["clock set"]++
	w.say("The clock of %s is SET by %v", inc.name, far)
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	inc.clock.far, inc.clock.from, inc.clock.to = far, time.Now(), time.Now().Add(between(w.rng, time.Second, time.Minute))
}

// quiet is a context for what the scheduler itself does.
func (*world) quiet() context.Context { return context.Background() }
