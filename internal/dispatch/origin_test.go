package dispatch_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// parkedCopy returns the copy of an order whose reply was lost.
func (h *house) parkedCopy(biz string) stream.Message {
	h.t.Helper()
	h.vendor.sends = []answer{fails(commands.ClassUnknown)}
	h.vendor.asks = []answer{fails(commands.ClassUnknown)}
	h.handle(order("R"+biz, biz, "1.00"))
	return h.due()
}

func (h *house) reasons() []string {
	var all []string
	for _, m := range h.log.topic("withhold.request.dlq") {
		reason, _ := m.Header(dispatch.HeaderReason)
		all = append(all, string(reason))
	}
	return all
}

func without(m stream.Message, names ...string) stream.Message {
	m.Headers = slices.DeleteFunc(slices.Clone(m.Headers), func(h stream.Header) bool { return slices.Contains(names, h.Key) })
	return m
}

func with(m stream.Message, name string, value []byte) stream.Message {
	m = without(m, name)
	m.Headers = append(m.Headers, stream.Header{Key: name, Value: value})
	return m
}

// settledState is a verdict that a stranger made up, about an order that was not executed.
func settledState(t *testing.T, of stream.Message) []byte {
	t.Helper()
	ring, err := commands.NewKeyring([]byte("0123456789abcdef"))
	require.NoError(t, err)
	c, err := commands.Decode(spec, ring, of.Value)
	require.NoError(t, err)
	s := commands.Begin(c, "", time.Now())
	s.Phase, s.Verdict = commands.Settled, commands.StatusSucceeded
	s.Result = &commands.Result{ID: "x", Type: "withhold.succeeded.v1", Source: "/x", Subject: string(c.Key), Time: time.Now(), Data: []byte(`{"amount":"999999.00"}`)}
	encoded, err := s.Encode()
	require.NoError(t, err)
	return encoded
}

// A state, a due time or a seal is obeyed only where, and how, this service writes it. What is not authentic is buried
// with a reason of its own, and nothing is sent, asked or published for it.
func TestWhatAStrangerWritesIsNotObeyed(t *testing.T) {
	t.Parallel()
	due := []byte(strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10))
	for name, forge := range map[string]func(t *testing.T, own, copied stream.Message) stream.Message{
		"a state on a command": func(t *testing.T, own, _ stream.Message) stream.Message {
			return with(own, operation.HeaderState, settledState(t, own))
		},
		"a due time on a command": func(_ *testing.T, own, _ stream.Message) stream.Message {
			return with(own, operation.HeaderDue, due)
		},
		"a copy on the command topic": func(_ *testing.T, _, copied stream.Message) stream.Message {
			copied.Topic = "withhold.request"
			return copied
		},
		"a copy in another tier": func(_ *testing.T, _, copied stream.Message) stream.Message {
			copied.Topic = "withhold.request.delay.1m"
			return copied
		},
		"a copy with another key": func(_ *testing.T, _, copied stream.Message) stream.Message {
			copied.Key = []byte("B9")
			return copied
		},
		"a copy with another body": func(_ *testing.T, own, copied stream.Message) stream.Message {
			copied.Value = own.Value
			return copied
		},
		"a copy with the body of another request": func(_ *testing.T, _, copied stream.Message) stream.Message {
			copied.Value = order("R9", "B1", "1.00").Value
			return copied
		},
		"a copy with another state": func(t *testing.T, _, copied stream.Message) stream.Message {
			mac, _ := copied.Header(operation.HeaderMAC)
			return with(with(copied, operation.HeaderState, settledState(t, copied)), operation.HeaderMAC, mac)
		},
		"a copy with another due time": func(_ *testing.T, _, copied stream.Message) stream.Message {
			mac, _ := copied.Header(operation.HeaderMAC)
			return with(with(copied, operation.HeaderDue, due), operation.HeaderMAC, mac)
		},
		"a copy written at another time": func(_ *testing.T, _, copied stream.Message) stream.Message {
			mac, _ := copied.Header(operation.HeaderMAC)
			return with(with(copied, operation.HeaderWritten, due), operation.HeaderMAC, mac)
		},
		"a state of another order without a seal": func(t *testing.T, own, copied stream.Message) stream.Message {
			return with(without(copied, operation.HeaderMAC), operation.HeaderState, settledState(t, own))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				copied := h.parkedCopy("B1")
				before := len(h.log.kinds())
				own := order("R2", "B2", "1.00")
				h.handle(forge(t, own, copied))
				require.Equal(t, []string{dispatch.ReasonNotAuthentic}, h.reasons())
				require.Len(t, h.log.kinds(), before)
				require.Equal(t, 1, h.vendor.sent)
				require.Equal(t, 1, h.vendor.asked)
				letter := h.log.topic("withhold.request.dlq")[0]
				for _, name := range []string{operation.HeaderState, operation.HeaderDue, operation.HeaderMAC} {
					_, obeyed := letter.Header(name)
					require.False(t, obeyed, "a letter that is sent again must not be refused again for %s", name)
				}
				h.vendor.asks = []answer{says(commands.StatusSucceeded)}
				h.handle(copied) // the real one goes on
				require.Equal(t, []string{"succeeded"}, h.log.kinds()[before:])
			})
		})
	}
}

