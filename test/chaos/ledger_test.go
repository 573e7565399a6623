package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// blank returns a ledger that reads from nowhere and knows of these orders.
func blank(orders ...string) *ledger {
	l := &ledger{orders: map[string]*entry{}, kinds: map[string]int{}}
	for _, name := range orders {
		l.orders[name] = &entry{written: time.Unix(1000, 0)}
	}
	return l
}

func result(order, kind, id string) *kgo.Record {
	return &kgo.Record{Topic: resultTopic, Key: []byte(order), Headers: []kgo.RecordHeader{
		{Key: "ce_type", Value: []byte("withhold." + kind + ".v1")}, {Key: "ce_id", Value: []byte(id)},
	}}
}

func results(all ...*kgo.Record) []*kgo.Record { return all }

func TestWhatTheLedgerFinds(t *testing.T) {
	t.Parallel()
	charged, twice := &order{Submissions: 1, Charges: 1}, &order{Submissions: 2, Charges: 2}
	good := result("A", "succeeded", "1")
	declined := &order{Submissions: 1, Declined: true}
	for name, c := range map[string]struct {
		vendor  *order // of order A; nil when it never got it
		results []*kgo.Record
		want    verdict
	}{
		"all is well":                  {charged, results(good, good), verdict{}},
		"declined is well":             {declined, results(result("A", "failed", "1")), verdict{}},
		"charged twice":                {twice, results(good), verdict{Twice: 1}},
		"no result":                    {charged, nil, verdict{Endless: 1}},
		"pending only":                 {charged, results(result("A", "pending", "1")), verdict{Endless: 1}},
		"given up though charged":      {charged, results(result("A", "unresolved", "1")), verdict{Endless: 1}},
		"given up, never sent":         {nil, results(result("A", "unresolved", "1")), verdict{NeverSent: 1}},
		"given up, settled later":      {charged, results(result("A", "unresolved", "1"), result("A", "succeeded", "2")), verdict{}},
		"two ids":                      {charged, results(good, result("A", "succeeded", "2")), verdict{Contradictory: 1}},
		"two verdicts":                 {charged, results(good, result("A", "failed", "2")), verdict{Contradictory: 1}},
		"succeeded, never charged":     {nil, results(good), verdict{Contradictory: 1}},
		"succeeded though declined":    {declined, results(good), verdict{Contradictory: 1}},
		"failed though charged":        {charged, results(result("A", "failed", "1")), verdict{Contradictory: 1}},
		"a good command rejected":      {nil, results(result("A", "rejected", "1")), verdict{Contradictory: 1}},
		"a duplicate's answer is none": {charged, results(good, result("A", "duplicate", "2")), verdict{}},
		"a dead letter": {
			charged, []*kgo.Record{{Topic: deadTopic, Key: []byte("A")}}, verdict{Endless: 1, DeadLetters: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := blank("A")
			for _, r := range c.results {
				l.take(r, time.Unix(1003, 0))
			}
			j := journal{Orders: map[string]*order{}}
			if c.vendor != nil {
				j.Orders["A"] = c.vendor
			}
			got := l.judge(j)
			require.Equal(t, c.want, verdict{
				Twice: got.Twice, Endless: got.Endless, Contradictory: got.Contradictory, NeverSent: got.NeverSent,
				Unordered: got.Unordered, DeadLetters: got.DeadLetters,
			})
			require.Equal(t, 1, got.Commands)
			require.Equal(t, c.want.Twice+c.want.Endless+c.want.Contradictory+c.want.NeverSent == 0, got.zero())
		})
	}
}

func TestAChargeThatNobodyOrdered(t *testing.T) {
	t.Parallel()
	l := blank()
	l.take(result("aborted-1", "succeeded", "1"), time.Unix(1003, 0))
	got := l.judge(journal{Orders: map[string]*order{"aborted-1": {Submissions: 1, Charges: 1}}})
	require.Equal(t, 1, got.Unordered)
	require.Equal(t, 0, got.Commands)
	require.False(t, got.zero())
	require.Equal(t, []string{"aborted-1"}, got.Named["charged, not ordered"])
}

func TestTheLongestTimeIsToTheFirstVerdict(t *testing.T) {
	t.Parallel()
	l := blank("A", "B")
	l.take(result("A", "succeeded", "1"), time.Unix(1003, 0))
	l.take(result("A", "succeeded", "1"), time.Unix(1009, 0))
	l.take(result("B", "pending", "2"), time.Unix(1001, 0))
	l.take(result("B", "failed", "3"), time.Unix(1004, 0))
	require.Equal(t, 4*time.Second, l.judge(journal{}).Longest)
	written, over := l.given()
	require.Equal(t, 2, written)
	require.Equal(t, 2, over)
}

func TestWhatMakesARowFail(t *testing.T) {
	t.Parallel()
	require.True(t, verdict{Cut: 3, Questions: 9}.zero(), "kills cut calls")
	require.False(t, verdict{Cut: 3, CutCounts: true}.zero())
	require.False(t, verdict{Faults: []string{"Redis did not start"}}.zero())
	for _, v := range []verdict{{Twice: 1}, {Unordered: 1}, {Endless: 1}, {Contradictory: 1}, {NeverSent: 1}} {
		require.False(t, v.zero(), "%+v", v)
	}
}
