package dispatch_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// A "no such order" is about the moment at which the question was put. Weighed later, by a process that stood still with
// it or waited for it, it proves nothing about then.
func TestNoSuchOrderCountsFromWhenItWasAsked(t *testing.T) {
	t.Parallel()
	late := func(h *house, d time.Duration) {
		h.vendor.beforeAnswer = func() {
			if h.vendor.asked == 1 {
				time.Sleep(d)
			}
		}
	}
	for name, status := range map[string]commands.Status{"after a lost reply": commands.StatusUnclear, "after a refusal": commands.StatusRefused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.vendor.sends = []answer{{reply: commands.Reply{Status: status, Code: "-1"}}}
				if status == commands.StatusUnclear {
					h.vendor.sends = []answer{fails(commands.ClassUnknown)}
				}
				h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusSucceeded)}
				late(h, time.Minute)
				h.handle(order("R1", "B1", "1.00"))
				require.Equal(t, 1, h.vendor.sent)
				require.Equal(t, 2, h.vendor.asked, "it is asked anew")
				require.Equal(t, []string{"succeeded"}, h.log.kinds())
			})
		})
	}
}

// A copy is older news than a loss of the store, also where this process remembers that another message of the order was
// not sent.
func TestACopyBesideAMemoryIsAskedAboutAfterALoss(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.log.fail = func(stream.Message) error { return errors.New("kafka is away") }
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		h.log.fail = nil
		twin := order("R1", "B1", "1.00")
		twin.Offset++
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		h.handle(twin)
		sent := h.vendor.sent
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, sent, h.vendor.sent)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// Two messages of an order that one process takes up at one moment write two intents: that the one was not written does
// not prove that the other was not sent.
func TestTwoIntentsOfOneMomentAreTwo(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		key, twin := operation.Key(spec, "B1"), order("R1", "B1", "1.00")
		twin.Offset++
		away := true
		h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if name == key && away {
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
			return do()
		}
		require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		away = false
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.vendor.beforeAnswer = func() { // at the same moment, while the twin's submission is under way
			h.vendor.beforeAnswer = nil
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			require.Error(t, h.Handle(ctx, order("R1", "B1", "1.00")), "it waits for the twin's lease")
			require.Equal(t, 1, h.vendor.sent)
		}
		h.handle(twin)
		require.Equal(t, 1, h.vendor.sent)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// Two clocks may each be off by the tolerance, one ahead and one behind: the settle delay is as long as it says even then.
func TestTheSettleDelayAllowsForTwoClocks(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		began := time.Now()
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		for h.vendor.sent == 1 {
			h.vendor.asks = []answer{says(commands.StatusMissing)}
			h.vendor.sends = []answer{says(commands.StatusSucceeded)}
			h.handle(h.due())
		}
		require.GreaterOrEqual(t, time.Since(began), h.policy.Settle+2*h.policy.Tolerance())
	})
}

// A "no such order" from before another writer changed the record is not weighed on what that one wrote.
func TestNoSuchOrderIsNotWeighedOnAnothersRecord(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		copied := h.due()
		time.Sleep(time.Minute)
		key := operation.Key(spec, "B1")
		other := false
		h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if name == key && !other { // a process of the same order is quicker: it asks too, and is about to ask again
				other = true
				record, err := h.store.Load(context.Background(), key)
				require.NoError(t, err)
				s := h.state("B1")
				s.Tries++
				value, err := s.Encode()
				require.NoError(t, err)
				_, err = h.store.Store.Swap(context.Background(), record, value)
				require.NoError(t, err)
			}
			return do()
		}
		h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusSucceeded)}
		h.handle(copied)
		require.Equal(t, 1, h.vendor.sent)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// A message that is older than a record lives may have been executed under one that is gone: it is asked about.
func TestAMessageOlderThanARecordIsAskedAbout(t *testing.T) {
	t.Parallel()
	replayed := func(h *house, written time.Duration) stream.Message {
		h.policy.Lifetime, h.policy.Margin = 24*time.Hour, time.Hour
		h.server = memstore.NewServer(4)
		store := memstore.New(h.server, memstore.Config{})
		require.NoError(t, store.Prepare(context.Background(), false))
		h.store = &faulty{Store: store}
		h.Dispatcher = h.restart()
		m := order("R1", "B1", "1.00")
		m.Time = time.Now().Add(written)
		return m
	}
	for name, written := range map[string]time.Duration{
		"by its time": -24 * time.Hour, "by the margin of its producer's clock": -23 * time.Hour, "and its time is in the future": 2 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				m := replayed(h, written)
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
				h.handle(m)
				require.Zero(t, h.vendor.sent)
				require.Equal(t, []string{"succeeded"}, h.log.kinds())
				require.Equal(t, commands.AmountUnconfirmed, h.data(0)[commands.AmountConfirmed], "nobody knows what was submitted")
			})
		})
	}
	inBubble(t, func(h *house) { // while its record stands it is answered by that
		m := replayed(h, -24*time.Hour)
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(m)
		h.handle(m)
		require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.asked)
	})
	inBubble(t, func(h *house) {
		m := replayed(h, -22*time.Hour)
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(m)
		require.Equal(t, 1, h.vendor.sent, "a younger one is new")
	})
}

