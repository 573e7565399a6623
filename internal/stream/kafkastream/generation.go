package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go"

	"paydispatch/internal/stream"
)

// endChecks is how often a committed offset above the log's end must be seen before it is believed: a new leader may
// not know the end yet.
const endChecks = 3

// generation implements [stream.Generation] for one generation of the group.
type generation struct {
	consumer *Consumer
	seat     *seat
	assigned []stream.Assignment
	sources  map[spot]*source
	// abort ends this member's part of the generation, so that it joins anew.
	abort context.CancelCauseFunc

	mu sync.Mutex
	// vanished are the topics that a broker did not find. Under the name of one there may be another one by now, with
	// offsets that mean nothing of what was handled, so that none is committed for it any more.
	vanished map[string]bool
}

func (c *Consumer) newGeneration(s *seat, abort context.CancelCauseFunc) *generation {
	g := &generation{
		consumer: c, seat: s, sources: map[spot]*source{}, abort: abort, vanished: map[string]bool{},
	}
	for _, at := range s.assigned {
		g.assigned = append(g.assigned, stream.Assignment{Topic: at.topic, Partition: at.partition})
		g.sources[at] = &source{
			client: c.client, at: at, maxWait: c.cfg.MaxWait, maxBytes: c.cfg.FetchBytes,
			behind: func(n int64) { c.cfg.OnBehind(at.topic, at.partition, n) },
		}
	}
	slices.SortFunc(g.assigned, func(a, b stream.Assignment) int {
		if n := strings.Compare(a.Topic, b.Topic); n != 0 {
			return n
		}
		return a.Partition - b.Partition
	})
	return g
}

// close gives the partitions up: what waits in them is another member's from now on.
func (g *generation) close() {
	for at := range g.sources {
		g.consumer.cfg.OnBehind(at.topic, at.partition, 0)
	}
}

// begin prepares the process (once in its life) and resolves where each partition starts: a start that was not
// committed yet is committed before anything of the partition is handed out. It fails only when ctx ends.
func (g *generation) begin(ctx context.Context) error {
	c := g.consumer
	seen := func(ctx context.Context) (string, error) { return c.seen(ctx, c.roll.topics) }
	backoff := c.cfg.Stream.Backoff()
	if err := c.prep.Run(ctx, seen, backoff, c.cfg.Stream.Logger); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := g.resolve(ctx, attempt)
		if err == nil {
			return nil
		}
		if gone(err) {
			g.abort(err) // the others need not wait for this topic
			return err
		}
		c.cfg.Stream.Logger.Warn("starting offsets are not resolved yet, trying again", "attempt", attempt, "error", err)
		if err := backoff.Wait(ctx, "start "+c.cfg.Group, attempt); err != nil {
			return err
		}
	}
}

// resolve compares the committed offsets with the logs and commits the starts of partitions that have none.
func (g *generation) resolve(ctx context.Context, attempt int) error {
	logs, err := g.logs(ctx)
	if err != nil {
		return err
	}
	committed, err := g.consumer.client.committed(ctx, g.consumer.cfg.Group, g.seat.assigned)
	if err != nil {
		return err
	}
	resolved := slices.Clone(g.assigned)
	var starts []stream.Assignment
	var gaps []Gap
	for i := range resolved {
		a := &resolved[i]
		at := spot{a.Topic, a.Partition}
		a.Offset = committed[at]
		log := logs[at]
		switch {
		case a.Offset < 0:
			a.Offset = log.first
			starts = append(starts, *a)
		case a.Offset > log.end && attempt < endChecks:
			return fmt.Errorf("committed offset %d of %s/%d is above the log's end %d", a.Offset, a.Topic, a.Partition, log.end)
		case a.Offset < log.first || a.Offset > log.end:
			gaps = append(gaps, Gap{Topic: a.Topic, Partition: a.Partition, Committed: a.Offset, First: log.first, End: log.end})
			a.Offset = log.first
		}
	}
	for topic, of := range byTopic(starts) {
		if err := g.Commit(ctx, of); err != nil {
			return g.refused(topic, fmt.Errorf("commit starting offsets: %w", err))
		}
	}
	for _, gap := range gaps {
		g.consumer.alarm(gap)
	}
	g.assigned = resolved
	return nil
}

// logs asks where the partitions begin and end, topic by topic, so that one that is refused can be told.
func (g *generation) logs(ctx context.Context) (map[spot]span, error) {
	all := map[spot]span{}
	for topic, of := range byTopic(g.assigned) {
		spots := make([]spot, len(of))
		for i, a := range of {
			spots[i] = spot{a.Topic, a.Partition}
		}
		found, err := g.consumer.client.spans(ctx, spots)
		if err != nil {
			return nil, g.refused(topic, err)
		}
		maps.Copy(all, found)
	}
	return all, nil
}

// refused notes when an error means that this process may not work on a topic, and returns the error.
func (g *generation) refused(topic string, err error) error {
	if errors.Is(err, kafka.TopicAuthorizationFailed) {
		g.consumer.roll.refuse(topic, err)
	}
	return err
}

func byTopic(all []stream.Assignment) map[string][]stream.Assignment {
	topics := map[string][]stream.Assignment{}
	for _, a := range all {
		topics[a.Topic] = append(topics[a.Topic], a)
	}
	return topics
}

// Assignments implements [stream.Generation].
func (g *generation) Assignments() []stream.Assignment { return g.assigned }

// Fetch implements [stream.Generation]. When the log no longer holds the offset, or the topic is gone or refused, the
// generation is given up, so that the next one compares offsets and does without the topic.
func (g *generation) Fetch(ctx context.Context, a stream.Assignment, from int64) ([]stream.Message, int64, error) {
	s := g.sources[spot{a.Topic, a.Partition}]
	messages, next, err := s.fetch(ctx, from)
	switch {
	case err == nil:
		return messages, next, nil
	case errors.Is(err, kafka.OffsetOutOfRange):
		g.consumer.cfg.Stream.Logger.Error("the log does not hold the next offset, joining anew",
			"topic", a.Topic, "partition", a.Partition, "offset", from)
		g.abort(err)
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		g.vanish(a.Topic)
		g.abort(err)
	case gone(err):
		g.abort(g.refused(a.Topic, err))
	}
	return nil, from, err
}

func (g *generation) vanish(topic string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vanished[topic] = true
}

// Commit implements [stream.Generation].
func (g *generation) Commit(ctx context.Context, next []stream.Assignment) error {
	g.mu.Lock()
	next = slices.DeleteFunc(slices.Clone(next), func(a stream.Assignment) bool { return g.vanished[a.Topic] })
	g.mu.Unlock()
	if len(next) == 0 {
		return nil
	}
	return g.consumer.member.commit(ctx, g.seat, next)
}
