package dispatch_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/schemas"
)

// limited is a log whose topics with this prefix take messages of at most limit bytes.
func limited(limit int, prefix string) func(stream.Message) error {
	return func(m stream.Message) error {
		n := len(m.Key) + len(m.Value)
		for _, h := range m.Headers {
			n += len(h.Key) + len(h.Value)
		}
		if n > limit && strings.HasPrefix(m.Topic, prefix) {
			return fmt.Errorf("%d bytes: %w", n, stream.ErrTooLarge)
		}
		return nil
	}
}

func (h *house) validResults() {
	h.t.Helper()
	set, err := schemas.Load()
	require.NoError(h.t, err)
	for _, m := range h.log.topic("withhold.result") {
		require.NoError(h.t, set.Validate("withhold.result", m.Value))
	}
}

// A dead letter loses the sender's headers, then the key, then the value, until the log takes it, and says so.
func TestADeadLetterShedsUntilItFits(t *testing.T) {
	t.Parallel()
	const limit = 200_000
	header := func(name string, n int) stream.Header {
		return stream.Header{Key: name, Value: bytes.Repeat([]byte("h"), n)}
	}
	trace := order("R1", "B1", "1.00").Headers[0]
	for name, c := range map[string]struct {
		limit           int
		message         stream.Message
		shed, truncated string
		key, value      int // what is left of them
		headers         int // of the sender's, the trace included
	}{
		"all fits":               {limit, stream.Message{Key: []byte("k"), Value: []byte("{}"), Headers: []stream.Header{trace, header("x", 9)}}, "", "", 1, 2, 2},
		"large headers":          {limit, stream.Message{Key: []byte("k"), Value: []byte("{}"), Headers: []stream.Header{header("x", limit-20), trace, header("y", 1)}}, `2 headers, 199983 bytes`, "", 1, 2, 1},
		"a large key":            {limit, stream.Message{Key: make([]byte, limit-10), Value: []byte("{}"), Headers: []stream.Header{trace}}, "", "key of 199990 bytes, sha256 ", 0, 2, 1},
		"a large value":          {limit, stream.Message{Key: []byte("k"), Value: make([]byte, limit), Headers: []stream.Header{trace}}, "", "key of 1 bytes, sha256 [0-9a-f]{64}; value of 200000 bytes, sha256 ", 0, 64 << 10, 1},
		"all are large":          {limit, stream.Message{Key: make([]byte, limit), Value: make([]byte, limit), Headers: []stream.Header{trace, header("x", limit)}}, "1 headers, 200001 bytes", "key of 200000 .*; value of 200000 ", 0, 64 << 10, 1},
		"a log that takes less":  {3000, stream.Message{Key: make([]byte, 5000), Value: make([]byte, 50000), Headers: []stream.Header{trace, header("x", 5000)}}, "1 headers", "key of 5000 .*; value of 50000 ", 0, 1 << 10, 0},
		"a state of a stranger":  {limit, stream.Message{Key: []byte("k"), Value: []byte("{}"), Headers: []stream.Header{header(operation.HeaderState, limit-30)}}, "1 headers, 199986 bytes", "", 1, 2, 0},
		"a name fills the error": {limit, stream.Message{Key: []byte("k"), Value: []byte("{}"), Headers: []stream.Header{{Key: operation.HeaderState, Value: []byte(`{"` + strings.Repeat("n", 100_000) + `":1}`)}}}, "", "", 1, 2, 0},
		"a value cut to nothing": {3000, stream.Message{Value: make([]byte, limit)}, "", "value of 200000 bytes", 0, 1 << 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.log.fail = limited(c.limit, "withhold.request.dlq")
				m := c.message
				m.Topic, m.Partition, m.Offset, m.Time = "withhold.request", 2, 7, time.Now()
				h.handle(m)
				letters := h.log.topic("withhold.request.dlq")
				require.Len(t, letters, 1)
				letter := letters[0]
				require.Len(t, letter.Key, c.key)
				require.Len(t, letter.Value, c.value)
				word := func(name string) string { v, _ := letter.Header(name); return string(v) }
				require.NotEmpty(t, word(dispatch.HeaderReason))
				require.NotEmpty(t, word(dispatch.HeaderError))
				require.LessOrEqual(t, len(word(dispatch.HeaderError)), 1000)
				require.Equal(t, "withhold.request/2/7", word(dispatch.HeaderOrigin))
				require.NotEmpty(t, word(dispatch.HeaderBuriedAt))
				for header, want := range map[string]string{dispatch.HeaderShed: c.shed, dispatch.HeaderTruncated: c.truncated} {
					if want == "" {
						require.Empty(t, word(header))
					} else {
						require.Regexp(t, want, word(header))
					}
				}
				senders := 0
				for _, had := range m.Headers {
					if _, there := letter.Header(had.Key); there {
						senders++
					}
				}
				require.Equal(t, c.headers, senders)
				h.validResults()
			})
		})
	}
}

// A rejection names a long key of a sender by its beginning: it decides the partition alone.
func TestALongKeyIsCutInARejection(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.log.fail = limited(20_000, "withhold.result")
		h.handle(stream.Message{Topic: "withhold.request", Key: bytes.Repeat([]byte("k"), 19_990), Value: []byte("{}")})
		require.Equal(t, []string{"rejected"}, h.log.kinds())
		require.Len(t, h.log.topic("withhold.result")[0].Key, 256)
		h.validResults()
	})
}

