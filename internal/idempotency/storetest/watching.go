package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

func look(t testing.TB, c Client) {
	t.Helper()
	require.NoError(t, c.Look(t.Context()))
}

func lookFindsLoss(t *testing.T, h Harness) {
	c := prepared(t, h)
	look(t, c)
	require.True(t, c.Expect("k").Forgot.IsZero())
	h.Forget(t)
	h.Advance(time.Second)
	look(t, c)
	for _, key := range []string{"k", "l", "m"} {
		told(t, h.Now(), c.Expect(key)) // before anything was read
	}
}

// lookCreatesNothing: a process that was never told whether commands were seen before leaves a first deployment fresh.
func lookCreatesNothing(t *testing.T, h Harness) {
	look(t, h.Open(t))
	require.True(t, prepared(t, h).Expect("k").Forgot.IsZero())
}

// epochEnds: whatever ends records before their time (a jump of the server's clock while no process runs, a server that
// drops what would expire) ends the epochs as well, or their absence would look like a record that never was.
func epochEnds(t *testing.T, h Harness) {
	if h.Jump == nil {
		return
	}
	c := prepared(t, h)
	was := swap(t, c, c.Expect("k"), "one")
	h.Jump(h.Lifetime)
	standing := conflicts(t, c, was)
	require.Zero(t, standing.Version)
	told(t, h.Now(), standing)
	for i := range 64 {
		told(t, h.Now(), load(t, c, fmt.Sprint("never written ", i)))
	}

	h.Jump(h.Lifetime)
	late := h.Open(t)
	require.NoError(t, late.Prepare(t.Context(), true))
	told(t, h.Now(), late.Expect("k"))
}

func epochKeptByWrites(t *testing.T, h Harness) {
	if h.Expire == nil {
		return
	}
	c := prepared(t, h)
	r := c.Expect("k")
	for range 6 {
		r = swap(t, c, r, "again")
		h.Expire(h.Lifetime / 2)
		require.True(t, load(t, c, "k").Forgot.IsZero())
	}
	require.Equal(t, uint64(6), load(t, c, "k").Version)
}

func epochKeptByLooks(t *testing.T, h Harness) {
	if h.Expire == nil {
		return
	}
	c, other := prepared(t, h), prepared(t, h)
	for range 6 {
		h.Expire(h.Lifetime / 2)
		look(t, c)
	}
	for _, key := range []string{"k", "l", "m"} {
		require.True(t, load(t, other, key).Forgot.IsZero())
	}
}

// jump: records may have ended early although their epochs, renewed all the time, stand. A clock that goes back was ahead.
func jump(t *testing.T, h Harness) {
	if h.Jump == nil {
		return
	}
	for name, by := range map[string]time.Duration{
		"forward": 2 * time.Minute, "back": -2 * time.Minute, "half a lifetime": h.Lifetime / 2,
	} {
		watcher, other := prepared(t, h), prepared(t, h)
		kept := swap(t, watcher, watcher.Expect(name), "stands")
		absent := other.Expect("absent " + name)
		h.Advance(time.Second)
		look(t, watcher)
		require.Equal(t, kept, load(t, watcher, name))
		h.Advance(time.Second)
		h.Jump(by)
		look(t, watcher)
		lost := h.Now()
		told(t, lost, watcher.Expect(name))
		told(t, lost, conflicts(t, other, absent))
		require.Equal(t, kept.Version, load(t, other, name).Version, "what stands is still good")
		h.Advance(time.Second)
		look(t, watcher)
		told(t, lost, watcher.Expect(name)) // once
	}
}

func smallJump(t *testing.T, h Harness) {
	if h.Jump == nil {
		return
	}
	c := prepared(t, h)
	for _, by := range []time.Duration{59 * time.Second, -59 * time.Second, time.Second} {
		h.Jump(by)
		look(t, c)
		h.Advance(10 * time.Minute)
		look(t, c)
		require.True(t, load(t, c, "k").Forgot.IsZero())
	}
}

func skewed(t *testing.T, h Harness) {
	if h.Jump == nil {
		return
	}
	c := prepared(t, h)
	require.NoError(t, c.Fit())
	for _, by := range []time.Duration{h.Tolerance + 100*time.Millisecond, -h.Tolerance - 100*time.Millisecond} {
		h.Jump(by)
		look(t, c)
		var unfit *idempotency.Unfit
		require.ErrorAs(t, c.Fit(), &unfit)
		require.Equal(t, idempotency.UnfitClockSkew, unfit.Reason)
		h.Jump(-by)
		look(t, c)
		require.NoError(t, c.Fit())
		h.Jump(by * 9 / 10)
		look(t, c)
		require.NoError(t, c.Fit(), "within the tolerance")
		h.Jump(-by * 9 / 10)
	}
}
