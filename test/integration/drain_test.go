package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/sim/withhold"
)

// A deploy under a slow vendor with a backlog: dispatchers join, which is a rebalance each time, and leave at SIGTERM.
// No call is cut, nothing is parked as unknown or at all, nothing is lost, and little is told again.
func TestADeployUnderASlowVendor(t *testing.T) {
	const n, keys = 400, 60
	h := open(t, stage{
		topics: []string{"withhold.request"}, partitions: 4,
		order: func(string, int) withhold.Plan { return withhold.Plan{NoCallback: true, Slow: 500 * time.Millisecond} },
		set: map[string]string{
			"IN_FLIGHT": "16", "WITHHOLD_MAX_CONNS": "16", "WITHHOLD_TIMEOUT": "3s", "WITHHOLD_LEASE": "5s", "WITHHOLD_SETTLE": "6s",
		},
	})
	var orders []string
	var messages []stream.Message
	for i := range n {
		o := fmt.Sprintf("B%04d", i)
		orders = append(orders, o)
		messages = append(messages, stream.Message{
			Topic: "withhold.request", Key: fmt.Appendf(nil, "card%d", i%keys), Value: []byte(command("R-"+o, o, "1.00")),
		})
	}
	require.NoError(t, h.write.Publish(within(t, 30*time.Second), messages...))
	charged := func(most int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(h.double.Ledger()) >= most }, 60*time.Second, 5*time.Millisecond)
	}

	old := h.dispatcher()
	for part := 1; part <= 3; part++ {
		charged(part * n / 5)
		fresh := h.dispatcher()
		charged(part*n/5 + n/10)
		began := time.Now()
		old.close()
		t.Logf("ended %v after SIGTERM", time.Since(began).Round(time.Millisecond))
		old = fresh
	}
	all := h.results(120*time.Second, settled(orders...))
	h.requireOnce(all, orders)
	for _, tier := range []time.Duration{time.Second, 3 * time.Second} {
		h.requireEmpty(operation.DelayTopic("withhold.request", tier))
	}
	for _, entry := range h.double.Ledger() {
		require.Zero(t, entry.Queries, "order %s was asked about: its call was cut, or its intent was left behind", entry.Order)
	}
	require.NotContains(t, h.log.String(), "vendor call failed", "a call was cut")
	require.NotContains(t, h.log.String(), "drain budget used up")
	require.LessOrEqual(t, len(all)-n, n/5, "what was finished is told again only where it stood behind what was left")
}
