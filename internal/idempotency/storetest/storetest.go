// Package storetest is the meaning of the record store as a suite: whatever implements idempotency.Store passes it.
//
// The implementation supplies a [Harness] a case. The suite starts goroutines but never sleeps; time moves only through
// the harness.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// Client is one process' view of the shared records.
type Client interface {
	idempotency.Store
	// Prepare learns the epochs of all buckets and creates the missing ones: as fresh, or as lost if commands may have
	// been seen before.
	Prepare(ctx context.Context, seenBefore bool) error
	// Look finds losses that no epoch tells, and renews the epochs that this view remembers. Whoever watches a store
	// looks every few seconds.
	Look(ctx context.Context) error
	// Fit returns nil while this process may call a vendor, else an *idempotency.Unfit.
	Fit() error
}

// Harness is one set of shared records, empty at first, of at least two buckets.
type Harness struct {
	// Open returns a view that remembers nothing, as a process has that just started.
	Open func(testing.TB) Client
	// Forget loses all records and epochs behind the back of every view.
	Forget func(testing.TB)
	// Advance moves the clock of all views and the server's. Records need not expire by it.
	Advance func(time.Duration)
	// Now reads that clock.
	Now func() time.Time
	// AskWindow is what the views are set to.
	AskWindow time.Duration
	// Expire moves the same clocks and lets lifetimes pass with them; nil when the server behind cannot do so.
	Expire func(time.Duration)
	// Jump moves the server's clock alone, and lets lifetimes pass where it goes forward; nil where Expire is.
	Jump func(time.Duration)
	// Lifetime is what the views are set to; at least twice the AskWindow.
	Lifetime time.Duration
	// Snapshot keeps what the server holds; the function that it returns has the server start again with that. nil where
	// the server cannot.
	Snapshot func(testing.TB) (restart func())
	// Tolerance between the clocks is what the views are set to; below a minute.
	Tolerance time.Duration
}

// Run runs every case, each on a harness of its own.
func Run(t *testing.T, open func(testing.TB) Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"an absent record is no error", absent},
		{"a record is created from what is expected", create},
		{"a conflict returns the standing record", conflict},
		{"versions count the writes", versions},
		{"an old version conflicts for ever", oldVersion},
		{"one of many creators wins", oneCreator},
		{"one of many writers of a version wins", oneWriter},
		{"many keys at once", manyKeys},
		{"values survive as they are", values},
		{"a value belongs to its holder", ownedValues},
		{"keys do not collide", keys},
		{"a cancelled call is unavailable", cancelled},
		{"a lifetime ends and is renewed by a write", lifetime},
		{"a first deployment is fresh", preparedFresh},
		{"a restart over kept records is fresh", preparedAgain},
		{"a bucket not prepared may have forgotten", unprepared},
		{"a restart over lost records forgot", preparedLost},
		{"a remembering client never prepares as fresh", preparedTwice},
		{"a creation in a bucket that forgot", createForgotten},
		{"a record held over a loss", heldOverLoss},
		{"a record held over a loss, written anew", heldOverLossAndRewrite},
		{"a version that matches under another epoch", sameVersionOtherEpoch},
		{"a loss is told until the window ends", window},
		{"a second loss opens the window again", lossAgain},
		{"another client created the epochs as fresh", freshOverLoss},
		{"another client's loss is believed", lossOfAnother},
		{"expected before anything was known", expectedBlindly},
		{"expected blindly in a bucket that forgot", expectedBlindlyForgotten},
		{"a loss among many clients", lossAmongMany},
		{"an absence after a restart", absenceAfterRestart},
		{"a version after a restart", versionAfterRestart},
		{"a version that another write left", versionOfAnotherWrite},
		{"a restart that lost nothing", restartWithAll},
		{"a restart while no process runs", restartWithoutWitness},
		{"a restart after a restart", restartTwice},
		{"a look finds a restart", restartFoundByLook},
		{"a restart is told until the window ends", restartIsToldForAWindow},
		{"a restart after a loss", restartAndLoss},
		{"a look finds an epoch that is missing", lookFindsLoss},
		{"a look creates no epoch that it does not know", lookCreatesNothing},
		{"an epoch ends with its records", epochEnds},
		{"a write keeps its bucket's epoch", epochKeptByWrites},
		{"a look keeps the epochs of idle buckets", epochKeptByLooks},
		{"a jump of the server's clock is a loss", jump},
		{"a clock that is put right is no loss", smallJump},
		{"a clock too far from the server's", skewed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, open(t))
		})
	}
}

// prepared returns a view of a system that never ran before.
func prepared(t testing.TB, h Harness) Client {
	t.Helper()
	c := h.Open(t)
	require.NoError(t, c.Prepare(t.Context(), false))
	return c
}

func load(t testing.TB, c Client, key string) idempotency.Record {
	t.Helper()
	r, err := c.Load(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, key, r.Key)
	return r
}

// swap writes and checks that the returned record is the one that stands.
func swap(t testing.TB, c Client, was idempotency.Record, value string) idempotency.Record {
	t.Helper()
	r, err := c.Swap(t.Context(), was, []byte(value))
	require.NoError(t, err)
	require.Equal(t, r, load(t, c, was.Key))
	require.Equal(t, was.Version+1, r.Version)
	require.Equal(t, value, string(r.Value))
	return r
}

// refused tries a write that must conflict, and returns the standing record, which must be the one that Load sees.
func refused(t testing.TB, c Client, was idempotency.Record) idempotency.Record {
	t.Helper()
	before := load(t, c, was.Key)
	standing := conflicts(t, c, was)
	require.Equal(t, before.Version, standing.Version, "a refused write changes nothing")
	require.Equal(t, before.Value, standing.Value)
	require.Equal(t, load(t, c, was.Key), standing)
	return standing
}

// conflicts is refused without a look before the write, which would teach the client its bucket's epoch.
func conflicts(t testing.TB, c Client, was idempotency.Record) idempotency.Record {
	t.Helper()
	r, err := c.Swap(t.Context(), was, []byte("must not land"))
	require.Zero(t, r)
	var conflict *idempotency.Conflict
	require.ErrorAs(t, err, &conflict)
	require.NotErrorIs(t, err, idempotency.ErrUnavailable)
	return conflict.Standing
}

// unavailable checks the only error but a conflict.
func unavailable(t testing.TB, err error) {
	t.Helper()
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.NotErrorIs(t, err, context.Canceled)
	var conflict *idempotency.Conflict
	require.NotErrorAs(t, err, &conflict)
}

// told checks that a record says when its bucket was found to have forgotten.
func told(t testing.TB, at time.Time, r idempotency.Record) {
	t.Helper()
	require.Equal(t, at.UnixMilli(), r.Forgot.UnixMilli())
}
