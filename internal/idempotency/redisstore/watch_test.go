package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/clock"
)

// telling makes the server of a store tell this INFO, which miniredis does not know.
func telling(s *Store, info *string) {
	s.nodes.client.AddHook(hook{process: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		if cmd.Name() != "info" {
			return next(ctx, cmd)
		}
		cmd.(*redis.StringCmd).SetVal(*info)
		return nil
	}})
}

func serverInfo(run string, evicted int, policy string) string {
	return fmt.Sprintf("run_id:%s\r\nevicted_keys:%d\r\nmaxmemory:1000\r\nmaxmemory_policy:%s\r\n", run, evicted, policy)
}

func unfit(t *testing.T, s *Store, reason, text string) {
	t.Helper()
	var unfit *idempotency.Unfit
	require.ErrorAs(t, s.Fit(), &unfit)
	require.Equal(t, reason, unfit.Reason)
	require.ErrorContains(t, unfit, text)
}

// TestEvictionsAreALossOnce: whoever finds first that keys were dropped since that was last noted marks all buckets, and
// nobody does again for the same ones: not other processes, not the next start.
func TestEvictionsAreALossOnce(t *testing.T) {
	t.Parallel()
	info := serverInfo("a", 0, "noeviction")
	server := miniredis.RunT(t)
	var log bytes.Buffer
	config := testConfig(server.Addr())
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	start := func(fresh bool) *Store {
		s := open(t, config)
		telling(s, &info)
		require.NoError(t, s.Prepare(t.Context(), !fresh))
		return s
	}
	now := time.UnixMilli(1_800_000_000_000)
	config.Now = func() time.Time { return now }
	server.SetTime(now)
	s, other := start(true), start(true)
	lost := func(s *Store) time.Time { return s.Expect("k").Forgot }
	step := func(what string) {
		t.Helper()
		info = what
		now = now.Add(time.Second)
		server.SetTime(now)
		require.NoError(t, s.Look(t.Context()))
	}
	step(serverInfo("a", 0, "noeviction"))
	require.Zero(t, lost(s))

	step(serverInfo("a", 7, "noeviction"))
	marked := now
	require.True(t, marked.Equal(lost(s)))
	require.Contains(t, log.String(), "the server evicted keys, 7 since its start")
	step(info)
	require.NoError(t, other.Look(t.Context()))
	require.True(t, marked.Equal(lost(s)), "the same ones are told once")
	require.True(t, marked.Equal(lost(other)))
	require.True(t, marked.Equal(lost(start(false))), "a restart finds it noted")

	for _, next := range []string{
		serverInfo("a", 8, "noeviction"), // more
		serverInfo("b", 8, "noeviction"), // by another run
		serverInfo("b", 2, "noeviction"), // since the counter was reset
	} {
		step(next)
		require.True(t, now.Equal(lost(s)), next)
	}
	before := now
	step(serverInfo("c", 0, "noeviction"))
	step("# Clients\r\n")
	require.True(t, before.Equal(lost(s)), "a server that dropped nothing, or does not tell")
}

// TestEvictionsBeforeTheFirstLook: what was dropped while no process ran is found before anything is handled, whatever the
// policy is now.
func TestEvictionsBeforeTheFirstLook(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	prepared(t, testConfig(server.Addr()))
	s := open(t, testConfig(server.Addr()))
	info := serverInfo("a", 1, "noeviction")
	telling(s, &info)
	require.NoError(t, s.Prepare(t.Context(), true))
	require.NotZero(t, s.Expect("k").Forgot)
}

func TestEvictionWhileRunningIsUnfit(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(miniredis.RunT(t).Addr()))
	info := serverInfo("a", 0, "noeviction")
	telling(s, &info)
	require.NoError(t, s.Prepare(t.Context(), false))
	require.NoError(t, s.Fit())
	info = serverInfo("a", 0, "volatile-ttl")
	require.NoError(t, s.Look(t.Context()))
	unfit(t, s, idempotency.UnfitEviction, `maxmemory-policy is "volatile-ttl"`)
	info = serverInfo("a", 0, "noeviction")
	require.NoError(t, s.Look(t.Context()))
	require.NoError(t, s.Fit())
}

// acking is a hook by which WAIT finds so many replicas, and counts the writes that waited.
func acking(acks, waited *atomic.Int64) hook {
	return hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		err := next(ctx, cmds)
		if last, ok := cmds[len(cmds)-1].(*redis.Cmd); ok && last.Name() == "wait" {
			waited.Add(1)
			last.SetErr(nil)
			last.SetVal(acks.Load())
		}
		return err
	}}
}