// A message that was answered from a record is renewed with it: played again, it does not outlive the record.
func TestARecordOutlivesEveryMessageThatItAnswered(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.policy.Lifetime = 24 * time.Hour
		h.server = memstore.NewServer(4)
		store := memstore.New(h.server, memstore.Config{Lifetime: h.policy.Lifetime})
		require.NoError(t, store.Prepare(context.Background(), false))
		h.store = &faulty{Store: store}
		h.Dispatcher = h.restart()
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		time.Sleep(20 * time.Hour)
		second, other := order("R2", "B1", "1.00"), order("R3", "B1", "2.00")
		second.Time, other.Time = time.Now(), time.Now()
		h.handle(second)
		time.Sleep(20 * time.Hour)
		h.handle(second)
		h.handle(other)
		require.Equal(t, 1, h.vendor.sent)
		require.Equal(t, []string{"succeeded", "duplicate", "duplicate", "rejected"}, h.log.kinds())
	})
}

// What this process did to an order it remembers through every retry of the message, whatever the store says then.
func TestWhatWasDoneIsRememberedThroughRetries(t *testing.T) {
	t.Parallel()
	key := operation.Key(spec, "B1")
	fail := func(h *house, phase commands.Phase, landed bool) {
		h.store.swapped = func(name string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if s, err := commands.DecodeState(value); name == key && err == nil && s.Phase == phase {
				if landed {
					_, _ = do()
				}
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
			return do()
		}
	}
	for name, back := range map[string]func(*house){
		"the store is as it was":    func(*house) {},
		"the store went back":       func(h *house) { h.drop(key) },
		"the store lost its memory": func(h *house) { h.server.Forget() },
	} {
		for _, answered := range []answer{says(commands.StatusSucceeded), says(commands.StatusFailed)} {
			t.Run(name+", "+answered.reply.Status.String(), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(h *house) {
					fail(h, commands.Settled, false)
					h.vendor.sends = []answer{answered}
					for range 3 {
						require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
						back(h)
					}
					h.store.swapped = nil
					h.handle(order("R1", "B1", "1.00"))
					require.Equal(t, []string{answered.reply.Status.String()}, h.log.kinds())
					require.Zero(t, h.vendor.asked, "its word is known")
				})
			})
		}
		t.Run(name+", the reply was lost", func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) { // and the copy that would ask about it cannot be parked
				began := time.Now()
				h.log.fail = func(stream.Message) error { return errors.New("kafka is away") }
				h.vendor.sends = []answer{fails(commands.ClassUnknown)}
				for range 3 {
					h.vendor.asks = []answer{says(commands.StatusMissing)}
					require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
					back(h)
				}
				h.log.fail = nil
				h.vendor.asks = []answer{says(commands.StatusMissing)}
				h.handle(order("R1", "B1", "1.00"))
				require.Equal(t, 1, h.vendor.sent, "it is asked about until the settle delay is over")
				require.Less(t, time.Since(began), h.policy.Settle)
			})
		})
		t.Run(name+", another request of the order comes", func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				fail(h, commands.Settled, false)
				h.vendor.sends = []answer{says(commands.StatusSucceeded)}
				require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
				back(h)
				twin := order("R2", "B1", "1.00")
				twin.Offset++
				h.handle(twin)
				require.Equal(t, []string{"duplicate"}, h.log.kinds())
				h.store.swapped = nil
				h.handle(order("R1", "B1", "1.00"))
				require.Equal(t, []string{"duplicate", "succeeded"}, h.log.kinds())
			})
		})
	}
}

