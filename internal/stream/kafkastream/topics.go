package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// ErrMissingTopics is wrapped with the names of topics that do not exist.
var ErrMissingTopics = errors.New("topics are missing")

// clientFor returns a client that knows of these topics only, and nothing from before. It asks for them by name: brokers
// leave a topic that may not be described out of a list of all, as if it did not exist.
func clientFor(cfg Config, topics []string) (*client, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	c.transport.MetadataTopics = topics
	return c, nil
}

// look returns what the brokers say of topics now.
func look(ctx context.Context, cfg Config, topics []string) ([]kafka.Topic, error) {
	c, err := clientFor(cfg, topics)
	if err != nil {
		return nil, err
	}
	defer c.close()
	res, err := c.api.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, err
	}
	return res.Topics, nil
}

// checkTopics names every topic that the broker which was asked does not know.
func checkTopics(ctx context.Context, cfg Config, names []string) error {
	missing, err := missingTopics(ctx, cfg, names)
	switch {
	case err != nil:
		return fmt.Errorf("check topics: %w", err)
	case len(missing) > 0:
		return fmt.Errorf("%w: %s", ErrMissingTopics, strings.Join(missing, ", "))
	}
	return nil
}

func missingTopics(ctx context.Context, cfg Config, names []string) ([]string, error) {
	topics, err := look(ctx, cfg, names)
	if err != nil {
		return nil, err
	}
	missing := slices.Clone(names)
	for _, t := range topics {
		if !errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == t.Name })
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}

// roll knows which topics can be served. A topic that was deleted, or that this process may no longer describe or read,
// is lost: it is left out of the group's work, so that the others go on, and taken in again once it can be served.
type roll struct {
	client *client
	topics []string
	onLost func(topic string, why error)
	lost   map[string]error // as told last
	// refused are topics that the brokers describe and do not let this process work on.
	mu      sync.Mutex
	refused map[string]error
}

// take counts the partitions of the topics that can be served, as the brokers said at most metadataTTL ago.
func (r *roll) take(ctx context.Context) (sizes map[string]int, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.client.timeout)
	defer cancel()
	res, err := r.client.api.Metadata(ctx, &kafka.MetadataRequest{Topics: r.topics})
	if err != nil {
		return nil, fmt.Errorf("look at the topics: %w", err)
	}
	sizes, lost := map[string]int{}, map[string]error{}
	for _, t := range res.Topics {
		switch {
		case gone(t.Error):
			lost[t.Name] = t.Error
		case t.Error != nil:
			return nil, fmt.Errorf("look at topic %s: %w", t.Name, t.Error)
		default:
			if why := r.stillRefused(ctx, t.Name); why != nil {
				lost[t.Name] = why
				continue
			}
			sizes[t.Name] = len(t.Partitions)
		}
	}
	r.tell(lost)
	return sizes, nil
}

// gone tells whether a topic cannot be served until somebody does something about it.
func gone(err error) bool {
	return errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, kafka.TopicAuthorizationFailed) ||
		errors.Is(err, kafka.InvalidTopic)
}

// refuse notes that the brokers do not let this process work on a topic.
func (r *roll) refuse(topic string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[topic] = why
}

// stillRefused tries a topic that was refused.
func (r *roll) stillRefused(ctx context.Context, topic string) error {
	r.mu.Lock()
	why := r.refused[topic]
	r.mu.Unlock()
	if why == nil || r.try(ctx, topic) != nil {
		return why
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.refused, topic)
	return nil
}

// try does what needs the rights that serving a topic needs: to describe and to read it.
func (r *roll) try(ctx context.Context, topic string) error {
	at := spot{topic, 0}
	logs, err := r.client.spans(ctx, []spot{at})
	if err != nil {
		return err
	}
	s := source{client: r.client, at: at, maxWait: time.Millisecond, maxBytes: 1}
	_, err = s.poll(ctx, logs[at].end)
	return err
}

func (r *roll) tell(lost map[string]error) {
	for topic, why := range lost {
		if r.lost[topic] == nil {
			r.onLost(topic, why)
		}
	}
	for topic := range r.lost {
		if lost[topic] == nil {
			r.onLost(topic, nil)
		}
	}
	r.lost = lost
}

// watch returns once other topics can be served than those whose sizes are given, or their sizes changed. What a single
// look does not find is looked for once more: a broker that has just started may be behind.
func (r *roll) watch(ctx context.Context, every time.Duration, sizes map[string]int) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, err := r.take(ctx)
		switch {
		case err != nil:
		case maps.Equal(now, sizes):
			missed = 0
		case missed == 0 && shrunk(sizes, now):
			missed++
		default:
			return fmt.Errorf("the topics changed: %v partitions, before %v", total(now), total(sizes))
		}
	}
}

func shrunk(before, now map[string]int) bool {
	for topic, size := range before {
		if now[topic] < size {
			return true
		}
	}
	return false
}

func total(sizes map[string]int) (n int) {
	for _, size := range sizes {
		n += size
	}
	return n
}
