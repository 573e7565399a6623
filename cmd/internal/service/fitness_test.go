package service

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/idempotency"
)

// What the store says shows in the probe, in one series a reason, and in the log when it changes.
func TestFitnessIsToldEverywhere(t *testing.T) {
	t.Parallel()
	var log lines
	p := settings.DefaultProcess()
	s := New(t.Context(), "dispatcher", p, time.Second, &log)
	shows := func(reason string) {
		t.Helper()
		for _, r := range idempotency.UnfitReasons() {
			want := 0.0
			if r == reason {
				want = 1
			}
			require.InDelta(t, want, reading(t, s.measured.unfit.WithLabelValues(r)), 0, r)
		}
	}
	require.NoError(t, s.Fit(t.Context()), "a store that was not opened yet has its own probe")
	shows("")
	skewed := &idempotency.Unfit{Reason: idempotency.UnfitClockSkew, Text: "set the wrong one right"}
	s.fit.note(skewed, -7*time.Second)
	require.ErrorContains(t, s.Fit(t.Context()), "set the wrong one right")
	require.InDelta(t, -7, reading(t, s.measured.skew), 0)
	shows(idempotency.UnfitClockSkew)
	s.fit.note(skewed, -8*time.Second)
	require.Equal(t, 1, strings.Count(log.String(), "not fit to call a vendor"), "once")

	s.fit.note(&idempotency.Unfit{Reason: idempotency.UnfitReplicas}, 0)
	shows(idempotency.UnfitReplicas)
	s.fit.note(nil, 0)
	shows("")
	require.NoError(t, s.Fit(t.Context()))
	require.Contains(t, log.String(), `"msg":"fit to call vendors"`)
}
