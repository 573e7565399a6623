package stream_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
)

// A lane whose head stands still is told of with its offset, again and again, until it moves; a busy lane is not.
func TestTheWatchdogTellsOfALaneThatStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "slow", "b", "c").plus("x", "y", "z")
		release := make(chan struct{})
		h := &handler{fate: func(_ context.Context, m stream.Message) error {
			if m.Partition == 0 && m.Offset == 1 {
				<-release
			} else {
				time.Sleep(700 * time.Millisecond)
			}
			return nil
		}}
		var log bytes.Buffer
		var slow, other atomic.Int64
		cfg := config()
		cfg.InFlight, cfg.StuckAfter, cfg.Logger = 1, time.Second, slog.New(slog.NewTextHandler(&log, nil))
		cfg.Observe.Head = func(_ string, partition int, age time.Duration) {
			if partition == 0 {
				slow.Store(int64(age))
			} else {
				other.Store(max(other.Load(), int64(age)))
			}
		}
		stop, wait := serving(t, gen, h, cfg)
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		require.GreaterOrEqual(t, time.Duration(slow.Load()), 2*time.Second)
		require.Less(t, time.Duration(other.Load()), time.Second)
		close(release)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Zero(t, slow.Load())
		stop()
		require.NoError(t, wait())
		require.Equal(t, 2, bytes.Count(log.Bytes(), []byte("lane stands still")), log.String())
		require.Contains(t, log.String(), "offset=1")
	})
}
