// Package clock is the rule by which a process notices that a clock cannot be relied on: its own, held against that of
// the server which all processes share, or the server's.
//
// It does no I/O and reads no clock: callers hand in what they read. Two own clocks are read together: the wall clock,
// which can be set, and the monotonic one, which can stand still while the machine is suspended. Neither does both, so
// where the two agree both are right about the time that passed.
package clock

import (
	"fmt"
	"time"

	"paydispatch/internal/idempotency"
)

// Reading is both own clocks at one moment.
type Reading struct {
	Wall time.Time
	// Mono counts from any fixed moment.
	Mono time.Duration
}

// From returns a function that reads both clocks from one; a now without a monotonic reading serves as both.
func From(now func() time.Time) func() Reading {
	began := now()
	return func() Reading {
		at := now()
		return Reading{Wall: at.Round(0), Mono: at.Sub(began)}
	}
}

// Measurement is one reading of the server's clock, between two of the own ones. The zero value is none.
type Measurement struct {
	Before, After Reading
	Server        time.Time
}

// IsZero reports whether nothing was measured.
func (m Measurement) IsZero() bool { return m.Server.IsZero() }

// RoundTrip is how long the measurement took, by the own clock that says more.
func (m Measurement) RoundTrip() time.Duration {
	return max(m.After.Mono-m.Before.Mono, m.After.Wall.Sub(m.Before.Wall).Abs())
}

// Skew is by how much the own wall clock is ahead of the server's, give or take half of the round trip.
func (m Measurement) Skew() time.Duration { return m.middle().Wall.Sub(m.Server) }

func (m Measurement) middle() Reading {
	return Reading{
		Wall: m.Before.Wall.Add(m.After.Wall.Sub(m.Before.Wall) / 2),
		Mono: m.Before.Mono + (m.After.Mono-m.Before.Mono)/2,
	}
}

// Rule says how far own clock may be from the server's.
type Rule struct {
	// Tolerance between the clocks; 0 turns the rule off.
	Tolerance time.Duration
	// MaxAge is how old the last measurement may be; 0 means as old as it likes.
	MaxAge time.Duration
}

// Tells reports whether a measurement says anything: one that took longer than the tolerance does not.
func (r Rule) Tells(m Measurement) bool { return r.Tolerance == 0 || m.RoundTrip() <= r.Tolerance }

// smallShare is the part of the tolerance up to which a measurement's error is taken off the difference found: a larger
// one would hide what it has to show.
const smallShare = 10

// Check returns an [*idempotency.Unfit] unless own clock can be relied on now, going by the last measurement that tells
// something.
func (r Rule) Check(last Measurement, now Reading) error {
	if r.Tolerance == 0 {
		return nil
	}
	if last.IsZero() {
		return unfit(idempotency.UnfitClockUnknown,
			"the clock of Redis was not read yet: does it answer, within %v?", r.Tolerance)
	}
	wall, mono := now.Wall.Sub(last.After.Wall), now.Mono-last.After.Mono
	if apart := wall - mono; apart.Abs() > r.Tolerance {
		return unfit(idempotency.UnfitClockStep, "the clock of this machine was set, or the machine stood still, by %v", apart)
	}
	if age := max(wall, mono); r.MaxAge > 0 && age > r.MaxAge {
		return unfit(idempotency.UnfitClockUnknown,
			"the clock of Redis was not read for %v: does it answer, within %v?", age, r.Tolerance)
	}
	skew, margin := last.Skew(), last.RoundTrip()/2
	if margin > r.Tolerance/smallShare {
		margin = 0
	}
	if skew.Abs()-margin > r.Tolerance {
		return unfit(idempotency.UnfitClockSkew,
			"the clock of this machine is %v ahead of that of Redis (negative: behind), allowed is %v: set the wrong one right",
			skew, r.Tolerance)
	}
	return nil
}

func unfit(reason, format string, args ...any) error {
	for i, a := range args {
		if d, ok := a.(time.Duration); ok {
			args[i] = d.Round(time.Millisecond)
		}
	}
	return &idempotency.Unfit{Reason: reason, Text: fmt.Sprintf(format, args...)}
}

// Jump returns by how much the server's clock moved against both own clocks between two measurements, and whether that
// is more than most. Own clocks that disagree with each other accuse the server only if it agrees with neither.
func Jump(earlier, later Measurement, most time.Duration) (moved time.Duration, jumped bool) {
	server := later.Server.Sub(earlier.Server)
	from, to := earlier.middle(), later.middle()
	byWall, byMono := server-to.Wall.Sub(from.Wall), server-(to.Mono-from.Mono)
	moved = byWall
	if byMono.Abs() < byWall.Abs() {
		moved = byMono
	}
	return moved, moved.Abs() > most
}
