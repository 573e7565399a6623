package memstream

import (
	"context"
	"errors"
	"fmt"

	"paydispatch/internal/stream"
)

// ConsumerConfig says how a member of a group consumes.
type ConsumerConfig struct {
	// Member is the member's name; empty takes one from a counter. A member that joins under the name of another one
	// takes its place.
	Member string
	Stream stream.Config
	// Prepare is called once, before the first message is handled; see [stream.Preparation].
	Prepare func(ctx context.Context, seenBefore bool) error
	// Witnesses are topics in which anything that was ever written proves that commands were handled before. One that was
	// not created proves nothing.
	Witnesses []string
	Gates     Gates
}

// Consumer is a member of a group. Run may be called once at a time.
type Consumer struct {
	broker *Broker
	group  *group
	cfg    ConsumerConfig
	member *member
	prep   stream.Preparation
}

// Consumer returns a member-to-be of a group over existing topics.
func (b *Broker) Consumer(groupName string, topics []string, cfg ConsumerConfig) *Consumer {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.group(groupName)
	if cfg.Member == "" {
		g.named++
		cfg.Member = fmt.Sprintf("member-%d", g.named)
	}
	cfg.Stream = cfg.Stream.WithDefaults()
	return &Consumer{
		broker: b, group: g, cfg: cfg,
		member: &member{id: cfg.Member, topics: topics},
		prep:   stream.Preparation{Prepare: cfg.Prepare},
	}
}

// Run joins the group and serves one generation after another until ctx ends; then it drains, commits, leaves the
// group and returns nil. It returns an error when a topic is unknown or another member took its name.
func (c *Consumer) Run(ctx context.Context, h stream.Handler) error {
	if err := c.checkTopics(); err != nil {
		return err
	}
	defer c.leave(ctx)
	backoff := c.cfg.Stream.Backoff()
	for failures := 0; ctx.Err() == nil; {
		if err := c.generation(ctx, h); err != nil && ctx.Err() == nil {
			if errors.Is(err, ErrFenced) {
				return err
			}
			failures++
			_ = backoff.Wait(ctx, "join "+c.member.id, failures)
			continue
		}
		failures = 0
	}
	return nil
}

func (c *Consumer) checkTopics() error {
	c.broker.mu.Lock()
	defer c.broker.mu.Unlock()
	for _, name := range c.member.topics {
		if c.broker.topics[name] == nil {
			return fmt.Errorf("consume %q: %w", name, ErrUnknownTopic)
		}
	}
	return nil
}

// leave tells the group, unless a gate refuses: then the member stays as a ghost.
func (c *Consumer) leave(ctx context.Context) {
	op := fmt.Sprintf("leave %s %s", c.group.name, c.member.id)
	if c.cfg.Gates.before(context.WithoutCancel(ctx), op) == nil {
		c.broker.leave(c.group, c.member)
	}
}

// generation joins once and serves until a rebalance or the end of ctx.
func (c *Consumer) generation(ctx context.Context, h stream.Handler) error {
	if err := c.cfg.Gates.before(ctx, fmt.Sprintf("join %s %s", c.group.name, c.member.id)); err != nil {
		return err
	}
	gctx, end := context.WithCancel(ctx)
	defer end()
	c.broker.mu.Lock()
	c.member.end = end
	c.broker.mu.Unlock()
	if err := c.broker.join(gctx, c.group, c.member); err != nil {
		return err
	}
	gen := c.assignment()
	if err := c.begin(gctx, gen); err != nil {
		return nil // the generation ended before it was ready: join the next one
	}
	if err := stream.Serve(gctx, gen, h, c.cfg.Stream); err != nil {
		c.cfg.Stream.Logger.Warn("generation ended badly", "member", c.member.id, "error", err)
	}
	return nil
}

func (c *Consumer) assignment() *generation {
	c.broker.mu.Lock()
	defer c.broker.mu.Unlock()
	return &generation{consumer: c, number: c.member.generation, assigned: c.member.assigned}
}

// begin prepares the process and stores a starting offset for every partition that has none.
func (c *Consumer) begin(ctx context.Context, gen *generation) error {
	seen := func(context.Context) (string, error) {
		return c.broker.seen(c.group, c.member.topics, c.cfg.Witnesses), nil
	}
	backoff := c.cfg.Stream.Backoff()
	if err := c.prep.Run(ctx, seen, backoff, c.cfg.Stream.Logger); err != nil {
		return err
	}
	var starts []stream.Assignment
	for i := range gen.assigned {
		if gen.assigned[i].Offset < 0 {
			gen.assigned[i].Offset = 0
			starts = append(starts, gen.assigned[i])
		}
	}
	for attempt := 1; len(starts) > 0; attempt++ {
		err := gen.Commit(ctx, starts)
		if err == nil {
			return nil
		}
		if err := backoff.Wait(ctx, "start "+c.member.id, attempt); err != nil {
			return err
		}
	}
	return nil
}

// generation implements stream.Generation.
type generation struct {
	consumer *Consumer
	number   int
	assigned []stream.Assignment
}

func (g *generation) Assignments() []stream.Assignment { return g.assigned }

func (g *generation) Fetch(ctx context.Context, a stream.Assignment, from int64) ([]stream.Message, int64, error) {
	for {
		found, grown := g.consumer.broker.read(a.Topic, a.Partition, from)
		if len(found) > 0 {
			op := fmt.Sprintf("fetch %s/%d", a.Topic, a.Partition)
			if err := g.consumer.cfg.Gates.before(ctx, op); err != nil {
				return nil, from, fmt.Errorf("%s: %w", op, err)
			}
			return found, from + int64(len(found)), nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, from, ctx.Err()
		}
	}
}

func (g *generation) Commit(ctx context.Context, next []stream.Assignment) error {
	c := g.consumer
	op := fmt.Sprintf("commit %s %s", c.group.name, c.member.id)
	if err := c.cfg.Gates.before(ctx, op); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := c.broker.commit(c.group, c.member, g.number, next); err != nil {
		return err
	}
	return c.cfg.Gates.after(ctx, op)
}