// Money moved: whatever the vendor says beside that, the event is told.
func TestAResultIsToldHoweverMuchTheVendorSays(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("<P9>", 1<<18)
	for name, c := range map[string]struct {
		limit     int
		fields    map[string]string
		truncated string
	}{
		"a number of 1 MB":        {1 << 20, map[string]string{"pay_order_no": strings.Repeat("P9", 1<<19)}, "pay_order_no"},
		"text of 1 MB":            {1 << 20, map[string]string{"channel_response": large}, ""},
		"a topic that takes less": {1200, map[string]string{"pay_order_no": "P1", "channel_response": large}, "channel_response, message, pay_order_no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.log.fail = limited(c.limit, "withhold.result")
				h.vendor.sends = []answer{{reply: commands.Reply{Status: commands.StatusSucceeded, Code: "1", Message: large, Fields: c.fields}}}
				m := order("R1", "B1", "1.00")
				h.handle(m)
				h.handle(m)
				require.Equal(t, []string{"succeeded", "succeeded"}, h.log.kinds())
				require.Equal(t, h.log.topic("withhold.result")[0], h.log.topic("withhold.result")[1], "published again byte for byte")
				data := h.data(0)
				require.Equal(t, c.truncated, data["truncated"])
				require.Equal(t, "1.00", data["amount"])
				require.Equal(t, "1", data["code"])
				require.Equal(t, 1, h.vendor.sent)
				h.validResults()
			})
		})
	}
}

// A parked copy loses the sender's headers and a long key, then the vendor's words that decide nothing, and goes on from
// there as it would have.
func TestAParkedCopyShedsUntilItFits(t *testing.T) {
	t.Parallel()
	long := map[string]string{
		"pay_order_no": "P1", "channel_response": strings.Repeat("v", 240), "pay_time": strings.Repeat("v", 240), "pay_type": "101",
	}
	for name, c := range map[string]struct {
		limit   int
		change  func(*stream.Message)
		pending map[string]string
		key     string
	}{
		"large headers": {20_000, func(m *stream.Message) {
			m.Headers = append(m.Headers, stream.Header{Key: "x", Value: make([]byte, 19_500)})
		}, map[string]string{"pay_order_no": "P1"}, "B1"},
		"a large key":      {20_000, func(m *stream.Message) { m.Key = make([]byte, 19_500) }, map[string]string{"pay_order_no": "P1"}, "B1"},
		"a vendor's words": {1_200, func(*stream.Message) {}, long, "B1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.log.fail = limited(c.limit, "withhold.request.delay.")
				m := order("R1", "B1", "1.00")
				c.change(&m)
				h.vendor.sends = []answer{{reply: commands.Reply{Status: commands.StatusPending, Code: "1", Fields: c.pending}}}
				h.handle(m)
				copied := h.due()
				require.Equal(t, c.key, string(copied.Key))
				require.Equal(t, m.Value, copied.Value)
				trace, _ := copied.Header("traceparent")
				require.NotEmpty(t, trace)
				written, _ := copied.Header(operation.HeaderWritten)
				require.Equal(t, strconv.FormatInt(m.Time.UnixMilli(), 10), string(written))

				h.server.Forget() // nothing but the copy knows of the order
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
				h.handle(copied)
				require.Equal(t, []string{"pending", "succeeded"}, h.log.kinds())
				require.Equal(t, 1, h.vendor.sent)
				h.validResults()
			})
		})
	}
}

// What cannot wait at all holds up no lane and is not forgotten: a person is called at once, and a later word settles it.
func TestWhatCannotBeParkedIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]answer{
		"pending": says(commands.StatusPending), "unknown": fails(commands.ClassUnknown), "not sent": fails(commands.ClassRetryable),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.log.fail = limited(600, "withhold.request.delay.")
				h.vendor.sends = []answer{reply}
				h.vendor.asks = []answer{says(commands.StatusMissing)}
				h.handle(order("R1", "B1", "1.00"))
				kinds := h.log.kinds()
				require.Equal(t, "unresolved", kinds[len(kinds)-1])
				require.Empty(t, h.log.topic("withhold.request.delay."))
				require.Equal(t, 1, h.vendor.sent)
				h.validResults()

				h.handle(order("R1", "B1", "1.00"))
				require.Equal(t, 1, h.vendor.sent, "it is not begun again")
			})
		})
	}
}

// The driver scrubs what an adapter forgot, and what it said when it failed.
func TestNoAdapterCanForgetToScrub(t *testing.T) {
	t.Parallel()
	const dirty = "6222000000000000000 \x1b[31m张三\u202e 13800000000"
	for name, c := range map[string]answer{
		"a verdict": {reply: commands.Reply{
			Status: commands.StatusSucceeded, Code: "1\n", Message: dirty,
			Fields: map[string]string{"pay_order_no": "P1\u202e", "channel_response": dirty, "pay_time": "6222000000000000000"},
		}},
		"a refusal": {reply: commands.Reply{Status: commands.StatusRefused, Code: "-1", Message: dirty}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.vendor.sends = []answer{c}
				h.vendor.asks = []answer{says(commands.StatusMissing)}
				h.handle(order("R1", "B1", "1.00"))
				for _, m := range h.log.messages {
					said := string(m.Value)
					if state, parked := m.Header(operation.HeaderState); parked {
						said = string(state)
					}
					for _, secret := range []string{"6222", "张三", "13800000000", "\x1b", `\u001b`, "\u202e", `\u202e`, `\n`} {
						require.NotContains(t, said, secret)
					}
				}
				h.validResults()
			})
		})
	}
}

// What is too large is no fault of Kafka's and is tried a bounded number of times, even by a log that takes nothing.
func TestALogThatTakesNothingIsAnError(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		tries := 0
		h.log.fail = func(stream.Message) error { tries++; return stream.ErrTooLarge }
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		require.ErrorIs(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), stream.ErrTooLarge)
		require.LessOrEqual(t, tries, 5)
	})
}
