package redisstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// one is a store of one bucket with a clock that the test moves, and the same for its server.
func one(t *testing.T, server *miniredis.Miniredis, clock *handClock) Config {
	t.Helper()
	config := testConfig(server.Addr())
	config.Buckets, config.Now = 1, clock.Now
	server.SetTime(clock.Now())
	return config
}

func put(t *testing.T, s *Store, was idempotency.Record, value string) idempotency.Record {
	t.Helper()
	was.Intent = true
	r, err := s.Swap(t.Context(), was, []byte(value))
	require.NoError(t, err)
	return r
}

func met(t *testing.T, s *Store, was idempotency.Record) idempotency.Record {
	t.Helper()
	was.Intent = true
	_, err := s.Swap(t.Context(), was, []byte("must not land"))
	conflict, ok := errors.AsType[*idempotency.Conflict](err)
	require.True(t, ok, err)
	return conflict.Standing
}

// TestWritesAreCountedWhereTheIdentityIsHidden: whoever wrote to a bucket knows of more writes than a server that lost some.
// Who did not, cannot.
func TestWritesAreCountedWhereTheIdentityIsHidden(t *testing.T) {
	t.Parallel()
	server, clock := miniredis.RunT(t), newClock()
	config := one(t, server, clock)
	witness, other := prepared(t, config), prepared(t, config)
	r := put(t, witness, witness.Expect("k"), "one")
	put(t, other, other.Expect("of another"), "one")
	again := snapshot(t, server)
	put(t, witness, r, "two")
	lost := witness.Expect("l")
	again()
	clock.Advance(time.Second)
	server.SetTime(clock.Now())
	stands := other.Expect("of another, too")
	put(t, other, stands, "it cannot know")
	again()

	standing := met(t, witness, lost)
	require.Zero(t, standing.Version)
	require.Equal(t, clock.Now().UnixMilli(), standing.Back.UnixMilli())
	require.Equal(t, standing.Back, met(t, other, other.Expect("of another, too")).Back, "it is told")
	put(t, witness, standing, "after asking")
	put(t, other, other.Expect("m"), "goes on")
	put(t, witness, witness.Expect("n"), "goes on")
}

// TestWritesToTheOtherServerCount: a process that went on writing to the old primary after the new one was marked knows that
// those writes are lost as well.
func TestWritesToTheOtherServerCount(t *testing.T) {
	t.Parallel()
	server, clock := miniredis.RunT(t), newClock()
	data := identify(server)
	s := prepared(t, one(t, server, clock))
	idle := prepared(t, one(t, server, clock))
	promoted := clock.Now()
	clock.Advance(time.Minute)
	put(t, s, s.Expect("k"), "on the old one")
	server.FlushDB()
	known := s.known[0].Load().of.String()
	require.NoError(t, server.Set("pd:{0}:e", known))
	require.NoError(t, server.Set("pd:{0}:d", fmt.Sprintf("id1|%d", promoted.UnixMilli())))
	data.Store(1)
	require.Equal(t, promoted.UnixMilli(), met(t, idle, idle.Expect("k")).Back.UnixMilli())
	require.Equal(t, clock.Now().UnixMilli(), met(t, s, s.Expect("k")).Back.UnixMilli())
	require.Equal(t, clock.Now().UnixMilli(), met(t, idle, idle.Expect("k")).Back.UnixMilli(), "the others are told")
	put(t, s, s.Expect("k"), "goes on")
}

// TestRecordsOfBefore: those of versions that noted no data are as good as any until the server starts again, and the first
// process of this version cannot know whether it did.
func TestRecordsOfBefore(t *testing.T) {
	t.Parallel()
	server, clock := miniredis.RunT(t), newClock()
	data := identify(server)
	config := one(t, server, clock)
	prepared(t, config)
	require.NoError(t, server.Set("pd:{0}:k:old", "3|abcdefghijklm.1a|value"))
	s := prepared(t, config)
	old, err := s.Load(t.Context(), "old")
	require.NoError(t, err)
	require.True(t, old.Back.IsZero())
	data.Add(1)
	require.False(t, met(t, s, old).Back.IsZero())

	server.Del("pd:{0}:d")
	clock.Advance(time.Second)
	server.SetTime(clock.Now())
	upgraded := prepared(t, config)
	require.Equal(t, clock.Now().UnixMilli(), upgraded.Expect("k").Back.UnixMilli())
}

// TestAStepBackIsTold: by each process that knew the other data, for each bucket, and in one line.
func TestAStepBackIsTold(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	data := identify(server)
	var told atomic.Int32
	var log bytes.Buffer
	config := testConfig(server.Addr())
	config.OnBack, config.Logger = func() { told.Add(1) }, slog.New(slog.NewTextHandler(&log, nil))
	s := prepared(t, config)
	require.Zero(t, told.Load())
	data.Add(1)
	require.True(t, s.Expect("k").Back.IsZero())
	require.NoError(t, s.measure(t.Context()))
	require.False(t, s.Expect("k").Back.IsZero())
	require.NoError(t, s.Look(t.Context()))
	require.EqualValues(t, config.Buckets, told.Load())
	require.Equal(t, 1, strings.Count(log.String(), "may have lost its latest writes"))

	prepared(t, config)
	require.EqualValues(t, config.Buckets, told.Load(), "what was before a process began is no news")
}
