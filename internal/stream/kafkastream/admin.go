package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"paydispatch/internal/stream"
)

// Admin looks after topics and reads logs and offsets without a group: for setup, tests and the operator's tool.
type Admin struct {
	cfg    Config
	client *client
}

// NewAdmin does not connect yet. Close releases its connections.
func NewAdmin(cfg Config) (*Admin, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Admin{cfg: cfg, client: c}, nil
}

// Close drops the connections.
func (a *Admin) Close() { a.client.close() }

// CheckTopics returns an error that names every topic that does not exist ([ErrMissingTopics]).
func (a *Admin) CheckTopics(ctx context.Context, names []string) error {
	return checkTopics(ctx, a.cfg, names)
}

// TopicSpec describes a topic to create.
type TopicSpec struct {
	Name       string
	Partitions int
	// Replication is the number of replicas; 0 takes 1.
	Replication int
	// Config are the topic's settings by Kafka's names, such as "retention.ms".
	Config map[string]string
}

// visible bounds how long CreateTopics waits until new topics have leaders.
const visible = 30 * time.Second

// CreateTopics makes the topics that do not exist (one that does stays as it is) and waits until all have leaders.
func (a *Admin) CreateTopics(ctx context.Context, specs []TopicSpec) error {
	ctx, cancel := context.WithTimeout(ctx, visible)
	defer cancel()
	req := &kafka.CreateTopicsRequest{}
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
		t := kafka.TopicConfig{Topic: s.Name, NumPartitions: s.Partitions, ReplicationFactor: max(s.Replication, 1)}
		for name, value := range s.Config {
			t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
		}
		req.Topics = append(req.Topics, t)
	}
	// Until kafka-go knows the cluster, it says of any failure that no broker is available.
	if _, err := a.client.api.Metadata(ctx, &kafka.MetadataRequest{}); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	res, err := a.client.api.CreateTopics(ctx, req)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	var problems []error
	for name, err := range res.Errors {
		if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			problems = append(problems, fmt.Errorf("create topic %s: %w", name, err))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return a.awaitLeaders(ctx, names)
}

func (a *Admin) awaitLeaders(ctx context.Context, names []string) error {
	backoff := stream.Config{RetryMin: 20 * time.Millisecond, RetryMax: 500 * time.Millisecond}.Backoff()
	for attempt := 1; ; attempt++ {
		err := a.leaders(ctx, names)
		if err == nil {
			return nil
		}
		if ended := backoff.Wait(ctx, "topics", attempt); ended != nil {
			return fmt.Errorf("await leaders: %w (%w)", ended, err)
		}
	}
}

func (a *Admin) leaders(ctx context.Context, names []string) error {
	partitions, err := a.client.partitions(ctx, names)
	if err != nil {
		return err
	}
	led := map[string]bool{}
	for at, p := range partitions {
		if p.Leader.Host == "" {
			return fmt.Errorf("%s/%d has no leader yet", at.topic, at.partition)
		}
		led[at.topic] = true
	}
	for _, name := range names {
		if !led[name] {
			return fmt.Errorf("topic %s has no partitions yet", name)
		}
	}
	return nil
}

// Span is the part of a partition's log that exists: from First up to, not including, End.
type Span struct {
	Partition  int
	First, End int64
}

// Spans lists a topic's partitions, in order.
func (a *Admin) Spans(ctx context.Context, topic string) ([]Span, error) {
	partitions, err := a.client.partitions(ctx, []string{topic})
	if err != nil {
		return nil, err
	}
	var all []spot
	for at := range partitions {
		all = append(all, at)
	}
	found, err := a.client.spans(ctx, all)
	if err != nil {
		return nil, err
	}
	spans := make([]Span, 0, len(found))
	for at, s := range found {
		spans = append(spans, Span{Partition: at.partition, First: s.first, End: s.end})
	}
	slices.SortFunc(spans, func(x, y Span) int { return x.Partition - y.Partition })
	return spans, nil
}

// Committed returns a group's committed offsets in a topic by partition; partitions without one are left out.
func (a *Admin) Committed(ctx context.Context, group, topic string) (map[int]int64, error) {
	partitions, err := a.client.partitions(ctx, []string{topic})
	if err != nil {
		return nil, err
	}
	found, err := a.client.committed(ctx, group, slices.Collect(maps.Keys(partitions)))
	if err != nil {
		return nil, err
	}
	offsets := map[int]int64{}
	for at, offset := range found {
		if offset >= 0 {
			offsets[at.partition] = offset
		}
	}
	return offsets, nil
}

// Read calls visit for the messages of one partition from an offset on, waiting for new ones, until visit returns
// false or ctx ends. It is no member of a group and commits nothing.
func (a *Admin) Read(ctx context.Context, topic string, partition int, from int64, visit func(stream.Message) bool) error {
	s := &source{client: a.client, at: spot{topic, partition}, maxWait: time.Second, maxBytes: 1 << 20}
	for {
		messages, next, err := s.fetch(ctx, from)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if !visit(m) {
				return nil
			}
		}
		from = next
	}
}
