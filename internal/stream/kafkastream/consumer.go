package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

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
	// OnBehind is called after each fetch with the number of messages that the partition holds beyond it, and with 0 when
	// the partition is given up.
	OnBehind func(topic string, partition int, messages int64)

	Heartbeat   time.Duration // between heartbeats; 1 s
	Session     time.Duration // without a heartbeat until the brokers forget the member; 15 s
	Rebalance   time.Duration // members have so long to drain and join again; 10 s
	JoinBackoff time.Duration // after a failed join; 500 ms
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
		&c.JoinBackoff: 500 * time.Millisecond, &c.MaxWait: time.Second,
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

// Consumer is one member of a consumer group. Run may be called once at a time.
type Consumer struct {
	cfg    ConsumerConfig
	client *client
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
	return &Consumer{cfg: cfg, client: c, prep: stream.Preparation{Prepare: cfg.Prepare}}, nil
}

// Run joins the group and serves one generation after another until ctx ends; then it drains, commits, leaves the
// group and returns nil. It returns an error only when topics are missing ([ErrMissingTopics]); brokers that do not
// answer are waited for.
func (c *Consumer) Run(ctx context.Context, topics []string, h stream.Handler) error {
	defer c.client.close()
	if err := c.awaitTopics(ctx, topics); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	group, err := kafka.NewConsumerGroup(c.groupConfig(topics))
	if err != nil {
		return fmt.Errorf("consumer group %s: %w", c.cfg.Group, err)
	}
	closed := make(chan struct{})
	go func() {
		<-ctx.Done()
		_ = group.Close() // ends the generation, waits for its session, leaves the group
		close(closed)
	}()
	var sessions sync.WaitGroup
	c.follow(group, func(gen *kafka.Generation) {
		sessions.Add(1)
		gen.Start(func(gctx context.Context) {
			defer sessions.Done()
			c.session(gctx, gen, topics, h)
		})
	})
	sessions.Wait()
	c.leave(closed)
	return nil
}

// awaitTopics returns nil when every topic exists, and an error when some do not.
func (c *Consumer) awaitTopics(ctx context.Context, topics []string) error {
	backoff := c.cfg.Stream.Backoff()
	for attempt := 1; ; attempt++ {
		err := checkTopics(ctx, c.cfg.Config, topics)
		if err == nil || errors.Is(err, ErrMissingTopics) {
			return err
		}
		c.cfg.Stream.Logger.Warn("the brokers do not answer, trying again", "attempt", attempt, "error", err)
		if err := backoff.Wait(ctx, "topics of "+c.cfg.Group, attempt); err != nil {
			return err
		}
	}
}

func (c *Consumer) groupConfig(topics []string) kafka.ConsumerGroupConfig {
	return kafka.ConsumerGroupConfig{
		ID: c.cfg.Group, Brokers: c.client.brokers, Dialer: c.client.dialer, Topics: topics,
		HeartbeatInterval: c.cfg.Heartbeat, SessionTimeout: c.cfg.Session, RebalanceTimeout: c.cfg.Rebalance,
		JoinGroupBackoff: c.cfg.JoinBackoff, Timeout: c.client.timeout,
		WatchPartitionChanges: true, // safe because the topics exist
		StartOffset:           kafka.FirstOffset,
	}
}

// follow hands every generation to begin until the group is closed. kafka-go stands still while nobody listens.
func (c *Consumer) follow(group *kafka.ConsumerGroup, begin func(*kafka.Generation)) {
	for {
		gen, err := group.Next(context.Background())
		switch {
		case errors.Is(err, kafka.ErrGroupClosed):
			return
		case errors.Is(err, kafka.RebalanceInProgress):
			// The member keeps its id and joins again at once.
		case err != nil:
			c.cfg.Stream.Logger.Warn("joining the group failed, trying again", "group", c.cfg.Group, "error", err)
			// kafka-go forgot the id it may have been given; without this the next join waits for that ghost. It must
			// be over before the next join, or it would remove the member that this one makes.
			c.removeGhosts(c.cfg.JoinBackoff * 3 / 4)
		default:
			begin(gen)
		}
	}
}

// session serves one generation; it returns when the generation has ended and everything is drained.
func (c *Consumer) session(gctx context.Context, gen *kafka.Generation, topics []string, h stream.Handler) {
	ctx, abort := context.WithCancel(gctx)
	defer abort()
	g := c.newGeneration(gen, topics, abort)
	defer g.close()
	if g.begin(ctx) != nil {
		return
	}
	log := c.cfg.Stream.Logger.With("group", c.cfg.Group, "generation", gen.ID)
	log.Info("generation begins", "partitions", len(g.assigned))
	if err := stream.Serve(ctx, g, h, c.cfg.Stream); err != nil {
		log.Warn("generation ended badly", "error", err)
	}
}

// alarm tells of a gap.
func (c *Consumer) alarm(g Gap) {
	c.cfg.Stream.Logger.LogAttrs(context.Background(), slog.LevelError,
		"the committed offset is outside of the log: messages were lost or the topic was made anew; going on at the log's start",
		slog.String("topic", g.Topic), slog.Int("partition", g.Partition),
		slog.Int64("committed", g.Committed), slog.Int64("first", g.First), slog.Int64("end", g.End))
	c.cfg.OnGap(g)
}

// leaveGrace is how long a group without a session may take to close before its pending join is thrown out.
const leaveGrace = 2 * time.Second

// leave waits until the member has left. kafka-go waits for the answer to a join, which can take a whole rebalance,
// and in some races goes without leaving; removing what is left under this client's id heals both.
func (c *Consumer) leave(closed <-chan struct{}) {
	after(closed, leaveGrace)
	c.removeGhosts(c.client.timeout)
	if !after(closed, c.client.timeout) {
		c.cfg.Stream.Logger.Warn("left the group without the broker's answer", "group", c.cfg.Group)
	}
}

func after(closed <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}

// removeGhosts takes every member with this consumer's client id, which no one else has, out of the group.
func (c *Consumer) removeGhosts(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := c.client.api.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{c.cfg.Group}})
	if err != nil || len(res.Groups) == 0 {
		return // the broker forgets the member when its session ends
	}
	for _, m := range res.Groups[0].Members {
		if m.ClientID != c.client.id || ctx.Err() != nil {
			continue
		}
		_, err := c.client.api.LeaveGroup(ctx, &kafka.LeaveGroupRequest{
			GroupID: c.cfg.Group, Members: []kafka.LeaveGroupRequestMember{{ID: m.MemberID}},
		})
		c.cfg.Stream.Logger.Info("removed a left-over member", "group", c.cfg.Group, "member", m.MemberID, "error", err)
	}
}
