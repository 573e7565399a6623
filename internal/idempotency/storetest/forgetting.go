package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

func preparedFresh(t *testing.T, h Harness) {
	a := prepared(t, h)
	b := prepared(t, h)
	for i := range 64 {
		key := fmt.Sprint("key ", i)
		require.True(t, a.Expect(key).Forgot.IsZero())
		require.Equal(t, a.Expect(key), b.Expect(key), "both see the same epochs")
		require.NotEmpty(t, a.Expect(key).Epoch)
	}
}

func preparedAgain(t *testing.T, h Harness) {
	a := prepared(t, h)
	standing := swap(t, a, a.Expect("k"), "one")
	b := h.Open(t)
	require.NoError(t, b.Prepare(t.Context(), true))
	require.Equal(t, standing, load(t, b, "k"))
	require.True(t, b.Expect("other").Forgot.IsZero())
	require.NoError(t, a.Prepare(t.Context(), true))
	require.Equal(t, standing, load(t, a, "k"))
}

func unprepared(t *testing.T, h Harness) {
	c := h.Open(t)
	r := load(t, c, "k")
	require.Zero(t, r.Version)
	told(t, h.Now(), r)
	require.Equal(t, r, c.Expect("k"))
	told(t, h.Now(), swap(t, c, r, "one"))
}

func preparedLost(t *testing.T, h Harness) {
	a := prepared(t, h)
	swap(t, a, a.Expect("k"), "one")
	h.Forget(t)
	h.Advance(time.Second)
	b := h.Open(t)
	require.NoError(t, b.Prepare(t.Context(), true))
	for i := range 64 {
		told(t, h.Now(), b.Expect(fmt.Sprint("key ", i)))
	}
	told(t, h.Now(), load(t, b, "k"))
}

func preparedTwice(t *testing.T, h Harness) {
	a := prepared(t, h)
	h.Forget(t)
	require.NoError(t, a.Prepare(t.Context(), false))
	told(t, h.Now(), a.Expect("k"))
	b := prepared(t, h)
	told(t, h.Now(), b.Expect("k"))
}

func createForgotten(t *testing.T, h Harness) {
	c := prepared(t, h)
	was := c.Expect("k")
	h.Forget(t)
	h.Advance(time.Second)
	standing := conflicts(t, c, was)
	require.Zero(t, standing.Version)
	told(t, h.Now(), standing)
	require.Equal(t, standing, c.Expect("k"), "the client has learned it")
	r := swap(t, c, standing, "after asking")
	told(t, h.Now(), r)
}

func heldOverLoss(t *testing.T, h Harness) {
	c := prepared(t, h)
	was := swap(t, c, c.Expect("k"), "one")
	h.Forget(t)
	standing := conflicts(t, c, was)
	require.Zero(t, standing.Version)
	require.Nil(t, standing.Value)
	told(t, h.Now(), standing)
	require.NotEqual(t, was.Epoch, standing.Epoch)
}

func heldOverLossAndRewrite(t *testing.T, h Harness) {
	a, b := prepared(t, h), prepared(t, h)
	was := swap(t, a, a.Expect("k"), "one")
	h.Forget(t)
	found := load(t, b, "k")
	told(t, h.Now(), found)
	now := swap(t, b, found, "of b, after asking")
	require.Equal(t, now, conflicts(t, a, was))
}

func sameVersionOtherEpoch(t *testing.T, h Harness) {
	a := prepared(t, h)
	was := swap(t, a, a.Expect("k"), "one")
	h.Forget(t)
	again := swap(t, a, load(t, a, "k"), "one")
	require.Equal(t, was.Version, again.Version)
	require.Equal(t, again, refused(t, a, was), "version 1 of another memory is another record")
}

func window(t *testing.T, h Harness) {
	c := prepared(t, h)
	h.Forget(t)
	lost := h.Now()
	held := load(t, c, "k")
	told(t, lost, held)
	h.Advance(h.AskWindow - time.Millisecond)
	told(t, lost, c.Expect("k"))
	told(t, lost, load(t, c, "k"))
	h.Advance(time.Millisecond)
	require.True(t, c.Expect("k").Forgot.IsZero())
	require.True(t, load(t, c, "k").Forgot.IsZero())
	require.True(t, prepared(t, h).Expect("k").Forgot.IsZero())
	require.True(t, swap(t, c, held, "one").Forgot.IsZero(), "no loss since: the epoch is the same")
}

