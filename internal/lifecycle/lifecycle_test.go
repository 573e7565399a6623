package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/lifecycle"
)

var errBroken = errors.New("broken")

func newGroup(ctx context.Context, grace time.Duration) *lifecycle.Group {
	return lifecycle.New(ctx, grace, slog.New(slog.DiscardHandler))
}

// untilDone is a part that does as it is told.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// journal keeps what happened in its order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) read() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines
}

func (j *journal) closer(name string) func(context.Context) error {
	return func(context.Context) error {
		j.add(name)
		return nil
	}
}

func TestASignalStopsPartsThenClosesLastInFirstOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signal := context.WithCancel(t.Context())
		g, seen := newGroup(ctx, time.Minute), &journal{}
		g.OnClose("admin", time.Second, seen.closer("admin"))
		g.OnClose("redis", time.Second, seen.closer("redis"))
		g.OnClose("writer", time.Second, seen.closer("writer"))
		g.Go("consumer", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(30 * time.Second) // the drain
			seen.add("drained")
			return ctx.Err()
		})
		require.NoError(t, g.Stopping(t.Context()))

		signal()
		require.NoError(t, g.Wait())
		require.Equal(t, []string{"drained", "writer", "redis", "admin"}, seen.read())
		require.ErrorContains(t, g.Stopping(t.Context()), "stopping: context canceled")
	})
}

func TestAPartThatDoesNotGoOnStopsTheOthers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		part func(context.Context) error
		want string
		is   error
	}{
		"fails":          {func(context.Context) error { return errBroken }, "bad: broken", errBroken},
		"returns early":  {func(context.Context) error { return nil }, "bad: ended before it was told to", lifecycle.ErrEnded},
		"cancels itself": {func(context.Context) error { return context.Canceled }, "bad: context canceled", context.Canceled},
		"panics":         {func(context.Context) error { panic("at the disco") }, "bad: panic: at the disco", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, seen := newGroup(t.Context(), time.Minute), &journal{}
				g.OnClose("store", time.Second, seen.closer("store"))
				g.Go("good", untilDone)
				g.Go("bad", c.part)

				err := g.Wait()
				require.ErrorContains(t, err, c.want)
				require.NotContains(t, err.Error(), "good")
				require.ErrorContains(t, context.Cause(g.Context()), c.want)
				if c.is != nil {
					require.ErrorIs(t, err, c.is)
				}
				require.Equal(t, []string{"store"}, seen.read())
			})
		})
	}
}

func TestAnErrorOfTheDrainIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signal := context.WithCancel(t.Context())
		g := newGroup(ctx, time.Minute)
		g.Go("consumer", func(ctx context.Context) error {
			<-ctx.Done()
			return errBroken
		})
		signal()
		require.EqualError(t, g.Wait(), "consumer: broken")
	})
}

func TestWhatOverstaysIsNamedAndLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signal := context.WithCancel(t.Context())
		g, seen, release := newGroup(ctx, 20*time.Second), &journal{}, make(chan struct{})
		g.OnClose("admin", time.Second, seen.closer("admin"))
		g.OnClose("deaf", 5*time.Second, func(context.Context) error { <-release; return nil })
		g.OnClose("slow", 5*time.Second, func(ctx context.Context) error { <-ctx.Done(); return errBroken })
		g.OnClose("rash", 5*time.Second, func(context.Context) error { panic("boom") })
		g.Go("stuck", func(context.Context) error { <-release; return nil })
		g.Go("good", untilDone)

		start := time.Now()
		signal()
		err := g.Wait()
		require.ErrorContains(t, err, "stuck: still running 20s after the stop")
		require.ErrorContains(t, err, "deaf: not closed within 5s")
		require.ErrorContains(t, err, "rash: panic: boom")
		require.ErrorContains(t, err, "slow: ")
		require.NotContains(t, err.Error(), "good")
		require.Equal(t, []string{"admin"}, seen.read())
		require.Equal(t, 30*time.Second, time.Since(start))
		close(release)
	})
}

func TestAServerAnswersUntilItsTurnToClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signal := context.WithCancel(t.Context())
		g, seen, closing := newGroup(ctx, time.Minute), &journal{}, make(chan struct{})
		g.Serve("admin", time.Second,
			func() error { <-closing; seen.add("admin ended"); return errors.New("server closed") },
			func(context.Context) error { close(closing); return nil })
		g.OnClose("redis", time.Second, seen.closer("redis"))
		g.Go("consumer", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			seen.add("drained")
			return nil
		})
		signal()
		require.NoError(t, g.Wait())
		require.Equal(t, []string{"drained", "redis", "admin ended"}, seen.read())
	})
}

func TestAServerThatDiesStopsTheGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"with an error": {errBroken, "admin: broken"},
		"silently":      {nil, "admin: ended before it was told to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t.Context(), time.Minute)
				g.Go("consumer", untilDone)
				g.Serve("admin", time.Second, func() error { return c.err }, func(context.Context) error { return nil })
				require.EqualError(t, g.Wait(), c.want)
			})
		})
	}
}

func TestAServerThatIgnoresItsStopIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signal := context.WithCancel(t.Context())
		g, release := newGroup(ctx, time.Minute), make(chan struct{})
		g.Serve("admin", time.Second, func() error { <-release; return nil }, func(context.Context) error { return nil })
		signal()
		require.ErrorContains(t, g.Wait(), "admin: not closed within 1s")
		close(release)
	})
}
