package memstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"paydispatch/internal/stream"
)

// MaxMessageBytes is the largest message (key, value and headers) a broker takes unless told otherwise.
const MaxMessageBytes = 10<<20 - 64<<10

// ErrUnknownTopic is wrapped when a topic was not created. A real broker's client would keep trying; the twin says so
// at once, because in a test it is a mistake.
var ErrUnknownTopic = errors.New("unknown topic")

// Gates are optional hooks into a client's calls. Names are stable: "publish <topic> <key>[,<topic> <key>…]",
// "fetch <topic>/<partition>", "commit <group> <member>", "join <group> <member>", "leave <group> <member>".
type Gates struct {
	// Before is called when a call is about to act (a fetch: when it has something to return); an error makes the
	// call fail without effect.
	Before func(ctx context.Context, op string) error
	// After is called when a publish or commit has acted; an error is returned although the effect stands.
	After func(ctx context.Context, op string) error
}

func (g Gates) before(ctx context.Context, op string) error {
	if g.Before == nil {
		return nil
	}
	return g.Before(ctx, op)
}

func (g Gates) after(ctx context.Context, op string) error {
	if g.After == nil {
		return nil
	}
	return g.After(ctx, op)
}

// Broker holds topics and groups. It is safe for concurrent use.
type Broker struct {
	mu       sync.Mutex
	maxBytes int
	topics   map[string]*topic
	groups   map[string]*group
	denied   map[string]bool
}

type topic struct {
	partitions []*partition
	unkeyed    int // round robin for messages without a key
}

type partition struct {
	log   []stream.Message
	grown chan struct{} // closed and replaced by each append
}

// NewBroker returns a broker without topics.
func NewBroker() *Broker {
	return &Broker{maxBytes: MaxMessageBytes, topics: map[string]*topic{}, groups: map[string]*group{}, denied: map[string]bool{}}
}

// LimitMessages sets the largest message the broker takes, in bytes of key, value and headers.
func (b *Broker) LimitMessages(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.maxBytes = n
}

// CreateTopic adds a topic; one that exists stays as it is.
func (b *Broker) CreateTopic(name string, partitions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.topics[name] != nil {
		return
	}
	t := &topic{}
	for range partitions {
		t.partitions = append(t.partitions, &partition{grown: make(chan struct{})})
	}
	b.topics[name] = t
}

// Deny keeps consumers from looking at a topic as a witness, whether it exists or not. It denies nothing else.
func (b *Broker) Deny(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.denied[name] = true
}

// Messages returns a copy of everything in a topic, by partition and offset.
func (b *Broker) Messages(name string) []stream.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []stream.Message
	if t := b.topics[name]; t != nil {
		for _, p := range t.partitions {
			for _, m := range p.log {
				all = append(all, clone(m))
			}
		}
	}
	return all
}

// End returns the offset after the last message of a partition.
func (b *Broker) End(name string, partition int) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[name]; t != nil && partition < len(t.partitions) {
		return int64(len(t.partitions[partition].log))
	}
	return 0
}

// Publisher returns a client that appends messages.
func (b *Broker) Publisher(g Gates) stream.Publisher { return &publisher{broker: b, gates: g} }

type publisher struct {
	broker *Broker
	gates  Gates
}

// Publish appends all messages or none.
func (p *publisher) Publish(ctx context.Context, messages ...stream.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(messages) == 0 {
		return nil
	}
	op := publishOp(messages)
	if err := p.gates.before(ctx, op); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := p.broker.appendAll(messages); err != nil {
		return err
	}
	if err := p.gates.after(ctx, op); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

func publishOp(messages []stream.Message) string {
	names := make([]string, len(messages))
	for i, m := range messages {
		names[i] = m.Topic + " " + string(m.Key)
	}
	return "publish " + strings.Join(names, ",")
}

func (b *Broker) appendAll(messages []stream.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, m := range messages {
		if b.topics[m.Topic] == nil {
			return fmt.Errorf("publish to %q: %w", m.Topic, ErrUnknownTopic)
		}
		if n := size(m); n > b.maxBytes {
			return fmt.Errorf("publish to %s: message %d of %d has %d bytes, limit %d: %w",
				m.Topic, i+1, len(messages), n, b.maxBytes, stream.ErrTooLarge)
		}
	}
	for _, m := range messages {
		b.topics[m.Topic].add(clone(m))
	}
	return nil
}

// add is called with the broker's lock held.
func (t *topic) add(m stream.Message) {
	if len(m.Key) == 0 {
		m.Partition = t.unkeyed % len(t.partitions)
		t.unkeyed++
	} else {
		m.Partition = partitionOf(m.Key, len(t.partitions))
	}
	p := t.partitions[m.Partition]
	m.Offset = int64(len(p.log))
	m.Time = time.UnixMilli(time.Now().UnixMilli())
	p.log = append(p.log, m)
	close(p.grown)
	p.grown = make(chan struct{})
}

// fetchMax bounds the messages of one fetch.
const fetchMax = 500

// read returns copies of a partition's messages from an offset on, or a channel that closes when there are more.
func (b *Broker) read(topic string, partition int, from int64) ([]stream.Message, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.topics[topic].partitions[partition]
	if from >= int64(len(p.log)) {
		return nil, p.grown
	}
	found := slices.Clone(p.log[from:min(from+fetchMax, int64(len(p.log)))])
	for i := range found {
		found[i] = clone(found[i])
	}
	return found, nil
}

func clone(m stream.Message) stream.Message {
	m.Key = bytes.Clone(m.Key)
	m.Value = bytes.Clone(m.Value)
	m.Headers = slices.Clone(m.Headers)
	for i := range m.Headers {
		m.Headers[i].Value = bytes.Clone(m.Headers[i].Value)
	}
	return m
}

func size(m stream.Message) int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
