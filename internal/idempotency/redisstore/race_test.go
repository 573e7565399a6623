package redisstore

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency"
)

// afterFirst runs meanwhile once, after the store's next pipeline was carried out and before the store hears of it.
func afterFirst(s *Store, meanwhile func()) {
	var done atomic.Bool
	s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		err := next(ctx, cmds)
		if done.CompareAndSwap(false, true) {
			meanwhile()
		}
		return err
	}})
}

// TestAnotherClientIsFasterAfterALoss: the record read beside a missing epoch is not the one that stands when this
// client has learned the new epoch.
func TestAnotherClientIsFasterAfterALoss(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*Store, idempotency.Record) (idempotency.Record, error){
		"load": func(s *Store, _ idempotency.Record) (idempotency.Record, error) { return s.Load(t.Context(), "k") },
		"swap": func(s *Store, held idempotency.Record) (idempotency.Record, error) {
			_, err := s.Swap(t.Context(), held, []byte("of a"))
			var conflict *idempotency.Conflict
			require.ErrorAs(t, err, &conflict)
			return conflict.Standing, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := miniredis.RunT(t)
			a, b := prepared(t, testConfig(server.Addr())), prepared(t, testConfig(server.Addr()))
			warm(t, a)
			held := a.Expect("k")
			server.FlushDB() // the scripts stay
			afterFirst(a, func() {
				found, err := b.Load(t.Context(), "k")
				require.NoError(t, err)
				_, err = b.Swap(t.Context(), found, []byte("of b"))
				require.NoError(t, err)
			})
			r, err := read(a, held)
			require.NoError(t, err)
			require.Equal(t, "of b", string(r.Value))
			require.False(t, r.Forgot.IsZero())
			stands, err := b.Load(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, stands, r)
		})
	}
}

// TestWipedBetweenReadAndCreation: the epoch that this client found vanished before it could be marked.
func TestWipedBetweenReadAndCreation(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	a := prepared(t, testConfig(server.Addr()))
	warm(t, a)
	server.FlushDB()
	prepared(t, testConfig(server.Addr())) // claims that all is fresh
	afterFirst(a, server.FlushDB)
	r, err := a.Load(t.Context(), "k")
	require.NoError(t, err)
	require.False(t, r.Forgot.IsZero())
	require.Equal(t, r, a.Expect("k"))
}

func TestRememberedEpochsAreNeverPreparedAsFresh(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	s := prepared(t, testConfig(server.Addr()))
	server.FlushDB()
	var written, fresh atomic.Int32
	s.nodes.client.AddHook(hook{pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		for _, cmd := range cmds {
			args := cmd.Args()
			written.Add(1)
			if strings.HasSuffix(fmt.Sprint(args[len(args)-1]), "|0") {
				fresh.Add(1)
			}
		}
		return next(ctx, cmds)
	}})
	require.NoError(t, s.Prepare(t.Context(), false))
	require.Equal(t, int32(16), written.Load())
	require.Zero(t, fresh.Load())
}
