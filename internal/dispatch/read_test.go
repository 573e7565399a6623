package dispatch_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/schemas"
)

// asking makes the house's dispatcher one of questions about flows.
func (h *house) asking() {
	h.t.Helper()
	ring, err := commands.NewKeyring([]byte("0123456789abcdef"))
	require.NoError(h.t, err)
	driver, err := operation.New(operation.Config{
		Keys: ring, Store: h.store, Publisher: h.log, Asker: h.vendor, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler),
		Policy: commands.Policy{Spec: catalog.IdentityPoll(), Owner: "p1", Deadline: time.Hour, Tiers: []time.Duration{time.Second}},
	})
	require.NoError(h.t, err)
	set, err := schemas.Load()
	require.NoError(h.t, err)
	h.Dispatcher = dispatch.New(dispatch.Config{
		Routes: []dispatch.Route{{Driver: driver}}, Store: h.store, Publisher: h.log, Validator: set, Fingerprints: ring,
		MaxBytes: 4096, Logger: slog.New(slog.DiscardHandler),
	})
}

// flowSays is the vendor's answer about a flow.
func flowSays(s commands.Status) answer {
	return answer{reply: commands.Reply{Status: s, Code: "0", Fields: map[string]string{"process": "CREATED"}}}
}

func question(request, flow string) stream.Message {
	value := fmt.Sprintf(`{"requestId":%q,"flowId":%q}`, request, flow)
	return stream.Message{Topic: "identity.poll", Key: []byte(flow), Value: []byte(value), Time: time.Now()}
}

func (h *house) told() []string {
	var kinds []string
	for _, m := range h.log.topic("identity.result") {
		kind, _ := m.Header("ce_type")
		kinds = append(kinds, string(kind))
	}
	return kinds
}

// A question that was answered is not put again: whoever asks the same gets the same event, byte for byte, and another
// request is told of the first.
func TestAnAnsweredQuestionIsNotPutAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.asking()
		h.vendor.asks = []answer{flowSays(commands.StatusSucceeded)}
		h.handle(question("R1", "F1"))
		time.Sleep(time.Minute)
		h.handle(question("R1", "F1"))
		h.handle(question("R2", "F1"))
		require.Equal(t, []string{"identity.answered.v1", "identity.answered.v1", "identity.duplicate.v1"}, h.told())
		all := h.log.topic("identity.result")
		require.Equal(t, all[0], all[1], "byte for byte")
		require.Equal(t, 1, h.vendor.asked)
	})
}

// A question that was parked goes on where it stands when its command comes again, and is answered once.
func TestAParkedQuestionThatComesAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.asking()
		h.vendor.asks = []answer{flowSays(commands.StatusPending), flowSays(commands.StatusPending), flowSays(commands.StatusSucceeded)}
		h.handle(question("R1", "F1"))
		h.handle(question("R1", "F1"))
		require.Equal(t, []string{"identity.pending.v1"}, h.told(), "what was told is not told again")
		parked := h.log.topic("identity.poll.delay.1s")
		require.Len(t, parked, 2)
		time.Sleep(2 * time.Second)
		for _, m := range parked {
			require.NoError(t, h.Handle(context.Background(), m))
		}
		require.Equal(t, []string{"identity.pending.v1", "identity.answered.v1"}, h.told())
	})
}
