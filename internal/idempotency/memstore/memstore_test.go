package memstore_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/idempotency/storetest"
)

// clock is moved by the suite only.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestSuite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Harness {
		time := &clock{now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
		server := memstore.NewServer(16)
		server.SetClock(time.Now)
		config := memstore.Config{Lifetime: 24 * 3600e9, AskWindow: 3600e9, Tolerance: 5e9, Now: time.Now}
		return storetest.Harness{
			Open:      func(testing.TB) storetest.Client { return memstore.New(server, config) },
			Forget:    func(testing.TB) { server.Forget() },
			Advance:   time.Advance,
			Now:       time.Now,
			AskWindow: config.AskWindow,
			Expire:    time.Advance,
			Jump:      server.Jump,
			Snapshot: func(testing.TB) func() {
				then := server.Snapshot()
				return func() { server.Restart(then) }
			},
			Lifetime:  config.Lifetime,
			Tolerance: config.Tolerance,
		}
	})
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := memstore.NewServer(0)
		s := memstore.New(server, memstore.Config{})
		require.NoError(t, s.Prepare(t.Context(), true))
		time.Sleep(100 * 365 * 24 * time.Hour) // fake time
		require.False(t, s.Expect("k").Forgot.IsZero(), "no window, no lifetime: for ever")
		_, err := s.Swap(t.Context(), s.Expect("k"), nil)
		require.NoError(t, err)
		require.Equal(t, 1, server.Len())

		s = memstore.New(server, memstore.Config{Lifetime: time.Hour})
		require.NoError(t, s.Prepare(t.Context(), true))
		require.True(t, s.Expect("k").Forgot.IsZero(), "the window is the lifetime")
	})
}
