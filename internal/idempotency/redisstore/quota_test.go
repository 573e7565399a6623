package redisstore

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// Two processes share a rate: after the burst, calls are spread over time, and those too far ahead take nothing.
func TestQuotaIsShared(t *testing.T) {
	t.Parallel()
	config := testConfig(miniredis.RunT(t).Addr())
	a, err := NewQuota(open(t, config), 10, 2)
	require.NoError(t, err)
	b, err := NewQuota(open(t, config), 10, 2)
	require.NoError(t, err)
	take := func(q *Quota, name string) time.Duration {
		wait, err := q.Take(t.Context(), name, 250*time.Millisecond)
		require.NoError(t, err)
		return wait
	}
	require.Zero(t, take(a, "x"))
	require.Zero(t, take(b, "x"))
	third, fourth := take(a, "x"), take(b, "x")
	require.Greater(t, fourth, third, "one process sees what the other took")
	require.LessOrEqual(t, fourth, 200*time.Millisecond)
	for range 20 {
		require.LessOrEqual(t, take(a, "x"), 400*time.Millisecond, "what is put off takes nothing")
	}
	require.Zero(t, take(a, "y"), "names are counted apart")
}

func TestQuotaRefusesWhatIsNoRate(t *testing.T) {
	t.Parallel()
	_, err := NewQuota(nil, 0, 1)
	require.ErrorContains(t, err, "above 0")
	_, err = NewQuota(nil, 1, 0)
	require.ErrorContains(t, err, "at least 1")
}

func TestQuotaOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	config := testConfig(miniredis.RunT(t).Addr())
	store, err := New(config)
	require.NoError(t, err)
	q, err := NewQuota(store, 1, 1)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	_, err = q.Take(t.Context(), "x", time.Second)
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
}
