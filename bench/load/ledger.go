package load

import (
	"bytes"
	"context"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"paydispatch/bench/order"
)

// Ledger knows of each command when it was written and what results came for it.
type Ledger struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	orders []entry
	got    int
	extra  Extra
	kinds  map[string]int
	bytes  int64 // of all results counted
	warm   map[string]bool
	first  time.Time
	last   time.Time
	gap    time.Duration
	gapAt  time.Time
}

// Extra counts results beyond the first of their order.
type Extra struct {
	// Repeated have the id of the first: a reader that drops repeated ids never sees them. OtherID have another one.
	Repeated, OtherID int
}

type entry struct {
	written time.Time
	key     int
	id      uint64
	results int
	added   time.Duration // from written to result, less the time at the vendor
}

// NewLedger reads results from now on into a ledger for so many commands. The topic must exist.
func NewLedger(brokers []string, commands int) (*Ledger, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(Results),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Ledger{
		client: client, stop: stop, done: make(chan struct{}),
		orders: make([]entry, commands), kinds: map[string]int{}, warm: map[string]bool{},
	}
	go l.read(ctx)
	return l, nil
}

// Close ends the reading.
func (l *Ledger) Close() {
	l.stop()
	<-l.done
	l.client.Close()
}

func (l *Ledger) read(ctx context.Context) {
	defer close(l.done)
	for ctx.Err() == nil {
		fetches := l.client.PollFetches(ctx)
		now := time.Now()
		l.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { l.take(r, now) })
		l.mu.Unlock()
	}
}

// take is called with the lock held.
func (l *Ledger) take(r *kgo.Record, now time.Time) {
	name := string(r.Key)
	o, counted := order.Parse(name)
	if !counted || o.Index >= len(l.orders) {
		l.warm[name] = true
		return
	}
	id, kind := describe(r)
	l.kinds[kind]++
	l.bytes += size(r)
	e := &l.orders[o.Index]
	e.results++
	if e.results > 1 {
		if id == e.id {
			l.extra.Repeated++
		} else {
			l.extra.OtherID++
		}
		return
	}
	e.id, e.added = id, now.Sub(e.written)-atVendor(r.Value)
	l.got++
	if l.first.IsZero() {
		l.first = now
	} else if gap := now.Sub(l.last); gap > l.gap {
		l.gap, l.gapAt = gap, now
	}
	l.last = now
}

// size is a record's before compression, without Kafka's few bytes of framing.
func size(r *kgo.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for _, header := range r.Headers {
		n += len(header.Key) + len(header.Value)
	}
	return int64(n)
}

// Bytes is the size of all results that came for commands.
func (l *Ledger) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

func describe(r *kgo.Record) (id uint64, kind string) {
	h := fnv.New64a()
	for _, header := range r.Headers {
		switch header.Key {
		case "ce_id":
			_, _ = h.Write(header.Value)
		case "ce_type":
			kind = string(header.Value)
		}
	}
	return h.Sum64(), kind
}

// atVendor reads how long the call took at the double, which tells it as pay_order_no in microseconds.
func atVendor(value []byte) time.Duration {
	const before = `"pay_order_no":"`
	at := bytes.Index(value, []byte(before))
	if at < 0 {
		return 0
	}
	rest := value[at+len(before):]
	end := max(bytes.IndexByte(rest, '"'), 0)
	n, _ := strconv.ParseInt(string(rest[:end]), 10, 64)
	return time.Duration(n) * time.Microsecond
}

func (l *Ledger) write(o order.Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders[o.Index].written, l.orders[o.Index].key = time.Now(), o.Key
}

// Warm counts the warm-up commands that have a result.
func (l *Ledger) Warm() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.warm)
}

// Progress is where a run stands.
type Progress struct {
	// Got counts commands with a result.
	Got int
	// First and Last are when the first and the last of these results came; Gap is the longest time without any in
	// between, which ended at GapAt.
	First, Last, GapAt time.Time
	Gap                time.Duration
	Extra              Extra
	// Kinds counts the results by type.
	Kinds map[string]int
}

// Progress tells where the run stands.
func (l *Ledger) Progress() Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Progress{Got: l.got, First: l.first, Last: l.last, Gap: l.gap, GapAt: l.gapAt, Extra: l.extra, Kinds: map[string]int{}}
	for k, n := range l.kinds {
		p.Kinds[k] = n
	}
	return p
}

// Added returns the quantiles of the added latency of the commands of keys from fromKey on: the time from just before
// a command was handed to the producer to when its result was read, less the time that the call took at the vendor.
func (l *Ledger) Added(fromKey int, quantiles ...float64) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []time.Duration
	for _, e := range l.orders {
		if e.results > 0 && e.key >= fromKey {
			all = append(all, e.added)
		}
	}
	slices.Sort(all)
	out := make([]time.Duration, len(quantiles))
	for i, q := range quantiles {
		if len(all) > 0 {
			out[i] = all[min(int(q*float64(len(all))), len(all)-1)]
		}
	}
	return out
}
