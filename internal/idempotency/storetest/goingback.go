package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// back checks that a record says when its server was found to have started again, and nothing of a loss of all.
func back(t testing.TB, at time.Time, r idempotency.Record) {
	t.Helper()
	require.Equal(t, at.UnixMilli(), r.Back.UnixMilli())
	require.True(t, r.Forgot.IsZero())
}

// intent is a record that its caller acts on once it is written.
func intent(r idempotency.Record) idempotency.Record {
	r.Intent = true
	return r
}

// fooled tries to write an intent, which must not succeed.
func fooled(t testing.TB, c Client, was idempotency.Record) idempotency.Record {
	t.Helper()
	return conflicts(t, c, intent(was))
}

// restart has the server start again from this moment after writes that are lost with it.
func restart(t *testing.T, h Harness, write func()) {
	t.Helper()
	again := h.Snapshot(t)
	write()
	h.Advance(time.Second)
	again()
	h.Advance(time.Second)
}

// absenceAfterRestart: the very write that would have trusted the absence is refused, and seeing it once is enough.
func absenceAfterRestart(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c, other := prepared(t, h), prepared(t, h)
	was, held := c.Expect("k"), idempotency.Record{}
	restart(t, h, func() { held = swap(t, other, other.Expect("k"), "lost") })
	lost := h.Now()
	standing := fooled(t, c, was)
	require.Zero(t, standing.Version)
	back(t, lost, standing)
	h.Advance(time.Second)
	require.Equal(t, standing, fooled(t, other, held), "its version is of other data")
	require.Equal(t, standing, load(t, h.Open(t), "k"))
	now := swap(t, c, intent(standing), "after asking")
	require.True(t, now.Back.IsZero(), "what was written since is as good as ever")
	require.Equal(t, now, load(t, other, "k"))
}

// versionAfterRestart: an older version of a record comes back, in the end with the number that the lost one had.
func versionAfterRestart(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	one, two := swap(t, c, c.Expect("k"), "one"), idempotency.Record{}
	require.True(t, one.Back.IsZero())
	restart(t, h, func() { two = swap(t, c, one, "two") })
	lost := h.Now()
	standing := fooled(t, c, one)
	require.Equal(t, "one", string(standing.Value))
	back(t, lost, standing)
	again := swap(t, c, intent(standing), "two")
	require.Equal(t, two.Version, again.Version)
	require.Equal(t, again, refused(t, c, two), "version 2 of other data is another record")
	require.True(t, load(t, c, "k").Back.IsZero())
}

// versionOfAnotherWrite: the number of a lost version comes back by another write before anybody saw the step back, since
// only intents ask for it.
func versionOfAnotherWrite(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c, other := prepared(t, h), prepared(t, h)
	one, two := swap(t, c, c.Expect("k"), "one"), idempotency.Record{}
	restart(t, h, func() { two = swap(t, c, one, "two") })
	again := swap(t, other, one, "two of another")
	require.Equal(t, two.Version, again.Version)
	require.Equal(t, again.Value, refused(t, c, two).Value)
}

// restartWithAll: even where nothing was lost a restart is told, since no process can know.
func restartWithAll(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	one := swap(t, c, c.Expect("k"), "one")
	restart(t, h, func() {})
	back(t, h.Now(), fooled(t, c, one))
}

// restartWithoutWitness: whoever starts after it sees it all the same, prepared or not, by its first write at the latest.
func restartWithoutWitness(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	swap(t, c, c.Expect("k"), "one")
	restart(t, h, func() {})
	late := h.Open(t)
	loaded := load(t, late, "k")
	require.True(t, loaded.Back.IsZero(), "a look at a record asks nothing of the server")
	back(t, h.Now(), fooled(t, late, loaded))

	restart(t, h, func() {})
	next := h.Open(t)
	require.NoError(t, next.Prepare(t.Context(), true))
	back(t, h.Now(), next.Expect("never written"))

	restart(t, h, func() {})
	blind := h.Open(t)
	standing := fooled(t, blind, idempotency.Record{Key: "new", Version: 0})
	require.Zero(t, standing.Version)
	require.False(t, standing.Back.IsZero())
}

func restartTwice(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	before := h.Snapshot(t)
	restart(t, h, func() {})
	standing := fooled(t, c, c.Expect("k"))
	between := swap(t, c, standing, "between")
	h.Advance(time.Second)
	before() // to where the first one was not noted
	h.Advance(time.Second)
	standing = fooled(t, c, between)
	require.Zero(t, standing.Version)
	back(t, h.Now(), standing)

	kept := swap(t, c, standing, "kept")
	restart(t, h, func() {})
	standing = fooled(t, c, kept)
	require.Equal(t, "kept", string(standing.Value))
	back(t, h.Now(), standing)
}

func restartFoundByLook(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	restart(t, h, func() {})
	look(t, c)
	lost := h.Now()
	h.Advance(time.Second)
	look(t, c)
	for _, key := range []string{"k", "l", "m"} {
		back(t, lost, c.Expect(key)) // before anything was written
	}
}

func restartIsToldForAWindow(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	old := swap(t, c, c.Expect("old"), "one")
	restart(t, h, func() {})
	look(t, c)
	lost := h.Now()
	h.Advance(h.AskWindow - time.Millisecond)
	back(t, lost, load(t, c, "old"))
	back(t, lost, c.Expect("k"))
	h.Advance(time.Millisecond)
	require.True(t, load(t, c, "old").Back.IsZero())
	require.True(t, c.Expect("k").Back.IsZero())
	swap(t, c, load(t, c, old.Key), "two")
}

// restartAndLoss: one does not hide the other.
func restartAndLoss(t *testing.T, h Harness) {
	if h.Snapshot == nil {
		return
	}
	c := prepared(t, h)
	h.Forget(t)
	forgot := h.Now()
	look(t, c)
	h.Advance(time.Second)
	restart(t, h, func() {})
	look(t, c)
	r := c.Expect("k")
	told(t, forgot, r)
	require.Equal(t, h.Now().UnixMilli(), r.Back.UnixMilli())
	require.Equal(t, r.Back, r.Lost())
}
