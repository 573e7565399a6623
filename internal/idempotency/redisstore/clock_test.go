package redisstore

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// TestAWrongClockMarksNothing: when a bucket lost its memory is read by all processes, so that a mark by a clock that is
// behind would say that what was sent just before the loss was sent long ago.
func TestAWrongClockMarksNothing(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]time.Duration{"behind": -5 * time.Minute, "ahead": 5 * time.Minute} {
		server, clock := miniredis.RunT(t), newClock()
		config := one(t, server, clock)
		right := prepared(t, config)
		bystander := config // as payctl is: it does not watch, and sends nothing
		bystander.Now = func() time.Time { return clock.Now().Add(by) }
		config.Tolerance = 5 * time.Second
		config.Now = func() time.Time { return clock.Now().Add(by) }
		wrong := prepared(t, config)
		server.FlushAll()
		for _, s := range []*Store{wrong, open(t, bystander)} {
			_, err := s.Load(t.Context(), "k")
			require.ErrorIs(t, err, idempotency.ErrUnavailable, name)
		}
		require.False(t, server.Exists(wrong.epochKey(0)), name)

		found, err := right.Load(t.Context(), "k")
		require.NoError(t, err, name)
		require.Equal(t, clock.Now().UnixMilli(), found.Forgot.UnixMilli(), name)
	}
}
