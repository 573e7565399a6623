package memstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
)

// world is a server with one view that is prepared, and records at these keys.
func world(t *testing.T, keys ...string) (*memstore.Server, *memstore.Store) {
	t.Helper()
	server := memstore.NewServer(4)
	s := view(t, server)
	for _, key := range keys {
		write(t, s, key, "one")
	}
	return server, s
}

func view(t *testing.T, server *memstore.Server) *memstore.Store {
	t.Helper()
	s := memstore.New(server, memstore.Config{Lifetime: time.Hour})
	require.NoError(t, s.Prepare(t.Context(), false))
	return s
}

func write(t *testing.T, s *memstore.Store, key, value string) {
	t.Helper()
	_, err := s.Swap(t.Context(), read(t, s, key), []byte(value))
	require.NoError(t, err)
}

func read(t *testing.T, s *memstore.Store, key string) idempotency.Record {
	t.Helper()
	r, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	return r
}

func TestRewind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		which   func(key string, bucket int) bool
		a, b, c string
	}{
		"all":        {nil, "one", "one", ""},
		"one record": {func(key string, _ int) bool { return key == "a" }, "one", "two", "new"},
		"no bucket":  {func(_ string, bucket int) bool { return bucket >= 4 }, "two", "two", "new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, s := world(t, "a", "b")
			then := server.Snapshot()
			write(t, s, "a", "two")
			write(t, s, "b", "two")
			write(t, s, "c", "new")
			server.Rewind(then, c.which)
			require.Equal(t, c.a, string(read(t, s, "a").Value))
			require.Equal(t, c.b, string(read(t, s, "b").Value))
			require.Equal(t, c.c, string(read(t, s, "c").Value))
			require.True(t, read(t, s, "c").Forgot.IsZero(), "no epoch tells")
			require.NoError(t, s.Look(t.Context()))
			require.True(t, read(t, s, "c").Forgot.IsZero(), "nor does a look")
			server.Rewind(then, nil)
			require.Equal(t, uint64(1), read(t, s, "a").Version, "a snapshot stays as it was taken")
		})
	}
}

func TestLoseIsSilentAndEvictIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, s := world(t, "a", "b", "c")
		other := view(t, server)
		only := func(which string) func(string) bool { return func(key string) bool { return key == which } }
		server.Lose(only("a"))
		require.NoError(t, s.Look(t.Context()))
		require.Zero(t, read(t, s, "a").Version)
		require.True(t, read(t, s, "a").Forgot.IsZero())

		server.Evict(only("b"))
		require.NoError(t, s.Look(t.Context()))
		marked := read(t, s, "b").Forgot
		require.False(t, marked.IsZero())
		time.Sleep(time.Second)
		require.NoError(t, other.Look(t.Context()))
		require.Equal(t, marked, read(t, other, "b").Forgot, "once")

		server.Evict(only("c"))
		late := view(t, server)
		require.Equal(t, marked.Add(time.Second), late.Expect("c").Forgot, "found before anything is handled")
	})
}

// TestWithoutReplicas: a write lands, its writer does not hear so, and nothing is sent until the replicas are back.
func TestWithoutReplicas(t *testing.T) {
	t.Parallel()
	server, s := world(t, "a")
	server.Replicas(false)
	was := read(t, s, "a")
	_, err := s.Swap(t.Context(), was, []byte("two"))
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.Equal(t, "two", string(read(t, s, "a").Value))
	var unfit *idempotency.Unfit
	require.ErrorAs(t, s.Fit(), &unfit)
	require.Equal(t, idempotency.UnfitReplicas, unfit.Reason)
	server.Replicas(true)
	require.NoError(t, s.Fit())

	server.Replicas(false)
	require.NoError(t, s.Fit(), "nothing was written yet")
	require.NoError(t, s.Look(t.Context()))
	require.Error(t, s.Fit(), "a look probes")
}
