package operation_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors"
)

type asks func() (commands.Reply, error)

func (f asks) Ask(context.Context, commands.Command) (commands.Reply, error) { return f() }

type published []stream.Message

func (p *published) Publish(_ context.Context, m ...stream.Message) error {
	*p = append(*p, m...)
	return nil
}

// A question about an order answers with the order's state, and a final word settles the order itself.
func TestRelay(t *testing.T) {
	t.Parallel()
	fields := map[string]string{"pay_order_no": "P1"}
	for name, c := range map[string]struct {
		stands   commands.Phase
		reply    commands.Reply
		err      error
		state    string
		settled  bool
		failCode string
	}{
		"settles an order that was given up":  {commands.Unresolved, commands.Reply{Status: commands.StatusSucceeded, Fields: fields}, nil, "succeeded", true, ""},
		"settles an order that waits":         {commands.Pending, commands.Reply{Status: commands.StatusFailed, Fields: fields}, nil, "failed", true, ""},
		"pending settles nothing":             {commands.Pending, commands.Reply{Status: commands.StatusPending, Fields: fields}, nil, "pending", false, ""},
		"missing settles nothing":             {commands.Asking, commands.Reply{Status: commands.StatusMissing}, nil, "missing", false, ""},
		"an order that we do not know":        {commands.New, commands.Reply{Status: commands.StatusSucceeded, Fields: fields}, nil, "succeeded", false, ""},
		"another payment number is no word":   {commands.Pending, commands.Reply{Status: commands.StatusSucceeded, Fields: map[string]string{"pay_order_no": "P9"}}, nil, "succeeded", false, ""},
		"no answer is an error, to ask again": {commands.Pending, commands.Reply{}, &vendors.Error{Code: "timeout", Err: errors.New("x")}, "", false, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memstore.New(memstore.NewServer(1), memstore.Config{})
			require.NoError(t, store.Prepare(t.Context(), false))
			var log published
			spec := commands.Spec{Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", KeyField: "biz_order_no", MatchFields: []string{"pay_order_no"}}
			orders, err := operation.New(operation.Config{Store: store, Publisher: &log, Logger: slog.New(slog.DiscardHandler),
				Policy: commands.Policy{Spec: spec, Lease: time.Second, Settle: time.Second, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{time.Second}}})
			require.NoError(t, err)
			if c.stands != commands.New {
				s := commands.State{Phase: c.stands, Topic: spec.Topic, Key: "B1", RequestID: "R1", FirstSeen: time.Now(), Seen: map[string]string{"pay_order_no": "P1"}}
				value, err := s.Encode()
				require.NoError(t, err)
				_, err = store.Swap(t.Context(), store.Expect(operation.Key(spec, "B1")), value)
				require.NoError(t, err)
			}
			relay := operation.Relay{Asker: asks(func() (commands.Reply, error) { return c.reply, c.err }), Orders: orders, OrderField: "biz_order_no"}
			reply, err := relay.Ask(t.Context(), commands.Command{Carry: map[string]string{"biz_order_no": "B1"}})
			if c.failCode != "" {
				require.Equal(t, c.failCode, vendors.CodeOf(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, commands.StatusSucceeded, reply.Status, "the question was answered")
			require.Equal(t, c.state, reply.Fields["state"])
			require.Equal(t, c.settled, len(log) == 1)
		})
	}
}

// What is not asked for is refused when the driver is made, not when money is at stake.
func TestNewRefusesWhatDoesNotSuit(t *testing.T) {
	t.Parallel()
	asker := asks(func() (commands.Reply, error) { return commands.Reply{}, nil })
	sender := sends(func() (commands.Reply, error) { return commands.Reply{}, nil })
	policy := func(e commands.Effect) commands.Policy {
		return commands.Policy{Spec: commands.Spec{Topic: "t", Effect: e}, Lease: 2, Settle: 2, Deadline: 3, MaxSends: 1, Tiers: []time.Duration{1}}
	}
	for name, c := range map[string]struct {
		config operation.Config
		says   string
	}{
		"money without an asker": {operation.Config{Policy: policy(commands.EffectMoney), Sender: sender, Timeout: 1}, "needs a sender and an asker"},
		"once with an asker":     {operation.Config{Policy: policy(commands.EffectOnce), Sender: sender, Asker: asker, Timeout: 1}, "no asker"},
		"read with a sender":     {operation.Config{Policy: policy(commands.EffectRead), Sender: sender, Asker: asker, Timeout: 1}, "no sender"},
		"timeout above lease":    {operation.Config{Policy: policy(commands.EffectOnce), Sender: sender, Timeout: 2}, "shorter than the lease"},
		"a bad policy":           {operation.Config{Policy: commands.Policy{}}, "max sends"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := operation.New(c.config)
			require.ErrorContains(t, err, c.says)
		})
	}
}

type sends func() (commands.Reply, error)

func (f sends) Send(context.Context, commands.Command) (commands.Reply, error) { return f() }

// What one account says is no word about another account's order of the same number.
func TestAnAccountSettlesOnlyItsOwnOrders(t *testing.T) {
	t.Parallel()
	resolve := func(word string) string {
		if word == "" {
			return "main"
		}
		return word
	}
	for name, c := range map[string]struct {
		order, question string
		settles         bool
	}{
		"the same":                   {"east", "east", true},
		"another":                    {"east", "west", false},
		"the default, named by one":  {"main", "", true},
		"the default, named by none": {"", "", true},
		"the default of an older record, and another": {"", "west", false},
		"none named, and another's order":             {"east", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memstore.New(memstore.NewServer(1), memstore.Config{})
			require.NoError(t, store.Prepare(t.Context(), false))
			var log published
			spec := commands.Spec{Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", KeyField: "biz_order_no"}
			orders, err := operation.New(operation.Config{
				Store: store, Publisher: &log, Logger: slog.New(slog.DiscardHandler),
				Policy: commands.Policy{Spec: spec, Lease: time.Second, Settle: time.Second, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{time.Second}},
			})
			require.NoError(t, err)
			s := commands.State{Phase: commands.Asking, Topic: spec.Topic, Key: "B1", RequestID: "R1", Account: c.order, Sends: 1, FirstSeen: time.Now()}
			value, err := s.Encode()
			require.NoError(t, err)
			_, err = store.Swap(t.Context(), store.Expect(operation.Key(spec, "B1")), value)
			require.NoError(t, err)
			relay := operation.Relay{OrderField: "biz_order_no", Orders: orders, Account: resolve, Asker: asks(func() (commands.Reply, error) {
				return commands.Reply{Status: commands.StatusFailed}, nil
			})}
			reply, err := relay.Ask(t.Context(), commands.Command{Account: c.question, Carry: map[string]string{"biz_order_no": "B1"}})
			require.NoError(t, err)
			require.Equal(t, "failed", reply.Fields["state"], "the question is answered all the same")
			require.Equal(t, c.settles, len(log) == 1)
		})
	}
}