// Copies parked by the version before have no seal: they survive a roll-out, and their state is not believed.
func TestACopyOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) { // its record stands and is the truth
		copied := without(h.parkedCopy("B1"), operation.HeaderMAC)
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(copied)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
	inBubble(t, func(h *house) { // its record is gone: asked about, whatever it says
		copied := without(h.parkedCopy("B1"), operation.HeaderMAC)
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(copied)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
	inBubble(t, func(h *house) { // a verdict that a stranger made up is not read
		m := order("R1", "B1", "1.00")
		m.Topic = "withhold.request.delay.5s"
		h.vendor.asks = []answer{says(commands.StatusFailed)}
		h.handle(with(m, operation.HeaderState, settledState(t, m)))
		require.Zero(t, h.vendor.sent, "it may have been sent before")
		require.Equal(t, []string{"failed"}, h.log.kinds())
	})
}

// A copy is proven by any key of the ring: it outlives a rotation.
func TestACopySurvivesARotation(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		copied := h.parkedCopy("B1")
		h.keys = [][]byte{[]byte("a new key of 16+"), []byte("0123456789abcdef")}
		h.Dispatcher = h.restart()
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(copied)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, "submission", h.data(0)[commands.AmountConfirmed], "its memory is believed")
		h.keys = [][]byte{[]byte("a new key of 16+")}
		h.Dispatcher = h.restart()
		h.handle(copied)
		require.Equal(t, []string{dispatch.ReasonNotAuthentic}, h.reasons())
	})
}

// A parked body is validated like a command, and an order that may have been sent is not rejected for it.
func TestAParkedBodyIsValidated(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		copied := h.parkedCopy("B1")
		h.route.Check = func(commands.Command) error { return context.Canceled }
		h.Dispatcher = h.restart()
		h.handle(copied)
		require.Equal(t, []string{"unreadable"}, h.reasons())
		require.Empty(t, h.log.kinds())
	})
}

// A due time counts on a delay topic only, never beyond its tier, and without a seal not beyond that of the message's own
// time: a chain of forged copies holds no partition for N times the tier.
func TestADueTimeIsBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		far := []byte(strconv.FormatInt(time.Now().Add(24*365*time.Hour).UnixMilli(), 10))
		m := with(order("R1", "B1", "1.00"), operation.HeaderDue, far)
		require.Zero(t, h.Due(m), "a command")
		m.Topic = "withhold.request.delay.1m"
		time.Sleep(time.Hour)
		m.Time = time.Now()
		require.False(t, h.Due(m).After(time.Now()), "what is not sealed was parked before this process began")
		sealed := h.parkedCopy("B2")
		require.False(t, h.Due(sealed).After(time.Now()))
		mac, _ := sealed.Header(operation.HeaderMAC)
		forged := with(with(sealed, operation.HeaderDue, far), operation.HeaderMAC, mac)
		require.Zero(t, h.Due(forged), "a broken seal holds nothing")
		require.Zero(t, h.Due(without(sealed, operation.HeaderDue)))
	})
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		parked := h.log.topic("withhold.request.delay.")[0]
		parked.Time = time.Now()
		require.Equal(t, time.Now().Add(5*time.Second), h.Due(parked))
	})
}
