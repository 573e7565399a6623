package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"golang.org/x/sync/semaphore"

	"paydispatch/internal/stream"
)

// fullBatch is how many messages of a partition are sent without waiting for more. kafka-go takes the memory of so many
// for each batch, while one of a busy partition holds a few.
const fullBatch = 32

// PublisherConfig says how a [Publisher] batches and how much it may hold. Zero fields take the defaults named.
type PublisherConfig struct {
	Config
	// Linger is how long a partly filled batch waits for more; 2 ms.
	Linger time.Duration
	// MaxMessageBytes is the largest message that is sent at all, uncompressed; 10 MiB less 64 KiB. Topics may take
	// less: then their brokers refuse it, also as [stream.ErrTooLarge].
	MaxMessageBytes int
	// QueueMessages and QueueBytes bound what waits to be written, over all callers; 10,000 and 64 MiB. Publish waits
	// while they are used up.
	QueueMessages int
	QueueBytes    int64
	// Retry delays between attempts.
	Retry  stream.Backoff
	Logger *slog.Logger
}

func (c PublisherConfig) withDefaults() PublisherConfig {
	if c.Linger <= 0 {
		c.Linger = 2 * time.Millisecond
	}
	if c.MaxMessageBytes <= 0 {
		c.MaxMessageBytes = 10<<20 - 64<<10
	}
	if c.QueueMessages <= 0 {
		c.QueueMessages = 10_000
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 64 << 20
	}
	if c.Retry.Jitter == nil {
		c.Retry = stream.Config{RetryMin: 50 * time.Millisecond, RetryMax: time.Second}.Backoff()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Publisher implements [stream.Publisher]. Messages of one key land in one partition (murmur2, as Java's producers),
// in the order of the calls if each call waits for the one before.
type Publisher struct {
	cfg    PublisherConfig
	client *client
	// batched is the usual way; alone sends each message in a batch of its own, for those refused as too large in
	// company: a broker's limit counts batches.
	batched, alone *kafka.Writer
	messages       *semaphore.Weighted
	bytes          *semaphore.Weighted
	closed         atomic.Bool
}

// NewPublisher does not connect yet. Close releases its connections.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	cfg = cfg.withDefaults()
	c, err := newClient(cfg.Config)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg: cfg, client: c,
		messages: semaphore.NewWeighted(int64(cfg.QueueMessages)),
		bytes:    semaphore.NewWeighted(cfg.QueueBytes),
	}
	p.batched, p.alone = p.writer(fullBatch), p.writer(1)
	return p, nil
}

func (p *Publisher) writer(batch int) *kafka.Writer {
	return &kafka.Writer{
		Addr:         p.client.api.Addr,
		Transport:    p.client.transport,
		Balancer:     kafka.Murmur2Balancer{},
		RequiredAcks: kafka.RequireAll,
		BatchSize:    batch,
		BatchBytes:   int64(p.cfg.MaxMessageBytes) + 64<<10, // kafka-go counts its own overhead too
		BatchTimeout: p.cfg.Linger,
		WriteTimeout: 2 * p.client.timeout,
		ReadTimeout:  2 * p.client.timeout,
	}
}

// Publish implements [stream.Publisher]: it sends again what failed until ctx ends, unless that is useless.
func (p *Publisher) Publish(ctx context.Context, messages ...stream.Message) error {
	pending := make([]kafka.Message, len(messages))
	for i, m := range messages {
		pending[i] = toKafka(m)
		if n := sizeOf(pending[i]); n > p.cfg.MaxMessageBytes {
			return fmt.Errorf("publish to %s: message %d of %d has %d bytes, limit %d: %w",
				m.Topic, i+1, len(messages), n, p.cfg.MaxMessageBytes, stream.ErrTooLarge)
		}
	}
	writer := p.batched
	for attempt := 1; len(pending) > 0; attempt++ {
		if p.closed.Load() {
			return errClosed
		}
		err := p.attempt(ctx, writer, pending)
		if err == nil {
			return nil
		}
		failed, tooLarge, fatal := judge(pending, err)
		if fatal != nil {
			return fatal
		}
		if tooLarge != nil {
			if writer == p.alone {
				return tooLarge
			}
			writer = p.alone
		}
		pending = failed
		topic := pending[0].Topic
		if ctx.Err() == nil {
			p.cfg.Logger.Warn("publishing failed, trying again",
				"topic", topic, "messages", len(pending), "attempt", attempt, "error", err)
		}
		if ended := p.cfg.Retry.Wait(ctx, "publish "+topic, attempt); ended != nil {
			return fmt.Errorf("publish to %s: %w (last attempt: %w)", topic, ended, err)
		}
	}
	return nil
}

// Ping asks a broker for a sign of life; nothing is answered from memory.
func (p *Publisher) Ping(ctx context.Context) error {
	res, err := ask[*apiversions.Response](ctx, p.client, &apiversions.Request{})
	if err == nil && res.ErrorCode != 0 {
		err = kafka.Error(res.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("ping the brokers: %w", err)
	}
	return nil
}

// attempt writes once. kafka-go goes on writing after its caller has gone, so the place in the queue is given back
// only when it has finished.
func (p *Publisher) attempt(ctx context.Context, w *kafka.Writer, messages []kafka.Message) error {
	count := min(int64(len(messages)), int64(p.cfg.QueueMessages))
	var size int64
	for _, m := range messages {
		size += int64(sizeOf(m))
	}
	size = min(size, p.cfg.QueueBytes)
	if err := p.messages.Acquire(ctx, count); err != nil {
		return err
	}
	if err := p.bytes.Acquire(ctx, size); err != nil {
		p.messages.Release(count)
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer p.messages.Release(count)
		defer p.bytes.Release(size)
		done <- w.WriteMessages(context.WithoutCancel(ctx), messages...)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// judge sorts the outcome of a write: which messages to send again, whether one was refused for its size (or its
// batch's), and what makes sending again useless.
func judge(sent []kafka.Message, err error) (failed []kafka.Message, tooLarge, fatal error) {
	var each kafka.WriteErrors
	if !errors.As(err, &each) || len(each) != len(sent) {
		each = make(kafka.WriteErrors, len(sent))
		for i := range each {
			each[i] = err
		}
	}
	for i, e := range each {
		switch {
		case e == nil:
			continue
		case errors.Is(e, kafka.MessageSizeTooLarge):
			tooLarge = fmt.Errorf("publish to %s: message of %d bytes refused (%w): %w", sent[i].Topic, sizeOf(sent[i]), e, stream.ErrTooLarge)
		case useless(e):
			fatal = fmt.Errorf("publish to %s: %w", sent[i].Topic, e)
		}
		failed = append(failed, sent[i])
	}
	return failed, tooLarge, fatal
}

// useless tells which errors no later attempt can heal. All others are tried again, also those that kafka-go gives up
// on: no leader or no topic in metadata that is out of date, a broker that is not available.
func useless(err error) bool {
	for _, e := range []error{
		kafka.InvalidTopic, kafka.InvalidRecord, kafka.InvalidTimestamp, kafka.UnsupportedForMessageFormat,
		kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.PolicyViolation,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

var errClosed = errors.New("the publisher is closed")

// Close waits, until ctx ends, for what is being written, and drops the connections.
func (p *Publisher) Close(ctx context.Context) error {
	p.closed.Store(true)
	done := make(chan error, 1)
	go func() { done <- errors.Join(p.batched.Close(), p.alone.Close()) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("close publisher: messages may be unwritten: %w", ctx.Err())
	}
	p.client.close()
	return err
}

func sizeOf(m kafka.Message) int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
