package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/sim/withhold"
)

// The dispatcher is killed (kill -9) in the middle of many commands, the Redis forgets everything, or both at once. Every
// command has its result, and the ledger has every charge once, though the double charges whatever it accepts.
func TestKilledInTheMiddle(t *testing.T) {
	binary := build(t, "dispatcher")
	for _, c := range []struct {
		name         string
		kill, forget bool
	}{{"kill", true, false}, {"FLUSHALL", false, true}, {"kill and FLUSHALL at once", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, mixed)
			n := 300
			if h.real {
				n = 2000
			}
			var orders []string
			for i := range n {
				orders = append(orders, fmt.Sprintf("B%04d", i))
			}
			running := h.launch(binary)
			go func() {
				for _, o := range orders {
					h.send(command("R-"+o, o, "1.00"))
				}
			}()
			require.Eventually(t, func() bool { return len(h.double.Ledger()) >= n/3 }, 60*time.Second, 5*time.Millisecond)
			if c.kill {
				running.kill()
			}
			if c.forget {
				h.forget(t)
			}
			if c.kill {
				h.launch(binary)
			}
			all := h.results(150*time.Second, settled(orders...))
			h.requireOnce(all, orders)
		})
	}
}

// mixed makes one order in ten lose its reply and one in ten its request, once.
func mixed(order string, attempt int) withhold.Plan {
	plan := withhold.Plan{NoCallback: true, Slow: 20 * time.Millisecond}
	if attempt == 1 {
		switch order[len(order)-1] {
		case '3':
			plan.DropReply = true
		case '7':
			plan.DropRequest = true
		}
	}
	return plan
}

// requireOnce compares the ledger with the result topic, order by order.
func (h *house) requireOnce(all []event, orders []string) {
	h.t.Helper()
	ids := map[string]string{}
	for _, e := range all {
		require.Equal(h.t, commands.KindSucceeded, e.Kind, "order %s", e.Key)
		if ids[e.Key] != "" {
			require.Equal(h.t, ids[e.Key], e.ID, "order %s has verdicts under two ids", e.Key)
		}
		ids[e.Key] = e.ID
	}
	require.Len(h.t, ids, len(orders))
	charges := map[string]int{}
	for _, entry := range h.double.Ledger() {
		charges[entry.Order]++
	}
	for _, o := range orders {
		require.Equal(h.t, 1, charges[o], "order %s", o)
	}
	h.t.Logf("%d commands, %d charges, %d results, 0 lost, 0 doubled", len(orders), len(h.double.Ledger()), len(all))
}

// Dispatchers come and go while commands flow: nothing is lost, nothing is charged twice.
func TestRollingRestart(t *testing.T) {
	h := newHouse(t, mixed)
	var orders []string
	for i := range 400 {
		orders = append(orders, fmt.Sprintf("B%04d", i))
	}
	old := []*service{h.dispatcher(), h.dispatcher()}
	for i, o := range orders {
		h.send(command("R-"+o, o, "1.00"))
		if i == 130 || i == 260 {
			fresh := h.dispatcher()
			old[0].close()
			old = append(old[1:], fresh)
		}
	}
	h.requireOnce(h.results(120*time.Second, settled(orders...)), orders)
}
