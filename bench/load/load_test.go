package load

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"paydispatch/bench/order"
)

func TestAPlanTakesTheKeysInTurn(t *testing.T) {
	t.Parallel()
	orders := Plan{Commands: 7, Keys: 3}.Orders()
	require.Len(t, orders, 7)
	for i, o := range orders {
		require.Equal(t, order.Order{Key: i % 3, Seq: i / 3, Index: i}, o)
	}
}

func TestSparseKeysGetFewerCommandsInUnbrokenSequence(t *testing.T) {
	t.Parallel()
	orders := Plan{Commands: 1000, Keys: 10, SparseKeys: 2, SparseEvery: 4}.Orders()
	count, next := map[int]int{}, map[int]int{}
	for i, o := range orders {
		require.Equal(t, i, o.Index)
		require.Equal(t, next[o.Key], o.Seq)
		next[o.Key]++
		count[o.Key]++
	}
	require.InDelta(t, count[5]/4, count[0], 1)
	require.InDelta(t, count[5]/4, count[1], 1)
}

// newLedger returns one for n commands, all written at the given time, that reads from nowhere.
func newLedger(n int, written time.Time) *Ledger {
	l := &Ledger{orders: make([]entry, n), kinds: map[string]int{}, warm: map[string]bool{}}
	for i := range l.orders {
		l.orders[i] = entry{written: written, key: i}
	}
	return l
}

func result(name, id, value string) *kgo.Record {
	return &kgo.Record{Key: []byte(name), Value: []byte(value), Headers: []kgo.RecordHeader{
		{Key: "ce_id", Value: []byte(id)}, {Key: "ce_type", Value: []byte("withhold.succeeded.v1")},
	}}
}

func TestTheLedgerTellsRepeatedResultsFromOthers(t *testing.T) {
	t.Parallel()
	began := time.Unix(1000, 0)
	l := newLedger(2, began)
	first := order.Order{Key: 0, Index: 0}.Name()
	l.take(result(order.WarmUp(1), "w", "{}"), began)
	l.take(result(first, "a", "{}"), began.Add(time.Second))
	l.take(result(first, "a", "{}"), began.Add(2*time.Second))
	l.take(result(first, "b", "{}"), began.Add(3*time.Second))
	l.take(result(order.Order{Key: 1, Index: 1}.Name(), "c", "{}"), began.Add(6*time.Second))

	p := l.Progress()
	require.Equal(t, 2, p.Got)
	require.Equal(t, Extra{Repeated: 1, OtherID: 1}, p.Extra)
	require.Equal(t, map[string]int{"withhold.succeeded.v1": 4}, p.Kinds)
	require.Equal(t, 5*time.Second, p.Gap, "between the first results of two orders")
	require.Equal(t, 1, l.Warm())
}

func TestAddedLatencyLeavesOutTheVendorAndTheSlowKeys(t *testing.T) {
	t.Parallel()
	began := time.Unix(1000, 0)
	l := newLedger(3, began)
	for i, took := range []string{"2000000", "50000", "60000"} {
		value := `{"amount":"1","pay_order_no":"` + took + `","x":"y"}`
		l.take(result(order.Order{Key: i, Index: i}.Name(), "a", value), began.Add(2100*time.Millisecond))
	}
	require.Equal(t, []time.Duration{2050 * time.Millisecond, 2050 * time.Millisecond}, l.Added(1, 0.5, 0.99))
	require.Equal(t, []time.Duration{100 * time.Millisecond}, l.Added(0, 0))
	require.Equal(t, []time.Duration{0}, l.Added(9, 0.5), "no such key")
}
