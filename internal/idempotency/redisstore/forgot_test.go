package redisstore

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
)

// counted returns a store with one bucket, and how many losses it told.
func counted(t *testing.T, addr string) (*Store, *atomic.Int32) {
	t.Helper()
	told := new(atomic.Int32)
	config := testConfig(addr)
	config.Buckets, config.OnForgot = 1, func() { told.Add(1) }
	return open(t, config), told
}

// TestLossesAreTold: once a process, by those that remember the bucket or find it gone; never for a fresh system, nor for
// what was lost before the process began.
func TestLossesAreTold(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	meet := func(s *Store) {
		t.Helper()
		_, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
	}
	first, told := counted(t, server.Addr())
	require.NoError(t, first.Prepare(t.Context(), false))
	witness, witnessTold := counted(t, server.Addr())
	meet(first)
	meet(witness)
	require.Zero(t, told.Load()+witnessTold.Load(), "nothing was lost yet")

	server.FlushAll()
	meet(first)
	meet(first)
	meet(witness)
	require.EqualValues(t, 1, told.Load())
	require.EqualValues(t, 1, witnessTold.Load(), "it remembered the bucket, and knows itself that it forgot")

	late, lateTold := counted(t, server.Addr())
	require.NoError(t, late.Prepare(t.Context(), true))
	meet(late)
	require.Zero(t, lateTold.Load(), "the loss was found before it began")

	server.FlushAll()
	require.NoError(t, late.Prepare(t.Context(), true))
	require.EqualValues(t, 1, lateTold.Load(), "a second loss")

	server.FlushAll()
	anew, anewTold := counted(t, server.Addr())
	require.NoError(t, anew.Prepare(t.Context(), true))
	require.EqualValues(t, 1, anewTold.Load(), "commands were seen, and no epoch stands: found at the start")
}

// TestASetbackIsTold: a server that was restored to before its own loss has forgotten again; who hears of it from the new
// mark has nothing new to tell.
func TestASetbackIsTold(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	first, told := counted(t, server.Addr())
	require.NoError(t, first.Prepare(t.Context(), false))
	meet := func(s *Store) {
		t.Helper()
		_, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
	}
	server.FlushAll()
	meet(first)
	witness, witnessTold := counted(t, server.Addr())
	meet(witness)
	require.EqualValues(t, 1, told.Load())

	marked, err := server.Get("pd:{0}:e")
	require.NoError(t, err)
	id, _, _ := strings.Cut(marked, "|")
	require.NoError(t, server.Set("pd:{0}:e", id+"|0"))
	first.config.Now = func() time.Time { return time.Now().Add(time.Second) } // a mark of its own
	meet(first)
	meet(witness)
	require.EqualValues(t, 2, told.Load())
	require.Zero(t, witnessTold.Load())
}
