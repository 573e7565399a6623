package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// load writes the commands of a row. Part of the orders are ordered again soon after, as senders do that got no answer:
// most under the same requestId, some under another. That is what a store that forgets its latest writes is tried by.
type load struct {
	client *kgo.Client
	ledger *ledger
	rand   *rand.Rand
	failed atomic.Pointer[error]
}

// repeatShare of the orders are written twice, otherShare of those under another requestId; the second comes within a
// repeatWithin-th of the time over which all are written.
const (
	repeatShare  = 0.25
	otherShare   = 0.2
	repeatWithin = 5
)

func newLoad(brokers []string, l *ledger, seed uint64, options ...kgo.Opt) (*load, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.UnknownTopicRetries(-1),
	}, options...)...)
	if err != nil {
		return nil, err
	}
	return &load{client: client, ledger: l, rand: rand.New(rand.NewPCG(seed, 1))}, nil
}

func (l *load) close() { l.client.Close() }

// orderName is the biz_order_no of the n-th command of a part of the load.
func orderName(part string, n int) string { return fmt.Sprintf("%s-%06d", part, n) }

// writing is one message to be written.
type writing struct {
	at             time.Duration
	order, request string
}

// plan spreads commands over a time.
func (l *load) plan(part string, commands int, over time.Duration) []writing {
	var all []writing
	for i := range commands {
		name := orderName(part, i)
		at := over * time.Duration(i) / time.Duration(commands)
		all = append(all, writing{at, name, "r-" + name})
		if l.rand.Float64() < repeatShare {
			again := writing{at + time.Duration(l.rand.Float64()*float64(over/repeatWithin)), name, "r-" + name}
			if l.rand.Float64() < otherShare {
				again.request = "s-" + name
			}
			all = append(all, again)
		}
	}
	return all
}

// run writes commands, spread over a time, and returns when the brokers have them all.
func (l *load) run(ctx context.Context, part string, commands int, over time.Duration) error {
	return l.write(ctx, l.plan(part, commands, over))
}

func (l *load) write(ctx context.Context, all []writing) error {
	slices.SortStableFunc(all, func(a, b writing) int { return cmp.Compare(a.at, b.at) })
	began := time.Now()
	for _, w := range all {
		if wait := w.at - time.Since(began); wait > 0 && !pause(ctx, wait) {
			return ctx.Err()
		}
		l.ledger.write(w.order)
		l.produce(ctx, w.order, w.request)
	}
	return l.flush(ctx)
}

func (l *load) produce(ctx context.Context, order, request string) {
	value := fmt.Sprintf(`{"requestId":"%s","biz_order_no":"%s","amount":"12.34","bank_card_number":"6222021234567890123",`+
		`"name":"张三","id_card_number":"11010119900307123X","mobile":"13800000000","pay_type":"bank"}`, request, order)
	record := &kgo.Record{Topic: commandTopic, Key: []byte(order), Value: []byte(value)}
	l.client.Produce(ctx, record, func(_ *kgo.Record, err error) {
		if err != nil {
			l.failed.CompareAndSwap(nil, &err)
		}
	})
}

func (l *load) flush(ctx context.Context) error {
	if err := l.client.Flush(ctx); err != nil {
		return fmt.Errorf("write commands: %w", err)
	}
	if err := l.failed.Load(); err != nil {
		return fmt.Errorf("write commands: %w", *err)
	}
	return nil
}

// pause waits; false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