// TestUnacknowledgedWritesAreUnfit: nothing is sent while its intent would have no replica; a probe tells when it would
// have one again, and tells before an order has to find out.
func TestUnacknowledgedWritesAreUnfit(t *testing.T) {
	t.Parallel()
	config := testConfig(miniredis.RunT(t).Addr())
	config.Replicas, config.WaitTimeout = 1, 30*time.Millisecond
	var acks, waited atomic.Int64
	s := open(t, config)
	s.nodes.client.AddHook(acking(&acks, &waited))
	require.NoError(t, s.Prepare(t.Context(), false), "the records can be read all the same")
	unfit(t, s, idempotency.UnfitReplicas, "fewer than 1 replicas")

	acks.Store(1)
	require.NoError(t, s.Look(t.Context()))
	require.NoError(t, s.Fit())
	acks.Store(0)
	_, err := s.Swap(t.Context(), s.Expect("k"), nil)
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	unfit(t, s, idempotency.UnfitReplicas, "bring them back")
	require.NoError(t, s.Look(t.Context()))
	unfit(t, s, idempotency.UnfitReplicas, "")
	acks.Store(1)
	require.NoError(t, s.Look(t.Context()))
	require.NoError(t, s.Fit())

	acks.Store(0)
	require.NoError(t, s.Look(t.Context()))
	unfit(t, s, idempotency.UnfitReplicas, "")
}

// TestALossThatCannotBeStoredIsUnfit, and is stored as soon as it can be.
func TestALossThatCannotBeStoredIsUnfit(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	s := prepared(t, testConfig(server.Addr()))
	var refuses atomic.Bool
	s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		if !refuses.Load() {
			return next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(serverError("OOM"))
		}
		return nil
	}})
	refuses.Store(true)
	server.SetTime(time.Now().Add(time.Hour))
	require.ErrorIs(t, s.Look(t.Context()), idempotency.ErrUnavailable)
	unfit(t, s, idempotency.UnfitLoss, "the server's clock moved by 1h0m0s")
	require.Zero(t, s.Expect("k").Forgot)
	refuses.Store(false)
	require.NoError(t, s.Look(t.Context()))
	require.NoError(t, s.Fit())
	require.NotZero(t, s.Expect("k").Forgot)
}

// TestFitBetweenTwoLooks: a step of own clock, or a machine that stood still, shows at the next call.
func TestFitBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	config := testConfig(server.Addr())
	config.Tolerance = time.Second
	s := open(t, config)
	own := clock.Reading{Wall: time.UnixMilli(1_800_000_000_000)}
	s.health.read = func() clock.Reading { return own }
	server.SetTime(own.Wall)
	unfit(t, s, idempotency.UnfitClockUnknown, "not read yet")
	require.NoError(t, s.Prepare(t.Context(), false), "it measures")
	require.NoError(t, s.Fit())

	own.Wall = own.Wall.Add(time.Minute)
	unfit(t, s, idempotency.UnfitClockStep, "by 1m0s")
	server.SetTime(own.Wall)
	require.NoError(t, s.Look(t.Context()))
	require.NoError(t, s.Fit())
	require.Zero(t, s.Expect("k").Forgot, "the server agrees with one of the own clocks")

	own.Wall, own.Mono = own.Wall.Add(7*time.Second), own.Mono+7*time.Second
	unfit(t, s, idempotency.UnfitClockUnknown, "not read for 7s")
}

// TestAServerTooSlowToCompareWith: the first message waits until a measurement tells something.
func TestAServerTooSlowToCompareWith(t *testing.T) {
	t.Parallel()
	config := testConfig(miniredis.RunT(t).Addr())
	config.Tolerance = time.Second
	s := open(t, config)
	read, took := s.health.read, 2*time.Second
	s.health.read = func() clock.Reading {
		at := read()
		at.Mono += took
		took *= 2
		return at
	}
	err := s.Prepare(t.Context(), false)
	require.ErrorIs(t, err, idempotency.ErrUnavailable)
	require.ErrorContains(t, err, "too slowly")
	took = 0
	require.NoError(t, s.Prepare(t.Context(), false))
}

func TestWatchLooksUntilItIsStopped(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	config := testConfig(server.Addr())
	config.Every, config.Tolerance, config.Lifetime, config.AskWindow = 10*time.Millisecond, 10*time.Second, time.Second, time.Second
	server.SetTime(time.Now().Add(-5 * time.Second))
	looks := make(chan error)
	var ahead atomic.Int64
	config.OnLook = func(err error, skew time.Duration) {
		ahead.Store(int64(skew.Round(5 * time.Second)))
		looks <- err
	}
	s := open(t, config)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx) }()
	require.NoError(t, <-looks, "it was measured before it is told")
	require.Equal(t, 5*time.Second, time.Duration(ahead.Load()))
	require.NoError(t, s.Prepare(t.Context(), false))
	server.FastForward(config.Lifetime / 2)
	for n := 0; server.TTL(s.epochKey(15)) < config.Lifetime; n++ {
		require.Less(t, n, 1000, "epochs are renewed meanwhile")
		<-looks
	}
	stop()
	var err error
	for err == nil {
		select {
		case <-looks:
		case err = <-ended:
		}
	}
	require.ErrorIs(t, err, context.Canceled)
}

func TestTheWatchKeyIsNoRecord(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	config := testConfig(server.Addr())
	config.Replicas, config.WaitTimeout = 1, time.Millisecond
	s := prepared(t, config)
	require.Contains(t, server.Keys(), "pd:{0}:w")
	require.Equal(t, config.Lifetime, server.TTL("pd:{0}:w"))
	require.NotEqual(t, "pd:{0}:w", s.recordKey(0, "w"))
}
