package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxBatch bounds one pipeline, and with it the memory and the time that it takes.
	maxBatch = 256
	// maxFlights bounds the pipelines under way at once, and worthFlight is how many calls must wait, for each of them, for
	// one more to set out: fewer are carried soon enough, and cheaper, by the next one.
	maxFlights  = 4
	worthFlight = 16
)

// answer is what became of one call.
type answer struct {
	value any
	err   error
	// acked is how many replicas had the batch's writes; meaningful for a call with write set.
	acked int64
}

// pending is a call that waits for its answer.
type pending struct {
	call   call
	answer answer      // the batcher's until it is sent on done
	done   chan answer // buffered: perhaps nobody listens any more
}

// wait returns the answer, or what ended ctx; the call may then still be carried out.
func (p *pending) wait(ctx context.Context) (answer, error) {
	select {
	case a := <-p.done:
		return a, a.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// pipeliner is what a batch is sent through: one server's client, or a cluster's.
type pipeliner interface {
	Pipeline() redis.Pipeliner
}

// batcher commits calls in groups: whatever was queued while a pipeline was under way goes out as the next one, so
// that a round trip is shared by all who wait and nobody waits for company. Where many wait another one sets out at once.
// Calls share no order: whoever needs one waits for the answer of the call before.
//
// The client's own auto-pipelining is marked experimental, sends WAIT over another connection, and may repeat a
// command that was carried out.
type batcher struct {
	client   pipeliner
	cluster  *redis.ClusterClient // that client is a node of; nil for a single server
	timeout  time.Duration
	replicas int
	patience time.Duration // for the replicas

	mu      sync.Mutex
	queue   []*pending
	flights int
	closed  bool
	group   sync.WaitGroup
}

// submit queues a call.
func (b *batcher) submit(c call) *pending {
	p := &pending{call: c, done: make(chan answer, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		p.done <- answer{err: errClosed}
		return p
	}
	b.queue = append(b.queue, p)
	if b.flights < maxFlights && len(b.queue) >= worthFlight*b.flights {
		b.flights++
		b.group.Go(b.drain)
	}
	return p
}

// close refuses new calls and waits for those queued.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.group.Wait()
}

func (b *batcher) drain() {
	for batch := b.next(); batch != nil; batch = b.next() {
		b.flush(batch)
	}
}

// next takes the next batch off the queue; nil ends the draining.
func (b *batcher) next() []*pending {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.flights--
		b.queue = nil
		return nil
	}
	n := min(len(b.queue), maxBatch)
	batch := b.queue[:n:n]
	b.queue = b.queue[n:]
	return batch
}

// flush sends a batch and answers each of its calls. Only calls that a server refused to carry out are sent again: a
// script that it has not seen yet, and a key that lives on another node of the cluster.
func (b *batcher) flush(batch []*pending) {
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	b.send(ctx, b.client, batch, false)
	if unseen := refused(batch, "NOSCRIPT"); len(unseen) > 0 {
		b.send(ctx, b.client, unseen, true)
	}
	if b.cluster != nil {
		b.follow(ctx, batch)
	}
	for _, p := range batch {
		p.done <- p.answer
	}
}

// follow deals with a cluster whose layout has changed. Where replicas must be waited for the calls are not sent to
// another node, since that is done over a connection of the client's choice: the next attempt finds the node.
func (b *batcher) follow(ctx context.Context, batch []*pending) {
	moved := refused(batch, "MOVED", "ASK")
	if len(moved) == 0 && !unreached(batch) {
		return
	}
	b.cluster.ReloadState(ctx)
	if len(moved) > 0 && b.replicas == 0 {
		b.send(ctx, b.cluster, moved, true)
	}
}

// send runs one pipeline and notes the answers; whole sends scripts by their source.
func (b *batcher) send(ctx context.Context, over pipeliner, batch []*pending, whole bool) {
	pipe := over.Pipeline()
	replies := make([]*redis.Cmd, len(batch))
	var writes bool
	for i, p := range batch {
		replies[i] = pipe.Do(ctx, p.call.words(whole)...)
		writes = writes || p.call.write
	}
	var acks *redis.Cmd
	if writes && b.replicas > 0 {
		acks = pipe.Do(ctx, "wait", b.replicas, b.patience.Milliseconds())
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	acked := int64(0)
	if acks != nil {
		acked, _ = acks.Int64()
	}
	for i, p := range batch {
		value, err := replies[i].Result()
		p.answer = answer{value: value, err: err, acked: acked}
	}
}

// refused returns the calls that were refused with one of the codes.
func refused(batch []*pending, codes ...string) []*pending {
	var found []*pending
	for _, p := range batch {
		if p.answer.err != nil && slices.Contains(codes, code(p.answer.err)) {
			found = append(found, p)
		}
	}
	return found
}

// unreached reports whether a call failed without a server's word.
func unreached(batch []*pending) bool {
	return slices.ContainsFunc(batch, func(p *pending) bool { return p.answer.err != nil && code(p.answer.err) == "" })
}
