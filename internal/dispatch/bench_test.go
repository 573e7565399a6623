package dispatch_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/schemas"
)

type yes struct{}

func (yes) Send(context.Context, commands.Command) (commands.Reply, error) {
	return commands.Reply{Status: commands.StatusSucceeded, Code: "1", Fields: map[string]string{"pay_order_no": "P1", "pay_status": "success"}}, nil
}
func (y yes) Ask(ctx context.Context, c commands.Command) (commands.Reply, error) {
	return y.Send(ctx, c)
}

type sink struct{}

func (sink) Publish(context.Context, ...stream.Message) error { return nil }

// BenchmarkHandle is what one command costs inside this house: everything but the network.
func BenchmarkHandle(b *testing.B) {
	store := memstore.New(memstore.NewServer(256), memstore.Config{})
	require.NoError(b, store.Prepare(b.Context(), false))
	log := slog.New(slog.NewJSONHandler(io.Discard, nil)) //nolint:sloglint // the line of each command is part of its cost
	ring, err := commands.NewKeyring([]byte("0123456789abcdef"))
	require.NoError(b, err)
	driver, err := operation.New(operation.Config{
		Keys:  ring,
		Store: store, Publisher: sink{}, Sender: yes{}, Asker: yes{}, Timeout: time.Second, Logger: log,
		Policy: commands.Policy{Spec: spec, Owner: "p", Lease: 2 * time.Second, Settle: 3 * time.Second, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{time.Second}},
	})
	require.NoError(b, err)
	set, err := schemas.Load()
	require.NoError(b, err)
	d := dispatch.New(dispatch.Config{
		Routes: []dispatch.Route{{Driver: driver}}, Store: store, Publisher: sink{}, Validator: set, Fingerprints: ring,
		MaxBytes: 4096, Logger: log,
	})
	messages := make([]stream.Message, b.N)
	for i := range messages {
		messages[i] = order(fmt.Sprintf("R%d", i), fmt.Sprintf("B%d", i), "1.00")
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, m := range messages {
		if err := d.Handle(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}
