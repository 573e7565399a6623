package gateway

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/bench/order"
	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

// command is a valid withhold.request for an order.
func command(o order.Order) commands.Command {
	name := o.Name()
	return commands.Command{
		Topic: "withhold.request", RequestID: commands.RequestID("r-" + name), Key: commands.OperationKey(name),
		Body: commands.Body(`{"requestId":"r-` + name + `","biz_order_no":"` + name + `","amount":"12.34",` +
			`"bank_card_number":"6222021234567890123","name":"张三","id_card_number":"11010119900307123X",` +
			`"mobile":"13800000000","pay_type":"bank"}`),
	}
}

// listen serves a double and returns the product's own client of it.
func listen(t *testing.T, key withhold.Key) (Client, *withhold.Client) {
	t.Helper()
	double, err := New()
	require.NoError(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- double.Serve(ctx, l) }()
	url := "http://" + l.Addr().String()
	client, err := withhold.New(withhold.Config{
		URL: url + "/gateway", Accounts: map[string]withhold.Account{"default": {UA: UA, Key: key}}, DefaultAccount: "default",
		MissingWords: []string{Missing}, MaxAmount: "100.00", HTTP: wire.Config{Timeout: 5 * time.Second, MaxConns: 4, MaxIdle: 4},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		client.Close()
		cancel()
		require.NoError(t, <-done)
	})
	return Client{URL: url}, client
}

func TestTheDoubleSuitsTheDispatchersAdapter(t *testing.T) {
	t.Parallel()
	double, client := listen(t, Key)
	c := command(order.Order{Key: 3, Seq: 0, Index: 7})
	reply, err := client.Ask(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, commands.StatusMissing, reply.Status)
	for range 2 {
		reply, err = client.Send(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, commands.StatusSucceeded, reply.Status)
	}
	reply, err = client.Ask(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, commands.StatusSucceeded, reply.Status)

	stats, err := double.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, Stats{Calls: 2, Asks: 2, Charged: 1, Twice: 1, AtOnce: 1}, stats)
	require.NoError(t, double.Reset(t.Context(), Behaviour{}))
	stats, err = double.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, Stats{}, stats)
}

func TestTheDoubleRefusesAnEnvelopeOfAnotherKey(t *testing.T) {
	t.Parallel()
	double, client := listen(t, "another-key-0123")
	reply, err := client.Send(t.Context(), command(order.Order{}))
	require.NoError(t, err)
	require.Equal(t, commands.StatusRefused, reply.Status)
	stats, err := double.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, Stats{Complaints: 1, Complaint: "the sign is wrong"}, stats)
}

func TestTheDoubleSeesOverlapsAndReorders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, err := New()
		require.NoError(t, err)
		call := func(key, seq int) {
			o := order.Order{Key: key, Seq: seq}
			time.Sleep(g.enter(o, true))
			g.leave(o, true)
		}
		g.behaviour = Behaviour{Latency: time.Second, SlowKeys: 1, Slow: 3 * time.Second}
		go call(0, 0)
		go call(1, 5)
		seen := func() Stats {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.stats
		}
		time.Sleep(2 * time.Second)
		require.Equal(t, Stats{Calls: 2, Charged: 1, AtOnce: 2}, seen(), "the slow key is not done, nothing overlapped")
		go call(0, 1)
		time.Sleep(500 * time.Millisecond)
		go call(1, 4)
		time.Sleep(10 * time.Second)
		require.Equal(t, Stats{Calls: 4, Charged: 4, Overlaps: 1, Reorders: 1, AtOnce: 3}, seen())
	})
}

func TestAWarmUpIsNotCounted(t *testing.T) {
	t.Parallel()
	g, err := New()
	require.NoError(t, err)
	o, counted := order.Parse(order.WarmUp(1))
	g.enter(o, counted)
	g.leave(o, counted)
	require.Equal(t, Stats{}, g.stats)
}