// A submission that was proven not to have left costs nothing, in this process and, by its parked copy, in another one.
func TestWhatWasNotSentCostsNothing(t *testing.T) {
	t.Parallel()
	key := operation.Key(spec, "B1")
	inBubble(t, func(h *house) { // the copy is parked, and its count cannot be stored
		h.store.swapped = func(name string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if s, err := commands.DecodeState(value); name == key && err == nil && s.Phase == commands.Waiting {
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
			return do()
		}
		for range 5 {
			h.vendor.sends = []answer{fails(commands.ClassRetryable)}
			if len(h.log.messages) == 0 {
				h.handle(order("R1", "B1", "1.00"))
			} else {
				h.handle(h.due())
			}
			h.Dispatcher = h.restart()
		}
		require.Zero(t, h.vendor.asked, "the copy proves that the submission on record did not leave")
		require.Len(t, h.log.topic("withhold.request.delay."), 5)
		h.store.swapped = nil
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.state("B1").Sends)
	})
	inBubble(t, func(h *house) { // while the process is not fit to call, nothing is sent, asked or parked
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		copied := h.due()
		unfit := true
		h.fit = func() error {
			if unfit {
				return errors.New("the replica is away")
			}
			return nil
		}
		h.Dispatcher = h.restart()
		for range 10 {
			require.ErrorContains(t, h.Handle(context.Background(), copied), "the replica is away")
			require.ErrorContains(t, h.Handle(context.Background(), order("R2", "B2", "1.00")), "the replica is away")
		}
		require.Equal(t, 1, h.vendor.sent)
		require.Equal(t, 1, h.vendor.asked)
		require.Len(t, h.log.messages, 1)
		record, err := h.store.Load(context.Background(), operation.Key(spec, "B2"))
		require.NoError(t, err)
		require.Zero(t, record.Version, "not even the intent is stored")
		unfit = false
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(copied)
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R2", "B2", "1.00"))
		require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.state("B2").Sends)
	})
	inBubble(t, func(h *house) { // it became unfit between its intent and its call
		unfit := false
		h.fit = func() error {
			if unfit {
				return errors.New("the clock was set")
			}
			return nil
		}
		h.Dispatcher = h.restart()
		h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			unfit = name == key
			return do()
		}
		require.ErrorContains(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), "the clock was set")
		require.Zero(t, h.vendor.sent)
		h.store.swap, unfit = nil, false
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, 1, h.state("B1").Sends)
		require.Empty(t, h.log.topic("withhold.request.delay."))
	})
}

// A machine that was suspended has a monotonic clock that stood still: the wall clock tells that the lease is over.
func TestASuspendedMachineDoesNotSend(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		var slept time.Duration
		h.now = func() time.Time { return time.Now().Add(slept).Round(0) }
		h.Dispatcher = h.restart()
		h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			record, err := do()
			if strings.HasPrefix(name, "o:") && slept == 0 {
				slept = time.Minute
			}
			return record, err
		}
		h.handle(order("R1", "B1", "1.00"))
		require.Zero(t, h.vendor.sent)
	})
}

// A parked copy that knows of more submissions than the record, or of a later one, wins: by asking.
func TestAParkedCopyThatKnowsMoreThanTheRecord(t *testing.T) {
	t.Parallel()
	key := operation.Key(spec, "B1")
	rewound := func(h *house, to int) stream.Message { // to the record's first states
		h.policy.MaxSends = 3
		h.Dispatcher = h.restart()
		var written [][]byte
		h.store.swapped = func(name string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if name == key {
				written = append(written, value)
			}
			return do()
		}
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		for h.vendor.sent == 1 {
			h.vendor.asks = []answer{says(commands.StatusMissing), fails(commands.ClassUnknown)}
			h.vendor.sends = []answer{fails(commands.ClassUnknown)}
			h.handle(h.due())
		}
		h.store.swapped = nil
		h.drop(key)
		if to > 0 {
			_, err := h.store.Store.Swap(context.Background(), h.store.Expect(key), written[to-1])
			require.NoError(t, err)
		}
		return h.due()
	}
	for to := range 3 {
		inBubble(t, func(h *house) {
			copied := rewound(h, to)
			sent := h.vendor.sent
			h.vendor.asks = []answer{says(commands.StatusMissing)}
			h.Dispatcher = h.restart()
			h.handle(copied)
			require.Equal(t, sent, h.vendor.sent, "the settle delay runs from the submission that the copy knows of, record %d", to)
			h.vendor.asks = []answer{says(commands.StatusSucceeded)}
			h.handle(h.due())
			require.Equal(t, []string{"succeeded"}, h.log.kinds())
			require.Equal(t, 2, h.state("B1").Sends)
		})
	}
}