func lossAgain(t *testing.T, h Harness) {
	c := prepared(t, h)
	h.Forget(t)
	first := swap(t, c, load(t, c, "k"), "one")
	h.Forget(t) // in the same moment
	second := conflicts(t, c, first)
	require.Zero(t, second.Version)
	require.NotEqual(t, first.Epoch, second.Epoch)
	h.Advance(2 * h.AskWindow)
	require.True(t, load(t, c, "k").Forgot.IsZero())
	h.Forget(t)
	told(t, h.Now(), load(t, c, "k"))
}

// freshOverLoss: a process that remembers nothing cannot know better than that all is fresh. One that remembers does,
// and tells all.
func freshOverLoss(t *testing.T, h Harness) {
	for name, notice := range map[string]func(Client, string) idempotency.Record{
		"by load": func(c Client, key string) idempotency.Record { return load(t, c, key) },
		"by swap": func(c Client, key string) idempotency.Record { return conflicts(t, c, c.Expect(key)) },
		"by prepare": func(c Client, key string) idempotency.Record {
			require.NoError(t, c.Prepare(t.Context(), false))
			return c.Expect(key)
		},
	} {
		remembers := prepared(t, h)
		h.Forget(t)
		h.Advance(time.Second)
		forgetful := prepared(t, h)
		expected := forgetful.Expect(name)
		require.True(t, expected.Forgot.IsZero(), name)

		h.Advance(time.Second)
		told(t, h.Now(), notice(remembers, name))
		standing := conflicts(t, forgetful, expected)
		told(t, h.Now(), standing)
		require.Zero(t, standing.Version)
		told(t, h.Now(), swap(t, remembers, remembers.Expect(name), "one"))
		told(t, h.Now(), prepared(t, h).Expect(name))
	}
}

func lossOfAnother(t *testing.T, h Harness) {
	a, b := prepared(t, h), prepared(t, h)
	h.Forget(t)
	lost := h.Now()
	told(t, lost, load(t, a, "k"))
	h.Advance(time.Second)
	told(t, lost, load(t, b, "k"))
	require.Equal(t, a.Expect("k"), b.Expect("k"))

	late := prepared(t, h)
	h.Forget(t)
	lost = h.Now()
	told(t, lost, load(t, a, "k"))
	h.Advance(2 * h.AskWindow)
	require.True(t, load(t, a, "k").Forgot.IsZero())
	told(t, h.Now(), load(t, late, "k")) // it cannot tell what became of the memory that it knew
	told(t, h.Now(), load(t, a, "k"))
}

func expectedBlindly(t *testing.T, h Harness) {
	prepared(t, h)
	c := h.Open(t)
	was := c.Expect("k")
	require.Empty(t, was.Epoch, "nothing is known before the first call")
	standing := swap(t, c, was, "one")
	require.Equal(t, standing, conflicts(t, h.Open(t), was))
}

func expectedBlindlyForgotten(t *testing.T, h Harness) {
	c := h.Open(t)
	standing := conflicts(t, c, c.Expect("k"))
	require.Zero(t, standing.Version)
	told(t, h.Now(), standing)
	swap(t, c, standing, "after asking")
}

// lossAmongMany: whatever the order in which clients notice, none writes from before the loss, all agree at the end,
// and one creator wins.
func lossAmongMany(t *testing.T, h Harness) {
	clients := make([]Client, 8)
	held := make([]idempotency.Record, len(clients))
	for i := range clients {
		clients[i] = prepared(t, h)
		held[i] = clients[i].Expect("k")
	}
	h.Forget(t)
	clients = append(clients, prepared(t, h)) // claims that all is fresh
	held = append(held, idempotency.Record{Key: "k"})
	failed := make(chan error, len(clients))
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() { failed <- writeAfterLoss(t.Context(), c, held[i], i < 8) })
	}
	group.Wait()
	close(failed)
	landed := 0
	for err := range failed {
		if err == nil {
			landed++
			continue
		}
		var conflict *idempotency.Conflict
		require.ErrorAs(t, err, &conflict)
	}
	require.LessOrEqual(t, landed, 1)
	for _, c := range clients {
		require.Equal(t, load(t, clients[0], "k"), load(t, c, "k"))
		told(t, h.Now(), c.Expect("k"))
	}
}

// writeAfterLoss writes from a record held over the loss, which must fail, and then from what stood instead.
func writeAfterLoss(ctx context.Context, c Client, was idempotency.Record, remembers bool) error {
	_, err := c.Swap(ctx, was, []byte("before"))
	if !remembers {
		return err
	}
	var conflict *idempotency.Conflict
	if !errors.As(err, &conflict) {
		return fmt.Errorf("a write from before the loss: %w", err)
	}
	if conflict.Standing.Forgot.IsZero() {
		return errors.New("the loss is not told")
	}
	return fmt.Errorf("told: %w", err)
}
