package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"paydispatch/internal/stream"
)

// ConsumerConfig says how a member of a group consumes. Zero fields take the defaults named.
type ConsumerConfig struct {
	Config
	Group string
	// Stream is given to [stream.Serve]. Its drain budget plus Heartbeat must be below Rebalance.
	Stream stream.Config
	// Prepare is called once in the consumer's life; see [stream.Preparation].
	Prepare func(ctx context.Context, seenBefore bool) error
	// Witnesses are topics in which anything that was ever written proves that commands were handled before. One that does
	// not exist proves nothing; one that may not be looked at (that needs the right to describe it) counts as written to.
	Witnesses []string
	// OnGap is called when a committed offset lies outside the partition's log: an alarm, since messages were lost
	// (below) or the topic was made anew (above). An error is logged as well.
	OnGap func(Gap)
	// OnBehind is called after each answer of a broker with the number of offsets that the partition holds beyond it, and
	// with 0 when the partition is given up.
	OnBehind func(topic string, partition int, messages int64)

	// OnLost is called when a topic can no longer be served, with the reason, and when it can be again, with nil. Until
	// then the other topics go on.
	OnLost func(topic string, why error)

	// OnGroup is called with the reason when the group cannot be joined, and with nil when it was.
	OnGroup func(why error)

	Heartbeat   time.Duration // between heartbeats; 1 s
	Session     time.Duration // without a heartbeat until the brokers forget the member; 15 s
	Rebalance   time.Duration // members have so long to drain and join again; 10 s
	JoinBackoff time.Duration // after a failed join, growing to ten times as much; 500 ms
	Watch       time.Duration // between looks for topics that grew, vanished or came back; 1 s
	MaxWait     time.Duration // a broker waits so long for messages; 1 s
	FetchBytes  int           // of one fetch of one partition; 128 KiB (a larger message still comes)
}

// Gap tells of a committed offset outside of its log. Consuming goes on at First.
type Gap struct {
	Topic      string
	Partition  int
	Committed  int64
	First, End int64
}

func (c ConsumerConfig) withDefaults() ConsumerConfig {
	durations := map[*time.Duration]time.Duration{
		&c.Heartbeat: time.Second, &c.Session: 15 * time.Second, &c.Rebalance: 10 * time.Second,
		&c.JoinBackoff: 500 * time.Millisecond, &c.MaxWait: time.Second, &c.Watch: time.Second,
	}
	for field, value := range durations {
		if *field <= 0 {
			*field = value
		}
	}
	if c.FetchBytes <= 0 {
		c.FetchBytes = 128 << 10
	}
	if c.OnGap == nil {
		c.OnGap = func(Gap) {}
	}
	if c.OnLost == nil {
		c.OnLost = func(string, error) {}
	}
	if c.OnGroup == nil {
		c.OnGroup = func(error) {}
	}
	if c.OnBehind == nil {
		c.OnBehind = func(string, int, int64) {}
	}
	c.Stream = c.Stream.WithDefaults()
	return c
}

func (c ConsumerConfig) check() error {
	var problems []error
	if c.Group == "" {
		problems = append(problems, errors.New("no consumer group is set"))
	}
	if c.Stream.DrainBudget+c.Heartbeat >= c.Rebalance {
		problems = append(problems, fmt.Errorf("drain budget %v plus heartbeat %v must be below the rebalance timeout %v",
			c.Stream.DrainBudget, c.Heartbeat, c.Rebalance))
	}
	if c.Rebalance >= c.Session {
		problems = append(problems, fmt.Errorf("rebalance timeout %v must be below the session timeout %v", c.Rebalance, c.Session))
	}
	return errors.Join(problems...)
}

// Consumer is one member of a consumer group. Run may be called once.
type Consumer struct {
	cfg    ConsumerConfig
	client *client
	member *membership
	roll   *roll
	prep   stream.Preparation
}

// NewConsumer checks the settings; it does not connect yet.
func NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	c, err := newClient(cfg.Config)
	if err != nil {
		return nil, err
	}
	return &Consumer{
		cfg: cfg, client: c, member: &membership{client: c, cfg: cfg}, prep: stream.Preparation{Prepare: cfg.Prepare},
	}, nil
}

