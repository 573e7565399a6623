package service

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

func TestAWatchWaitsBeforeItTellsOfAnAbsence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "reachable"})
		w := &watch{name: "redis", grace: 30 * time.Second, reachable: gauge}
		require.NoError(t, w.probe(t.Context()), "it was not asked yet")

		ctx, stop := context.WithCancel(t.Context())
		var away, hangs atomic.Bool
		go func() {
			_ = w.run(ctx, time.Second, func(ctx context.Context) error {
				if hangs.Load() {
					<-ctx.Done()
					return ctx.Err()
				}
				if away.Load() {
					return errors.New("connection refused")
				}
				return nil
			})
		}()
		defer synctest.Wait()
		defer stop()
		after := func(d time.Duration) error {
			time.Sleep(d)
			synctest.Wait()
			return w.probe(t.Context())
		}
		require.NoError(t, after(time.Hour))
		require.InDelta(t, 1, reading(t, gauge), 0)

		away.Store(true)
		require.NoError(t, after(30*time.Second), "a short absence is waited for")
		require.InDelta(t, 0, reading(t, gauge), 0)
		require.EqualError(t, after(10*time.Second), "redis has not answered for 40s: connection refused")
		away.Store(false)
		require.NoError(t, after(10*time.Second), "it is back")

		hangs.Store(true)
		require.ErrorContains(t, after(time.Minute), "deadline exceeded", "a ping that hangs is none")
		hangs.Store(false)
		require.NoError(t, after(10*time.Second))
	})
}

// One that never answered is told of once the grace has passed since it was first asked.
func TestAWatchOfOneThatNeverAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &watch{name: "kafka", grace: 30 * time.Second, reachable: prometheus.NewGauge(prometheus.GaugeOpts{Name: "reachable"})}
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		go func() { _ = w.run(ctx, time.Second, func(context.Context) error { return errors.New("no route") }) }()
		time.Sleep(29 * time.Second)
		require.NoError(t, w.probe(t.Context()))
		time.Sleep(2 * time.Second)
		require.EqualError(t, w.probe(t.Context()), "kafka has not answered for 31s: no route")
	})
}

func reading(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, g.Write(&m))
	return m.GetGauge().GetValue()
}
