package dispatch_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// back takes the store back to a moment, as a restart from a snapshot or a failover to a replica that lagged does.
func (h *house) back(since func()) {
	then := h.server.Snapshot()
	since()
	h.server.Restart(then)
}

// What was done in the part that is lost is not done again: not for the message itself, redelivered to whoever lives, nor
// for another one of its order.
func TestAStoreThatWentBackIsAskedAround(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]string{"its own message": "R1", "a later one of the order": "R2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.policy.BackWindow = time.Minute
				h.Dispatcher = h.restart()
				h.vendor.sends = []answer{says(commands.StatusSucceeded)}
				first := order("R1", "B1", "1.00")
				h.back(func() { h.handle(first) })
				h.Dispatcher = h.restart()
				time.Sleep(5 * time.Second)
				second := order(again, "B1", "1.00")
				if again == "R1" {
					second = first
				}
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
				h.handle(second)
				require.Equal(t, 1, h.vendor.sent)
				require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
			})
		})
	}
}

// A record that stands may be older than what was sent: a submission that it knows nothing of may have left.
func TestARecordFromBeforeAStepBackIsDoubted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, commands.Waiting, h.state("B1").Phase)
		copied := h.due()
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.back(func() { h.handle(copied) })
		h.Dispatcher = h.restart()
		lost := time.Now()
		h.vendor.asks = []answer{says(commands.StatusMissing)} // it is hidden yet
		h.handle(copied)
		require.Equal(t, 2, h.vendor.sent)
		require.Equal(t, commands.Asking, h.state("B1").Phase)
		require.True(t, lost.Add(h.policy.Lease).Equal(h.state("B1").SentAt), "who stored an intent just before may be at it")

		h.vendor.asks = []answer{says(commands.StatusMissing)} // it never was there: what stands was written since
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, 3, h.vendor.sent)
	})
	inBubble(t, func(h *house) { // by whoever knows of the step before it reads
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		h.handle(order("R1", "B1", "1.00"))
		h.back(func() {})
		require.NoError(t, h.store.Store.(interface{ Look(context.Context) error }).Look(context.Background()))
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(h.due())
		require.Equal(t, []int{1, 1}, []int{h.vendor.sent, h.vendor.asked})
	})
	inBubble(t, func(h *house) { // a verdict stays one
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.back(func() {})
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
		require.Zero(t, h.vendor.asked)
	})
}

// A process stood still with its intent, another one asked and sent, and both are lost: that its own submission did not
// leave says nothing of the other one.
func TestAnUnsentIntentBeforeAStepBackProvesNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		key, m := operation.Key(spec, "B1"), order("R1", "B1", "1.00")
		then := h.server.Snapshot()
		other := h.restart()
		stood := false
		h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			record, err := do()
			if name == key && !stood {
				stood = true
				time.Sleep(h.policy.Lease)
				h.vendor.asks = []answer{says(commands.StatusMissing)}
				require.NoError(t, other.Handle(context.Background(), m)) // parks
				copied := h.due()
				h.vendor.asks = []answer{says(commands.StatusMissing)}
				h.vendor.sends = []answer{says(commands.StatusSucceeded)}
				require.NoError(t, other.Handle(context.Background(), copied))
				h.server.Restart(then)
			}
			return record, err
		}
		h.vendor.beforeAnswer = func() {
			if h.vendor.sent == 1 && len(h.vendor.asks)+len(h.vendor.sends) == 0 {
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
			}
		}
		h.handle(m)
		h.handle(h.due())
		require.Equal(t, 1, h.vendor.sent)
	})
}

// What was written after the step may be an order of before, ordered again. It waits until a charge of before can no longer
// be hidden, is asked about once without waiting for the rest of the window, and simply sent after that.
func TestWhatIsWrittenAfterAStepBackIsAskedAbout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.policy.Margin, h.policy.BackWindow = time.Hour, time.Minute
		h.Dispatcher = h.restart()
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		for _, no := range []string{"A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8"} { // every bucket is known to have gone back
			h.vendor.sends, h.vendor.asks = []answer{says(commands.StatusSucceeded)}, nil
			h.handle(order(no, no, "1.00"))
		}
		sent := h.vendor.sent
		h.back(func() {})
		require.NoError(t, h.store.Store.(interface{ Look(context.Context) error }).Look(context.Background()))
		written := time.Now()
		time.Sleep(h.policy.Settle / 10)

		h.vendor.asks = []answer{says(commands.StatusMissing)}
		early := order("R1", "B1", "1.00")
		early.Time = written
		h.handle(early)
		require.Equal(t, []int{sent, 1}, []int{h.vendor.sent, h.vendor.asked}, "written before, by clocks that may be off: it waits")

		time.Sleep(time.Millisecond)
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R2", "B2", "1.00"))
		require.Equal(t, []int{sent, 2}, []int{h.vendor.sent, h.vendor.asked}, "written since, within moments: it waits")

		time.Sleep(h.policy.Lease + h.policy.Settle + 2*h.policy.Tolerance())
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R3", "B3", "1.00"))
		require.Equal(t, []int{sent + 1, 3}, []int{h.vendor.sent, h.vendor.asked}, "written since, later: one question, and no delay")

		time.Sleep(time.Minute)
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R4", "B4", "1.00"))
		require.Equal(t, []int{sent + 2, 3}, []int{h.vendor.sent, h.vendor.asked}, "the window is over")
	})
}

// A requestId that another content has since the step: whether this message was executed before is not known.
func TestAReusedRequestAfterAStepBack(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		first := order("R1", "B1", "1.00")
		h.back(func() { h.handle(first) })
		require.NoError(t, h.store.Store.(interface{ Look(context.Context) error }).Look(context.Background()))
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B2", "1.00"))
		h.Dispatcher = h.restart()
		h.handle(first)
		require.Equal(t, []string{"succeeded", "succeeded", "rejected"}, h.log.kinds())
		require.Contains(t, h.data(2)["message"], "ask the vendor")
	})
}

// A record from before a step back may count a later copy that was handled in the part that is lost, so the copy at hand is
// not dropped because of it.
func TestNoCopyIsDroppedOnTheWordOfAnotherPast(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends, h.vendor.asks = []answer{fails(commands.ClassUnknown)}, []answer{fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		copied := h.due()
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(copied) // there is a later copy now
		h.server.Restart(h.server.Snapshot())
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(copied) // dropped: this process has not seen the step back yet
		require.Len(t, h.log.topic("withhold.request.delay."), 2)
		require.NoError(t, h.store.Store.(interface{ Look(context.Context) error }).Look(context.Background()))
		h.handle(copied)
		require.Len(t, h.log.topic("withhold.request.delay."), 3)
	})
}

// A verdict whose record is lost before the note that it is out gets its record back: else the order would be new.
func TestALostVerdictIsPutBack(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.log.fail = func(m stream.Message) error {
			if m.Topic == "withhold.result" {
				h.drop(operation.Key(spec, "B1"))
			}
			return nil
		}
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, commands.Announced, h.state("B1").Phase)
		h.log.fail = nil
		h.handle(order("R2", "B1", "1.00"))
		require.Equal(t, []string{"succeeded", "duplicate"}, h.log.kinds())
	})
}
