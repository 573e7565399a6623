package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
)

// told collects what the hooks of a driver and a dispatcher say.
type told []string

func (t *told) add(format string, args ...any) { *t = append(*t, fmt.Sprintf(format, args...)) }

// watch makes the hooks of h tell.
func (h *house) watch(t *told) {
	h.Routes[0].Driver.Observe = operation.Observer{
		Announced:  func(kind string, age time.Duration) { t.add("announced %s after %v", kind, age) },
		Asked:      func(p commands.Phase, age time.Duration) { t.add("asked %s after %v", p, age) },
		Parked:     func(p commands.Phase, age time.Duration) { t.add("parked %s after %v", p, age) },
		Published:  func(kind string) { t.add("published %s", kind) },
		Resent:     func() { t.add("resent") },
		Conflicted: func() { t.add("conflicted") },
	}
	h.Observe.Rejected = func(topic string) { t.add("rejected in %s", topic) }
	h.Observe.DeadLettered = func(_, reason string) { t.add("buried %s", reason) }
}

// The end-to-end time counts from the command's own time in its topic, through every parking; the age from its beginning.
func TestAgesAreToldThroughParkings(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		var all told
		h.watch(&all)
		h.vendor.sends = []answer{fails(commands.ClassUnknown), says(commands.StatusSucceeded)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown), says(commands.StatusMissing), says(commands.StatusMissing)}
		m := order("R1", "B1", "1.00")
		time.Sleep(time.Minute) // it waited in its topic
		h.handle(m)
		for range 2 {
			copied := h.due()
			copied.Time = time.Now() // as the log would have it
			h.handle(copied)
		}
		require.Equal(t, told{
			"asked asking after 0s", "parked asking after 0s",
			"asked asking after 5s", "parked asking after 5s",
			"asked asking after 25s", "resent", "published succeeded", "announced succeeded after 1m25s",
		}, all)
	})
}

func TestConflictsAndRejectionsAreTold(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		var all told
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.watch(&all)
		h.handle(order("R2", "B1", "1.00"))
		require.Equal(t, told{"conflicted", "published duplicate"}, all)
		all = nil
		h.handle(order("R1", "B9", "1.00"))
		h.handle(order("R3", "B1", "2.00"))
		require.Equal(t, told{"rejected in withhold.request", "buried request_reused", "conflicted", "published rejected", "buried order_reused"}, all)
	})
}

// The time at which a command was written to its topic goes with its parked copies.
func TestTheWrittenTimeSurvivesParking(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		m := order("R1", "B1", "1.00")
		at := strconv.FormatInt(m.Time.UnixMilli(), 10)
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		for range 3 {
			h.vendor.asks = []answer{fails(commands.ClassUnknown)}
			h.handle(m)
			m = h.due()
			m.Time = time.Now()
			written, _ := m.Header(operation.HeaderWritten)
			require.Equal(t, at, string(written))
			require.Len(t, m.Headers, 6, "the trace, and each of ours once")
		}
	})
}

// Each message ends in one line that names it, its trace, and the operation, once that is known.
func TestOneLineAMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var log bytes.Buffer
		h.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		lines := func() (all []map[string]any) {
			for line := range strings.Lines(log.String()) {
				fields := map[string]any{}
				require.NoError(t, json.Unmarshal([]byte(line), &fields))
				delete(fields, "time")
				all = append(all, fields)
			}
			log.Reset()
			return all
		}
		line := func(outcome, key, request string, more map[string]any) map[string]any {
			fields := map[string]any{
				"level": "INFO", "msg": "command finished", "topic": "withhold.request", "partition": 2.0, "offset": 7.0, "outcome": outcome,
				"took": 0.0, "key": key, "request_id": request, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
			}
			for k, v := range more {
				fields[k] = v
			}
			return fields
		}
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []map[string]any{line("succeeded", "B1", "R1", map[string]any{"phase": "announced", "sends": 1.0})}, lines())

		h.handle(order("R1", "B2", "1.00"))
		got := lines()
		require.Len(t, got, 1)
		delete(got[0], "detail")
		require.Equal(t, line("dead_letter", "B2", "R1", map[string]any{"reason": "request_reused"}), got[0])

		bad := order("R1", "6222000000000000000", "one yuan") // who knows what a sender puts where
		h.handle(bad)
		got = lines()
		require.Len(t, got, 1)
		require.Empty(t, got[0]["key"])
		require.NotContains(t, got[0]["detail"], "6222")

		stray := order("R5", "B5", "1.00")
		stray.Headers[0].Value = []byte("13800000000")
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(stray)
		require.Empty(t, lines()[0]["trace_id"], "a header that is no trace context reaches no log")
		results := h.log.topic("withhold.result")
		_, carried := results[len(results)-1].Header(operation.HeaderTrace)
		require.False(t, carried, "nor a result")
	})
}

// Our own fault is no end of a message: no line, and the hooks keep silent.
func TestAFaultOfOursIsNotTheEnd(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		var all told
		var log bytes.Buffer
		h.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		h.watch(&all)
		h.store.swap = func(string, func() (idempotency.Record, error)) (idempotency.Record, error) {
			return idempotency.Record{}, idempotency.ErrUnavailable
		}
		require.ErrorIs(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), idempotency.ErrUnavailable)
		require.Empty(t, all)
		require.Empty(t, log.String())
	})
}