// Run joins the group and serves one generation after another until ctx ends; then it drains, commits, leaves the
// group and returns nil. It returns an error only when topics are missing at the start ([ErrMissingTopics]); brokers that
// do not answer are waited for, and topics that are lost later done without until they are back.
func (c *Consumer) Run(ctx context.Context, topics []string, h stream.Handler) error {
	defer c.client.close()
	c.client.transport.MetadataTopics = topics
	c.roll = &roll{client: c.client, topics: topics, onLost: c.lost, refused: map[string]error{}}
	if err := c.awaitTopics(ctx, topics); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	backoff := stream.Config{RetryMin: c.cfg.JoinBackoff, RetryMax: 10 * c.cfg.JoinBackoff, Jitter: c.cfg.Stream.Jitter}.Backoff()
	for failures := 0; ctx.Err() == nil; {
		err := c.generation(ctx, h)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			failures = 0
		default:
			failures++
			c.cfg.OnGroup(err)
			c.cfg.Stream.Logger.Warn("the group cannot be joined, trying again",
				"group", c.cfg.Group, "attempt", failures, "error", err)
			_ = backoff.Wait(ctx, "join "+c.cfg.Group, failures)
		}
	}
	c.leave(ctx)
	return nil
}

// MissingLooks is how often a topic must be missing before that is believed at a start: a broker that has just started
// may be behind, and a topic that was just made is not known everywhere. Each look asks a broker at random.
const MissingLooks = 3

// awaitTopics returns nil when every topic exists, and an error when some do not.
func (c *Consumer) awaitTopics(ctx context.Context, topics []string) error {
	backoff := c.cfg.Stream.Backoff()
	for attempt, missed := 1, 0; ; attempt++ {
		err := checkTopics(ctx, c.cfg.Config, topics)
		if errors.Is(err, ErrMissingTopics) {
			missed++
		}
		if err == nil || missed == MissingLooks {
			return err
		}
		c.cfg.Stream.Logger.Warn("the topics cannot be served yet, trying again", "attempt", attempt, "error", err)
		if err := backoff.Wait(ctx, "topics of "+c.cfg.Group, attempt); err != nil {
			return err
		}
	}
}

// generation takes part in one generation of the group. It returns nil when the next one may be joined at once.
func (c *Consumer) generation(ctx context.Context, h stream.Handler) error {
	sizes, err := c.roll.take(ctx)
	if err != nil {
		return err
	}
	if len(sizes) == 0 {
		c.leave(ctx)
		return errors.New("none of the topics can be served")
	}
	s, err := c.member.join(ctx, sizes)
	if errors.Is(err, errRejoin) {
		return nil
	}
	if err != nil {
		return err
	}
	gctx, end := context.WithCancelCause(ctx)
	var attending sync.WaitGroup
	attending.Go(func() { end(c.member.attend(gctx, s)) })
	attending.Go(func() { end(c.roll.watch(gctx, c.cfg.Watch, sizes)) })
	began := time.Now()
	served := c.session(gctx, end, s, h)
	end(nil)
	attending.Wait()
	why := context.Cause(gctx)
	_ = c.member.forget(why)
	if ctx.Err() == nil {
		c.cfg.Stream.Logger.Info("generation ends", "group", c.cfg.Group, "generation", s.generation, "because", why)
	}
	if served && (errors.Is(why, errRejoin) || time.Since(began) > c.cfg.JoinBackoff) {
		return nil
	}
	return why
}

// session serves one generation; it returns when the generation has ended and everything is drained. It tells whether
// it came so far as to serve.
func (c *Consumer) session(ctx context.Context, abort context.CancelCauseFunc, s *seat, h stream.Handler) (served bool) {
	g := c.newGeneration(s, abort)
	defer g.close()
	if g.begin(ctx) != nil {
		return false
	}
	log := c.cfg.Stream.Logger.With("group", c.cfg.Group, "generation", s.generation)
	log.Info("generation begins", "partitions", len(g.assigned))
	c.cfg.OnGroup(nil)
	if err := stream.Serve(ctx, g, h, c.cfg.Stream); err != nil {
		log.Warn("generation ended badly", "error", err)
	}
	return true
}

// lost tells of a topic that cannot be served, or can again.
func (c *Consumer) lost(topic string, why error) {
	if why != nil {
		c.cfg.Stream.Logger.Error("a topic cannot be served, the others go on", "topic", topic, "error", why)
	} else {
		c.cfg.Stream.Logger.Info("a topic can be served again", "topic", topic)
	}
	c.cfg.OnLost(topic, why)
}

// alarm tells of a gap.
func (c *Consumer) alarm(g Gap) {
	c.cfg.Stream.Logger.LogAttrs(context.Background(), slog.LevelError,
		"the committed offset is outside of the log: messages were lost or the topic was made anew; going on at the log's start",
		slog.String("topic", g.Topic), slog.Int("partition", g.Partition),
		slog.Int64("committed", g.Committed), slog.Int64("first", g.First), slog.Int64("end", g.End))
	c.cfg.OnGap(g)
}

// leave gives the place in the group up, so that nobody waits for this member.
func (c *Consumer) leave(ctx context.Context) {
	if err := c.member.leave(context.WithoutCancel(ctx)); err != nil {
		c.cfg.Stream.Logger.Warn("the group was not told that this member leaves; it misses it soon",
			"group", c.cfg.Group, "within", c.cfg.Session, "error", err)
	}
}
