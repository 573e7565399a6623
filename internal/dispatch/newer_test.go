package dispatch_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
)

// rewrite puts another value where an order's record stands, as another process does.
func (h *house) rewrite(biz string, change func([]byte) []byte) {
	h.t.Helper()
	record, err := h.store.Load(h.t.Context(), operation.Key(spec, commands.OperationKey(biz)))
	require.NoError(h.t, err)
	_, err = h.store.Swap(h.t.Context(), record, change(bytes.Clone(record.Value)))
	require.NoError(h.t, err)
}

func replacing(was, is string) func([]byte) []byte {
	return func(value []byte) []byte { return bytes.Replace(value, []byte(was), []byte(is), 1) }
}

// An operation in a phase of a newer version waits with its key: it is neither buried nor sent, asked about or told.
func TestANewerVersionsOperationWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		waits := 0
		h.Observe.Waits = func(topic string) { require.Equal(t, spec.Topic, topic); waits++ }
		m := order("R1", "B1", "1.00")
		h.vendor.sends = []answer{says(commands.StatusPending)}
		h.handle(m)
		copied := h.due()
		told, sent, asked := len(h.log.messages), h.vendor.sent, h.vendor.asked

		h.rewrite("B1", replacing(`"phase":"pending"`, `"phase":"held"`))
		require.ErrorIs(t, h.Handle(t.Context(), m), commands.ErrNewer)
		require.ErrorIs(t, h.Handle(t.Context(), copied), commands.ErrNewer)
		require.Equal(t, 2, waits)
		require.Len(t, h.log.messages, told)
		require.Equal(t, []int{sent, asked}, []int{h.vendor.sent, h.vendor.asked})

		h.rewrite("B1", replacing(`"phase":"held"`, `"phase":"pending"`)) // the newer version went on
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(copied)
		require.Equal(t, []string{"pending", "succeeded"}, h.log.kinds())
	})
}

// What a newer version added is there after every write of this one, in records and in parked copies.
func TestWhatANewerVersionAddedStays(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		const added = `"later":{ "a": [1, 2.50]}`
		carried := func(value []byte) bool { return bytes.Contains(value, []byte(added)) }
		h.vendor.sends = []answer{says(commands.StatusPending)}
		h.handle(order("R1", "B1", "1.00"))
		h.rewrite("B1", replacing(`"phase":`, added+`,"phase":`))

		h.vendor.asks = []answer{says(commands.StatusPending), says(commands.StatusSucceeded)}
		h.store.swapped = func(key string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			require.True(t, carried(value), "%s: %s", key, value)
			return do()
		}
		h.handle(h.due())
		copied := h.due()
		state, _ := copied.Header(operation.HeaderState)
		require.True(t, carried(state))
		h.server.Forget()
		h.handle(copied)
		require.Equal(t, commands.Announced, h.state("B1").Phase)
		require.NotEmpty(t, h.log.topic(spec.ResultTopic))
	})
}
