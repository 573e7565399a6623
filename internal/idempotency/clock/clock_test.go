package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/clock"
)

const (
	ms        = time.Millisecond
	tolerance = time.Second
)

var began = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// at is both own clocks so long after the beginning.
func at(wall, mono time.Duration) clock.Reading {
	return clock.Reading{Wall: began.Add(wall), Mono: mono}
}

// measured is a measurement that began with both own clocks at own, took trip, and found the server's clock so far ahead.
func measured(own, trip, ahead time.Duration) clock.Measurement {
	return clock.Measurement{Before: at(own, own), After: at(own+trip, own+trip), Server: began.Add(own + trip/2 + ahead)}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	rule := clock.Rule{Tolerance: tolerance, MaxAge: 6 * time.Second}
	for name, c := range map[string]struct {
		rule   clock.Rule
		last   clock.Measurement
		now    clock.Reading
		reason string
	}{
		"the clocks agree":               {rule, measured(0, 2*ms, 0), at(time.Second, time.Second), ""},
		"nothing was measured":           {rule, clock.Measurement{}, at(0, 0), idempotency.UnfitClockUnknown},
		"at the tolerance":               {rule, measured(0, 0, tolerance), at(0, 0), ""},
		"ahead of the server":            {rule, measured(0, 0, -tolerance-ms), at(0, 0), idempotency.UnfitClockSkew},
		"behind the server":              {rule, measured(0, 0, tolerance+ms), at(0, 0), idempotency.UnfitClockSkew},
		"beyond it by a small error":     {rule, measured(0, 20*ms, tolerance+10*ms), at(20*ms, 20*ms), ""},
		"beyond it by more than that":    {rule, measured(0, 20*ms, tolerance+11*ms), at(20*ms, 20*ms), idempotency.UnfitClockSkew},
		"beyond it by a large error":     {rule, measured(0, 300*ms, tolerance+10*ms), at(300*ms, 300*ms), idempotency.UnfitClockSkew},
		"as old as it may be":            {rule, measured(0, 0, 0), at(6*time.Second, 6*time.Second), ""},
		"too old":                        {rule, measured(0, 0, 0), at(6*time.Second+ms, 6*time.Second+ms), idempotency.UnfitClockUnknown},
		"too old by the wall clock":      {rule, measured(0, 0, 0), at(6*time.Second+ms, 6*time.Second-ms), idempotency.UnfitClockUnknown},
		"no age is too old":              {clock.Rule{Tolerance: tolerance}, measured(0, 0, 0), at(time.Hour, time.Hour), ""},
		"set forward since":              {rule, measured(0, 0, 0), at(2*time.Second+ms, time.Second), idempotency.UnfitClockStep},
		"set back since":                 {rule, measured(0, 0, 0), at(-ms, time.Second), idempotency.UnfitClockStep},
		"moved by no more than allowed":  {rule, measured(0, 0, 0), at(2*time.Second, time.Second), ""},
		"suspended, its mono stood":      {rule, measured(0, 0, 0), at(time.Hour, ms), idempotency.UnfitClockStep},
		"set back into the right by far": {rule, measured(0, 0, -tolerance), at(-time.Hour, 0), idempotency.UnfitClockStep},
		"turned off, nothing measured":   {clock.Rule{}, clock.Measurement{}, at(0, 0), ""},
		"turned off, whatever":           {clock.Rule{MaxAge: ms}, measured(0, 0, time.Hour), at(time.Hour, 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.rule.Check(c.last, c.now)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			var unfit *idempotency.Unfit
			require.ErrorAs(t, err, &unfit)
			require.Equal(t, c.reason, unfit.Reason, unfit.Text)
			require.Contains(t, idempotency.UnfitReasons(), unfit.Reason)
		})
	}
}

func TestASlowMeasurementTellsNothing(t *testing.T) {
	t.Parallel()
	rule := clock.Rule{Tolerance: tolerance}
	require.True(t, rule.Tells(measured(0, tolerance, 0)))
	require.False(t, rule.Tells(measured(0, tolerance+ms, 0)))
	require.True(t, clock.Rule{}.Tells(measured(0, time.Hour, 0)))
	for name, after := range map[string]clock.Reading{
		"set forward meanwhile": at(2*time.Second, ms), "set back meanwhile": at(-2*time.Second, ms), "suspended": at(time.Hour, 0),
	} {
		m := clock.Measurement{Before: at(0, 0), After: after, Server: began}
		require.False(t, rule.Tells(m), name)
	}
}

func TestJump(t *testing.T) {
	t.Parallel()
	const most = time.Minute
	earlier := measured(0, 0, 0)
	for name, c := range map[string]struct {
		wall, mono, server time.Duration
		moved              time.Duration
		jumped             bool
	}{
		"all go alike":                      {time.Hour, time.Hour, time.Hour, 0, false},
		"forward":                           {2 * time.Second, 2 * time.Second, 2*time.Second + most + ms, most + ms, true},
		"back":                              {2 * time.Second, 2 * time.Second, 2*time.Second - most - ms, -most - ms, true},
		"by no more than allowed":           {0, 0, most, most, false},
		"own clock was set":                 {time.Hour, 0, 0, 0, false},
		"own clock was set back":            {-time.Hour, 0, 0, 0, false},
		"suspended, mono stood":             {time.Hour, 0, time.Hour, 0, false},
		"suspended while the server jumped": {time.Hour, 0, 2 * time.Hour, time.Hour, true},
		"own clock was set while the server jumped": {time.Hour, 0, -2 * time.Minute, -2 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := at(c.wall, c.mono)
			later := clock.Measurement{Before: own, After: own, Server: began.Add(c.server)}
			moved, jumped := clock.Jump(earlier, later, most)
			require.Equal(t, c.moved, moved)
			require.Equal(t, c.jumped, jumped)
		})
	}
}

func TestSkewIsTakenAtTheMiddle(t *testing.T) {
	t.Parallel()
	require.Zero(t, measured(time.Second, 10*ms, 0).Skew())
	require.Equal(t, -5*ms, measured(time.Second, 10*ms, 5*ms).Skew(), "behind")
	require.Equal(t, 10*ms, measured(time.Second, 10*ms, 5*ms).RoundTrip())
	require.True(t, clock.Measurement{}.IsZero())
}

func TestFromReadsBothClocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		read := clock.From(time.Now)
		time.Sleep(time.Minute)
		require.Equal(t, time.Minute, read().Mono)
		require.True(t, read().Wall.Equal(time.Now()))
	})
	now := began
	read := clock.From(func() time.Time { return now })
	now = now.Add(time.Hour)
	require.Equal(t, at(time.Hour, time.Hour), read(), "a clock without a monotonic reading serves as both")
}
