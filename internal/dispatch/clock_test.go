package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// setsClock lets the process' clock be set by so much in the middle of its next call of the vendor. It returns what sets
// it right.
func (h *house) setsClock(by time.Duration) func() {
	var off time.Duration
	h.now = func() time.Time { return time.Now().Add(off).Round(0) }
	h.fit = func() error {
		if off != 0 {
			return &idempotency.Unfit{Reason: idempotency.UnfitClockStep, Text: "the clock was set"}
		}
		return nil
	}
	h.vendor.beforeAnswer = func() { off = by }
	h.Dispatcher = h.restart()
	return func() { off, h.vendor.beforeAnswer = 0, nil }
}

// A clock that was set while the vendor was called gives nothing up and parks nothing. What was heard is kept: when the
// clock is right again the order goes on from there.
func TestAClockThatIsSetInMidCallEndsNothing(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]time.Duration{
		"beyond the deadline": 2 * time.Hour, "not beyond it": time.Minute, "back": -time.Minute,
	} {
		for _, first := range []commands.Class{commands.ClassRetryable, commands.ClassUnknown} {
			t.Run(name+", "+first.String(), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(h *house) {
					right := h.setsClock(by)
					h.vendor.sends, h.vendor.asks = []answer{fails(first)}, []answer{fails(commands.ClassUnknown)}
					m := order("R1", "B1", "1.00")
					require.ErrorContains(t, h.Handle(context.Background(), m), "the clock was set")
					require.Empty(t, h.log.messages)
					known := map[commands.Class]commands.Phase{commands.ClassRetryable: commands.Waiting, commands.ClassUnknown: commands.Asking}
					require.Equal(t, known[first], h.state("B1").Phase, "the next owner goes on from there")

					right()
					if first == commands.ClassRetryable { // it is known not to have been sent
						h.vendor.sends = []answer{fails(first)}
					}
					h.handle(m)
					require.Empty(t, h.log.kinds())
					require.False(t, h.state("B1").SentAt.After(time.Now().Add(h.policy.Lease)), "it would be settled too late")
					h.vendor.sends, h.vendor.asks = []answer{says(commands.StatusSucceeded)}, []answer{says(commands.StatusSucceeded)}
					h.handle(h.due())
					require.Equal(t, []string{"succeeded"}, h.log.kinds())
				})
			})
		}
	}
}

// What is pending is told, and not parked until a wrong time.
func TestAWrongClockParksNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.setsClock(time.Minute)
		h.vendor.sends = []answer{says(commands.StatusPending)}
		require.ErrorContains(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), "the clock was set")
		require.Equal(t, []string{"pending"}, h.log.kinds())
		require.Empty(t, h.log.topic("withhold.request.delay."))
	})
}

// A verdict is one by any clock.
func TestAVerdictIsTakenByAWrongClock(t *testing.T) {
	t.Parallel()
	for kind, heard := range map[string]answer{
		"succeeded": says(commands.StatusSucceeded), "failed": fails(commands.ClassPermanent),
	} {
		for _, by := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
			t.Run(fmt.Sprint(kind, by), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(h *house) {
					h.setsClock(by)
					h.vendor.sends = []answer{heard}
					h.handle(order("R1", "B1", "1.00"))
					require.Equal(t, []string{kind}, h.log.kinds())
				})
			})
		}
	}
}

// A verdict that meets a lost record while the clock is wrong is told when the clock is right, without another question.
func TestAVerdictOutlastsAWrongClock(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		right := h.setsClock(time.Hour)
		set := h.vendor.beforeAnswer
		h.vendor.beforeAnswer = func() {
			h.drop(operation.Key(spec, "B1"))
			set()
		}
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		m := order("R1", "B1", "1.00")
		require.ErrorContains(t, h.Handle(context.Background(), m), "the clock was set")
		right()
		h.handle(m)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, []int{1, 0}, []int{h.vendor.sent, h.vendor.asked})
	})
}

// A clock that could not be compared lately is not known to be wrong: while the store is away orders are parked.
func TestWhatCannotBeComparedIsNotWrong(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		var reason string
		h.fit = func() error {
			if reason == "" {
				return nil
			}
			return &idempotency.Unfit{Reason: reason, Text: "Redis does not answer"}
		}
		h.Dispatcher = h.restart()
		h.vendor.beforeAnswer = func() { reason = idempotency.UnfitClockUnknown }
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		h.handle(order("R1", "B1", "1.00"))
		require.Len(t, h.log.topic("withhold.request.delay."), 1)
	})
}

// A clock that was set back while the vendor was called does not make the call's end earlier: the settle delay counts
// from there.
func TestAClockThatIsSetBackInMidCallShortensNoSettleDelay(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		right := h.setsClock(-time.Hour)
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		set := h.vendor.beforeAnswer
		h.vendor.beforeAnswer = func() {
			time.Sleep(3 * time.Second)
			set()
		}
		m := order("R1", "B1", "1.00")
		require.Error(t, h.Handle(context.Background(), m))
		ended := time.Now()

		right()
		h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusMissing)}
		time.Sleep(h.policy.Settle - time.Second)
		h.handle(m)
		require.Equal(t, 1, h.vendor.sent)
		require.False(t, h.state("B1").SentAt.Before(ended))
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, 2, h.vendor.sent)
	})
}

// A loss that is found while the clock is ahead is not dated by it: a "no such order" would not count until that date.
func TestALossIsNotDatedByAWrongClock(t *testing.T) {
	t.Parallel()
	key := operation.Key(spec, "B1")
	for name, prepare := range map[string]func(h *house) (copied stream.Message, right func()){
		"when the copy is taken up": func(h *house) (stream.Message, func()) {
			copied := h.parkedCopy("B1")
			right := h.setsClock(time.Hour)
			h.vendor.beforeAnswer()
			h.drop(key)
			return copied, right
		},
		"when the intent is stored": func(h *house) (stream.Message, func()) {
			h.vendor.sends = []answer{fails(commands.ClassRetryable)}
			h.handle(order("R1", "B1", "1.00"))
			copied := h.due()
			right := h.setsClock(time.Hour)
			set := h.vendor.beforeAnswer
			h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
				if name == key {
					h.drop(key)
					set()
				}
				return do()
			}
			return copied, right
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				copied, right := prepare(h)
				require.ErrorContains(t, h.Handle(context.Background(), copied), "the clock was set")
				right()
				h.store.swap = nil
				h.vendor.asks = []answer{says(commands.StatusMissing)}
				h.handle(copied)
				require.False(t, h.state("B1").SentAt.After(time.Now().Add(h.policy.Lease)))
			})
		})
	}
}