// A message of a lost bucket is answered like any other: a new order that is sent twice gets two answers, at once where
// the first has its verdict.
func TestEveryCommandEndsInAnEventAfterALoss(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		for h.vendor.sent == 0 {
			h.vendor.asks = []answer{says(commands.StatusMissing)}
			h.vendor.sends = []answer{says(commands.StatusSucceeded)}
			h.handle(h.due())
		}
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		asked := h.vendor.asked
		h.handle(order("R1", "B1", "1.00"))
		h.handle(order("R2", "B1", "1.00"))
		require.Equal(t, []string{"succeeded", "succeeded", "duplicate"}, h.log.kinds())
		require.Equal(t, asked, h.vendor.asked, "its record stands: nobody is asked")
	})
	inBubble(t, func(h *house) { // another process settles it between the look and the answer
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.vendor.beforeAnswer = func() {
			h.vendor.beforeAnswer = nil
			h.vendor.asks = append(h.vendor.asks, says(commands.StatusSucceeded))
			require.NoError(t, h.restart().Handle(context.Background(), order("R1", "B1", "1.00")))
		}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
	})
}

// A requestId that was used before is a question for the vendor only where the message may be from before the loss.
func TestOnlyMessagesFromBeforeALossAreInDoubt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		written time.Duration
		doubt   bool
	}{
		"written before it": {-time.Second, true}, "by the producer's clock just after it": {30 * time.Second, true},
		"written after it": {2 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.policy.Margin = time.Minute
				h.Dispatcher = h.restart()
				h.server.Forget()
				lost := time.Now()
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
				h.handle(order("R1", "B1", "1.00"))
				time.Sleep(5 * time.Minute)
				m := order("R1", "B2", "1.00")
				m.Time = lost.Add(c.written)
				h.handle(m)
				require.Equal(t, "request_reused", h.data(1)["reason"])
				require.Equal(t, c.doubt, strings.Contains(h.data(1)["message"], "ask the vendor"))
			})
		})
	}
}

// What the vendor says about something else than was ordered settles nothing, on whatever way it comes.
func TestAReplyAboutSomethingElseSettlesNothing(t *testing.T) {
	t.Parallel()
	other := answer{reply: commands.Reply{Status: commands.StatusSucceeded, Code: "1", Fields: map[string]string{"pay_order_no": "P1", "pay_type": "201"}}}
	inBubble(t, func(h *house) { // the answer, after a loss
		h.server.Forget()
		h.vendor.asks = []answer{other}
		h.handle(order("R1", "B1", "1.00"))
		require.Empty(t, h.log.kinds())
	})
	inBubble(t, func(h *house) { // the reply to a submission
		h.vendor.sends = []answer{other}
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, "101", h.data(0)["pay_type"])
	})
	inBubble(t, func(h *house) { // another number than the vendor gave it before
		h.vendor.sends = []answer{says(commands.StatusPending)}
		h.handle(order("R1", "B1", "1.00"))
		strange := says(commands.StatusSucceeded)
		strange.reply.Fields = map[string]string{"pay_order_no": "P2"}
		h.vendor.asks = []answer{strange}
		h.handle(h.due())
		require.Equal(t, []string{"pending"}, h.log.kinds())
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, []string{"pending", "succeeded"}, h.log.kinds())
	})
}

// Every rejection names the message that it is about.
func TestARejectionNamesItsMessage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.handle(order("R3", "B1", "2.00"))
		require.Equal(t, "withhold.request/2/7", h.data(1)["origin"])
	})
}

// What this process heard counts, too, when the store goes back in time in the middle of its work.
func TestAConflictWithAnOlderRecordForgetsNothing(t *testing.T) {
	t.Parallel()
	key := operation.Key(spec, "B1")
	inBubble(t, func(h *house) {
		var intent []byte
		h.store.swapped = func(name string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if name == key && intent == nil {
				intent = value
			}
			return do()
		}
		h.vendor.sends = []answer{{reply: commands.Reply{Status: commands.StatusRefused, Code: "-1"}}}
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		copied := h.due()
		time.Sleep(time.Minute)
		back := false
		h.store.swapped = func(name string, _ []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if name == key && !back { // to the intent to send
				back = true
				h.drop(key)
				_, err := h.store.Store.Swap(context.Background(), h.store.Expect(key), intent)
				require.NoError(t, err)
			}
			return do()
		}
		h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusMissing)}
		h.handle(copied)
		require.Equal(t, 1, h.vendor.sent, "the refusal is known")
		require.Equal(t, []string{"failed"}, h.log.kinds())
	})
}

