package load

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"paydispatch/bench/order"
)

// Plan is the commands of a run.
type Plan struct {
	Commands int
	// Rate a second; 0 writes as fast as possible.
	Rate int
	// Keys of Kafka, taken in turn, so that each gets a command every Keys/Rate seconds.
	Keys int
	// SparseKeys, the first ones, get a command only every SparseEvery turns: as many as a slow vendor can keep up with.
	SparseKeys, SparseEvery int
}

// Orders lists the commands in the order in which they are written.
func (p Plan) Orders() []order.Order {
	all := make([]order.Order, 0, p.Commands)
	seq := make([]int, p.Keys)
	for turn := 0; len(all) < p.Commands; turn++ {
		for key := 0; key < p.Keys && len(all) < p.Commands; key++ {
			// Sparse keys take different turns, so that their commands are spread evenly.
			if key < p.SparseKeys && (turn+key)%p.SparseEvery != 0 {
				continue
			}
			all = append(all, order.Order{Key: key, Seq: seq[key], Index: len(all)})
			seq[key]++
		}
	}
	return all
}

// Producer writes commands. It partitions by key as Java's producers do.
type Producer struct {
	client *kgo.Client
	bytes  atomic.Int64
	failed atomic.Pointer[error]
}

// NewProducer returns a producer that does not wait to fill batches.
func NewProducer(brokers []string) (*Producer, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(50_000), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(-1),
	)
	if err != nil {
		return nil, err
	}
	return &Producer{client: client}, nil
}

// Close drops the connections.
func (p *Producer) Close() { p.client.Close() }

// Bytes is the size of all commands written so far.
func (p *Producer) Bytes() int64 { return p.bytes.Load() }

// WarmUp writes n commands that nobody counts, with n keys.
func (p *Producer) WarmUp(ctx context.Context, n int) error {
	for i := range n {
		name := order.WarmUp(i)
		p.write(ctx, name, name)
	}
	return p.flush(ctx)
}

// Run writes the orders, each noted as written in the ledger just before, at the plan's rate, and returns when the
// broker has all of them.
func (p *Producer) Run(ctx context.Context, plan Plan, ledger *Ledger) error {
	began := time.Now()
	for i, o := range plan.Orders() {
		if plan.Rate > 0 {
			due := began.Add(time.Duration(i) * time.Second / time.Duration(plan.Rate))
			if left := time.Until(due); left > 0 {
				select {
				case <-time.After(left):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		ledger.write(o)
		p.write(ctx, o.Card(), o.Name())
	}
	return p.flush(ctx)
}

func (p *Producer) write(ctx context.Context, key, name string) {
	value := fmt.Sprintf(`{"requestId":"r-%s","biz_order_no":"%s","amount":"12.34","bank_card_number":"6222021234567890123",`+
		`"name":"张三","id_card_number":"11010119900307123X","mobile":"13800000000","pay_type":"bank"}`, name, name)
	record := &kgo.Record{Topic: Commands, Key: []byte(key), Value: []byte(value)}
	p.bytes.Add(size(record))
	p.client.Produce(ctx, record, func(_ *kgo.Record, err error) {
		if err != nil {
			p.failed.CompareAndSwap(nil, &err)
		}
	})
}

func (p *Producer) flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("write commands: %w", err)
	}
	if err := p.failed.Load(); err != nil {
		return fmt.Errorf("write commands: %w", *err)
	}
	return nil
}
