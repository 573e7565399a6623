package operation_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/schemas"
)

// orders is a driver of a process that only takes callbacks, and an order that waits.
func orders(t *testing.T) (*operation.Driver, *published, operation.Job) {
	t.Helper()
	store := memstore.New(memstore.NewServer(1), memstore.Config{})
	require.NoError(t, store.Prepare(t.Context(), false))
	log := new(published)
	spec := commands.Spec{Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", KeyField: "biz_order_no"}
	driver, err := operation.New(operation.Config{
		Store: store, Publisher: log, Logger: slog.New(slog.DiscardHandler),
		Policy: commands.Policy{Spec: spec, Lease: time.Second, Settle: time.Second, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{time.Second}},
	})
	require.NoError(t, err)
	state := commands.State{Phase: commands.Pending, Topic: spec.Topic, Key: "B1", RequestID: "R1", FirstSeen: time.Now()}
	value, err := state.Encode()
	require.NoError(t, err)
	record, err := store.Swap(t.Context(), store.Expect(operation.Key(spec, "B1")), value)
	require.NoError(t, err)
	return driver, log, operation.Job{Record: record, State: state}
}

// A callback's words pass the same place as a reply's, and so does what a question about an order brings up.
func TestEveryWayOfAVendorsWordIsScrubbed(t *testing.T) {
	t.Parallel()
	dirty := commands.Reply{
		Status: commands.StatusSucceeded, Code: "callback\n", Message: "card 4111111111111111 \x1b[31m\u202e",
		Fields: map[string]string{"pay_order_no": "P20240101000001234567", "pay_time": "13912345678", "channel_response": strings.Repeat("x ", 1<<20)},
	}
	for name, hear := range map[string]func(*operation.Driver, operation.Job) error{
		"a callback": func(d *operation.Driver, job operation.Job) error {
			job.Entry = commands.CalledBack{Reply: dirty}
			_, err := d.Drive(t.Context(), &job)
			return err
		},
		"a question about the order": func(d *operation.Driver, _ operation.Job) error {
			relay := operation.Relay{Asker: asks(func() (commands.Reply, error) { return dirty, nil }), Orders: d, OrderField: "biz_order_no"}
			_, err := relay.Ask(t.Context(), commands.Command{Carry: map[string]string{"biz_order_no": "B1"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driver, log, job := orders(t)
			require.NoError(t, hear(driver, job))
			require.Len(t, *log, 1)
			said := string((*log)[0].Value)
			for _, part := range []string{"4111", "13912345678", "\x1b", `\u001b`, "\u202e", `\n`} {
				require.NotContains(t, said, part)
			}
			require.Contains(t, said, "P20240101000001234567", "what is compared later stays")
			require.Less(t, len(said), 4096)
			set, err := schemas.Load()
			require.NoError(t, err)
			require.NoError(t, set.Validate("withhold.result", (*log)[0].Value))
		})
	}
}
