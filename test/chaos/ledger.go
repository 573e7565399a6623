package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ledger is the outside view of a row: when each order was written, and what the result topic and the dead-letter topic
// said of it. It reads the topics itself, by another client than the product's, and knows nothing of records.
type ledger struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	orders map[string]*entry
	ended  int
	kinds  map[string]int
}

// entry is what is known of one order.
type entry struct {
	written time.Time
	// Words are the final results: kind and event id.
	words []word
	// settled is when the first of them was read.
	settled    time.Time
	unresolved bool
	dead       bool
}

// word is one final result.
type word struct{ Kind, ID string }

// The kinds of results that end an order, and those that a ledger does not book.
const (
	kindSucceeded  = "succeeded"
	kindFailed     = "failed"
	kindRejected   = "rejected"
	kindUnresolved = "unresolved"
)

func newLedger(brokers []string) (*ledger, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(resultTopic, deadTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(100*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &ledger{
		client: client, stop: stop, done: make(chan struct{}), orders: map[string]*entry{}, kinds: map[string]int{},
	}
	go l.read(ctx)
	return l, nil
}

func (l *ledger) close() {
	l.stop()
	<-l.done
	l.client.Close()
}

func (l *ledger) read(ctx context.Context) {
	defer close(l.done)
	for ctx.Err() == nil {
		fetches := l.client.PollFetches(ctx)
		now := time.Now()
		l.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { l.take(r, now) })
		l.mu.Unlock()
	}
}

// write notes that an order is about to be written; the first time counts.
func (l *ledger) write(order string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.orders[order] == nil {
		l.orders[order] = &entry{written: time.Now()}
	}
}

// take is called with the lock held.
func (l *ledger) take(r *kgo.Record, now time.Time) {
	e := l.orders[string(r.Key)]
	if e == nil { // not ordered, or not by us: the vendor's journal shows what was charged
		e = &entry{}
		l.orders[string(r.Key)] = e
	}
	if r.Topic == deadTopic {
		e.dead = true
		l.kinds["dead letter"]++
		return
	}
	var id, kind string
	for _, h := range r.Headers {
		switch h.Key {
		case "ce_id":
			id = string(h.Value)
		case "ce_type": // withhold.<kind>.v1
			kind = strings.TrimSuffix(strings.TrimPrefix(string(h.Value), "withhold."), ".v1")
		}
	}
	l.kinds[kind]++
	switch kind {
	case kindSucceeded, kindFailed, kindRejected:
		if e.settled.IsZero() {
			e.settled = now
			if !e.written.IsZero() {
				l.ended++
			}
		}
		if w := (word{kind, id}); !slices.Contains(e.words, w) {
			e.words = append(e.words, w)
		}
	case kindUnresolved:
		e.unresolved = true
	}
}

// progress tells how many orders were written, and how many have a verdict.
func (l *ledger) progress() (written, ended int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.orders {
		if !e.written.IsZero() {
			written++
		}
	}
	return written, l.ended
}

// given tells how many orders have a verdict or were given up to a person.
func (l *ledger) given() (written, over int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.orders {
		if e.written.IsZero() {
			continue
		}
		written++
		if !e.settled.IsZero() || e.unresolved || e.dead {
			over++
		}
	}
	return written, over
}

// verdict is the outcome of a row.
type verdict struct {
	Row      string `json:"row"`
	Seed     uint64 `json:"seed"`
	Commands int    `json:"commands"`
	Charges  int    `json:"charges"`
	// Twice are orders that were charged more than once.
	Twice int `json:"charged_twice"`
	// Unordered are charges of orders that nobody wrote, or that were written in a transaction which was rolled back.
	Unordered int `json:"charged_unordered"`
	// Endless are orders without a verdict of the vendor, dead letters among them.
	Endless int `json:"without_an_end"`
	// Contradictory are orders whose results disagree with one another or with what the vendor did.
	Contradictory int `json:"contradictory"`
	// NeverSent are orders that were given up though the vendor never got them.
	NeverSent int `json:"never_sent_though_unresolved"`
	// Cut are submissions whose caller went away in the middle; it counts where nobody is killed.
	Cut         int  `json:"cut"`
	CutCounts   bool `json:"cut_counts"`
	DeadLetters int  `json:"dead_letters"`
	Questions   int  `json:"questions"`
	// Longest is the longest time from an order to its verdict.
	Longest time.Duration `json:"longest_ns"`
	// Left is what the group had not committed when nothing moved any more.
	Left    int64          `json:"left_in_kafka"`
	Results map[string]int `json:"results"`
	Took    time.Duration  `json:"took_ns"`
	// Faults are what went wrong with the row itself.
	Faults []string `json:"faults,omitempty"`
	// Named are orders of each kind of failure, the first of them.
	Named map[string][]string `json:"named,omitempty"`
	// Notes say what the row did.
	Notes []string `json:"notes,omitempty"`
}

// zero reports whether nothing is wrong.
func (v verdict) zero() bool {
	failed := v.Twice + v.Unordered + v.Endless + v.Contradictory + v.NeverSent
	return failed == 0 && (v.Cut == 0 || !v.CutCounts) && len(v.Faults) == 0
}

// maxNamed bounds how many orders are named for each kind of failure.
const maxNamed = 50

func (v *verdict) name(kind, order string) {
	if v.Named == nil {
		v.Named = map[string][]string{}
	}
	if len(v.Named[kind]) < maxNamed {
		v.Named[kind] = append(v.Named[kind], order)
	}
}

// judge compares what was written and published with what the vendor did.
func (l *ledger) judge(j journal) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := verdict{Results: maps.Clone(l.kinds), Questions: j.Questions, Cut: j.Cut}
	for name, o := range j.Orders {
		v.Charges += o.Charges
		if o.Charges > 1 {
			v.Twice++
			v.name("charged twice", name)
		}
		if e := l.orders[name]; o.Charges > 0 && (e == nil || e.written.IsZero()) {
			v.Unordered++
			v.name("charged, not ordered", name)
		}
	}
	for name, e := range l.orders {
		if e.written.IsZero() {
			continue
		}
		v.Commands++
		if e.dead {
			v.DeadLetters++
		}
		o := j.Orders[name]
		if o == nil {
			o = &order{}
		}
		switch {
		case e.settled.IsZero() && e.unresolved && o.Submissions == 0:
			v.NeverSent++
			v.name("never sent though unresolved", name)
		case e.settled.IsZero():
			v.Endless++
			v.name("without an end", name)
		case contradictory(e, o):
			v.Contradictory++
			v.name("contradictory", name)
		}
		if !e.settled.IsZero() {
			v.Longest = max(v.Longest, e.settled.Sub(e.written))
		}
	}
	for _, names := range v.Named {
		slices.Sort(names)
	}
	return v
}

// contradictory reports whether an order's results are not one word, the vendor's.
func contradictory(e *entry, o *order) bool {
	return len(e.words) != 1 ||
		e.words[0].Kind == kindSucceeded && o.Charges == 0 ||
		e.words[0].Kind == kindFailed && !o.Declined ||
		e.words[0].Kind == kindRejected
}