// An order that names no account keeps the one that was the default when it began: another one would not know it.
func TestAnOrderKeepsTheAccountThatItBeganWith(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		fallback := "east"
		h.route.Account = func(word string) string {
			if word == "" {
				return fallback
			}
			return word
		}
		h.Dispatcher = h.restart()
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, "east", h.state("B1").Account)
		fallback = "west"
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, "east", h.vendor.account)
	})
}

// What a schema cannot see is refused by the adapter's check.
func TestACommandThatTheAdapterRefusesIsRejected(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.route.Check = func(commands.Command) error { return errors.New("account: is not one of the configured accounts") }
		h.Dispatcher = h.restart()
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"rejected"}, h.log.kinds())
		require.Contains(t, h.data(0)["message"], "account: is not one")
	})
}

// The claim of a requestId is a witness of its own: it tells another content apart though the order's record is gone.
func TestAClaimComparesTheContent(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.drop(operation.Key(spec, "B1"))
		h.handle(order("R1", "B1", "2.00"))
		require.Equal(t, []string{"succeeded", "rejected"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
}

// Two messages of one order that a process takes up at one moment are two senders: that the one did not send says nothing
// of the other.
func TestTwoMessagesOfOneProcessAreTwoSenders(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		key := operation.Key(spec, "B1")
		h.store.swap = func(name string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if name != key {
				return do()
			}
			h.store.swap = nil // the twin's intent lands, and it sends; the reply to this one's write is lost
			twin := order("R1", "B1", "1.00")
			twin.Partition++
			h.vendor.sends = []answer{fails(commands.ClassUnknown)}
			h.vendor.asks = []answer{fails(commands.ClassUnknown)}
			h.log.fail = func(stream.Message) error { return errors.New("kafka is away") }
			require.Error(t, h.Handle(context.Background(), twin))
			h.log.fail = nil
			return idempotency.Record{}, idempotency.ErrUnavailable
		}
		require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		require.NoError(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		require.Equal(t, 1, h.vendor.sent)
	})
}

// A process that becomes unfit in the middle of a message stores no intent, and puts no question.
func TestAProcessThatBecomesUnfitInTheMiddle(t *testing.T) {
	t.Parallel()
	once := func(h *house) {
		calls := 0
		h.fit = func() error {
			if calls++; calls > 1 {
				return errors.New("the clock was set")
			}
			return nil
		}
		h.Dispatcher = h.restart()
	}
	inBubble(t, func(h *house) {
		once(h)
		require.ErrorContains(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), "the clock was set")
		record, err := h.store.Load(context.Background(), operation.Key(spec, "B1"))
		require.NoError(t, err)
		require.Zero(t, record.Version)
	})
	inBubble(t, func(h *house) {
		copied := h.parkedCopy("B1")
		once(h)
		require.ErrorContains(t, h.Handle(context.Background(), copied), "the clock was set")
		require.Equal(t, 1, h.vendor.asked)
	})
}

// A verdict that could not be published is told by the retry of its message, though another order took its requestId when
// the store had forgotten the first.
func TestAClaimThatWasGoodStaysGood(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.log.fail = func(stream.Message) error { return errors.New("kafka is away") }
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		h.log.fail = nil
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		thief := order("R1", "B2", "1.00")
		thief.Offset++
		h.handle(thief)
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
		require.Equal(t, "B1", h.data(1)["biz_order_no"])
	})
}

// What this process remembers of one content of an order is no news about another one, whether that one is on record or in
// a parked copy alone.
func TestAMemoryIsOfOneContent(t *testing.T) {
	t.Parallel()
	key := operation.Key(spec, "B1")
	for name, lost := range map[string]bool{"the other one is on record": false, "the other one is in its copy alone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.store.swapped = func(name string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
					if s, err := commands.DecodeState(value); name == key && err == nil && s.Phase == commands.Settled {
						return idempotency.Record{}, idempotency.ErrUnavailable
					}
					return do()
				}
				h.vendor.sends = []answer{says(commands.StatusFailed)}
				require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
				h.store.swapped = nil
				h.drop(key) // the store went back, and another process takes up another content
				h.vendor.sends = []answer{says(commands.StatusPending)}
				other := order("R2", "B1", "2.00")
				other.Offset++
				require.NoError(t, h.restart().Handle(context.Background(), other))
				if lost {
					h.drop(key)
				}
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
				h.handle(h.due())
				require.Equal(t, []string{"pending", "succeeded"}, h.log.kinds())
				require.Equal(t, "2.00", h.data(1)["amount"])
				require.Equal(t, "R2", h.data(1)["requestId"])
			})
		})
	}
}
