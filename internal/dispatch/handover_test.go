package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/handover"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/vendors"
)

// handingOver is a context in which a handover begins once begin is called.
func handingOver(t *testing.T) (ctx context.Context, begin func()) {
	over, begin := context.WithCancel(t.Context())
	return handover.With(t.Context(), over), begin
}

// The intent is on record and the call has not begun: the next owner makes it at once, without waiting for the lease nor
// asking.
func TestAnIntentThatIsNotActedUponIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(h *house, begin func()){
		"before it was written": func(_ *house, begin func()) { begin() },
		"while it was written": func(h *house, begin func()) {
			h.store.swap = func(key string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
				if strings.HasPrefix(key, "o:") {
					defer begin()
				}
				return do()
			}
		},
		"while the call waited for its turn": func(h *house, begin func()) {
			h.vendor.sends = []answer{{err: &vendors.Error{Class: commands.ClassRetryable, Code: vendors.CodeHandedOver, Err: errors.New("x")}}}
			h.vendor.beforeAnswer = begin
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, m := newHouse(t), order("R1", "B1", "1.00")
				ctx, begin := handingOver(t)
				at(h, begin)
				require.ErrorIs(t, h.Handle(ctx, m), handover.ErrBegun)
				require.Empty(t, h.log.messages, "it is neither answered nor parked")

				h.store.swap, h.vendor.beforeAnswer = nil, nil
				h.vendor.sent, h.vendor.sends = 0, []answer{says(commands.StatusSucceeded)}
				began := time.Now()
				require.NoError(t, h.restart().Handle(t.Context(), m))
				require.Zero(t, time.Since(began))
				require.Equal(t, []string{"succeeded"}, h.log.kinds())
				require.Equal(t, 1, h.vendor.sent)
				require.Zero(t, h.vendor.asked)
				require.Equal(t, 1, h.state("B1").Sends, "what was not sent costs no attempt")
			})
		})
	}
}

// A call that is on the wire is finished, and its result stored and told, whatever ends meanwhile.
func TestACallOnTheWireIsFinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, begin := handingOver(t)
		h.vendor.sends, h.vendor.beforeAnswer = []answer{says(commands.StatusSucceeded)}, begin
		require.NoError(t, h.Handle(ctx, order("R1", "B1", "1.00")))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, commands.Announced, h.state("B1").Phase)
	})
}

func TestACallDoesNotEndWithItsHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, cancel := context.WithCancel(t.Context())
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.vendor.beforeAnswer = func() { cancel(); require.NoError(t, h.vendor.ctx.Err()) }
		require.True(t, handover.IsUnstored(h.Handle(ctx, order("R1", "B1", "1.00"))))
	})
}

// What the vendor said of a submission is on record before the question that follows is left to the next owner.
func TestWhatWasHeardIsStoredBeforeAMessageIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, m := newHouse(t), order("R1", "B1", "1.00")
		ctx, begin := handingOver(t)
		h.vendor.sends, h.vendor.beforeAnswer = []answer{says(commands.StatusRefused)}, begin
		require.ErrorIs(t, h.Handle(ctx, m), handover.ErrBegun)
		require.Zero(t, h.vendor.asked)
		require.Equal(t, commands.Refused, h.state("B1").Phase)

		h.vendor.asks, h.vendor.beforeAnswer = []answer{says(commands.StatusSucceeded)}, nil
		require.NoError(t, h.restart().Handle(t.Context(), m))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// A verdict that could not be stored is known to this process only: its message asks to be tried again.
func TestAVerdictThatIsNotStoredIsNotLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, m := newHouse(t), order("R1", "B1", "1.00")
		ctx, begin := handingOver(t)
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.vendor.beforeAnswer = func() {
			begin()
			h.store.swap = func(string, func() (idempotency.Record, error)) (idempotency.Record, error) {
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
		}
		err := h.Handle(ctx, m)
		require.ErrorIs(t, err, idempotency.ErrUnavailable)
		require.True(t, handover.IsUnstored(err))

		h.store.swap = nil
		require.NoError(t, h.Handle(ctx, m), "tried again, though the handover has begun")
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// Whoever waits for the lease of another sender leaves that to the next owner.
func TestTheWaitForALeaseEndsWithAHandover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, m := newHouse(t), order("R1", "B1", "1.00")
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		ctx, begin := handingOver(t)
		other := h.restart()
		waited := make(chan error, 1)
		h.vendor.beforeAnswer = func() {
			go func() { waited <- other.Handle(ctx, m) }()
			time.Sleep(time.Second)
			begin()
			require.ErrorIs(t, <-waited, handover.ErrBegun)
		}
		began := time.Now()
		require.NoError(t, h.Handle(t.Context(), m))
		require.Equal(t, time.Second, time.Since(began))
		require.Equal(t, 1, h.vendor.sent)
	})
}
