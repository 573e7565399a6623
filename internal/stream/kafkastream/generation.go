package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"

	"paydispatch/internal/stream"
)

// endChecks is how often a committed offset above the log's end must be seen before it is believed: a new leader may
// not know the end yet.
const endChecks = 3

// generation implements [stream.Generation] for one generation of kafka-go's consumer group.
type generation struct {
	consumer *Consumer
	gen      *kafka.Generation
	topics   []string
	assigned []stream.Assignment
	sources  map[spot]*source
	// abort ends this member's part of the generation, so that it joins anew.
	abort context.CancelFunc
}

func (c *Consumer) newGeneration(gen *kafka.Generation, topics []string, abort context.CancelFunc) *generation {
	g := &generation{consumer: c, gen: gen, topics: topics, sources: map[spot]*source{}, abort: abort}
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			g.assigned = append(g.assigned, stream.Assignment{Topic: topic, Partition: p.ID, Offset: p.Offset})
			at := spot{topic, p.ID}
			g.sources[at] = &source{client: c.client, at: at, maxWait: c.cfg.MaxWait, maxBytes: c.cfg.FetchBytes}
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
	seen := func(ctx context.Context) (string, error) { return c.seen(ctx, g.topics) }
	backoff := c.cfg.Stream.Backoff()
	if err := c.prep.Run(ctx, seen, backoff, c.cfg.Stream.Logger); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := g.resolve(ctx, attempt)
		if err == nil {
			return nil
		}
		c.cfg.Stream.Logger.Warn("starting offsets are not resolved yet, trying again", "attempt", attempt, "error", err)
		if err := backoff.Wait(ctx, "start "+c.cfg.Group, attempt); err != nil {
			return err
		}
	}
}

// resolve compares the committed offsets with the logs and commits the starts of partitions that have none.
func (g *generation) resolve(ctx context.Context, attempt int) error {
	spots := make([]spot, len(g.assigned))
	for i, a := range g.assigned {
		spots[i] = spot{a.Topic, a.Partition}
	}
	logs, err := g.consumer.client.spans(ctx, spots)
	if err != nil {
		return err
	}
	resolved, err := g.confirmed(ctx)
	if err != nil {
		return err
	}
	var starts []stream.Assignment
	var gaps []Gap
	for i, a := range resolved {
		log := logs[spots[i]]
		switch {
		case a.Offset < 0:
			resolved[i].Offset = log.first
			starts = append(starts, resolved[i])
		case a.Offset > log.end && attempt < endChecks:
			return fmt.Errorf("committed offset %d of %s/%d is above the log's end %d", a.Offset, a.Topic, a.Partition, log.end)
		case a.Offset < log.first || a.Offset > log.end:
			resolved[i].Offset = log.first
			gaps = append(gaps, Gap{Topic: a.Topic, Partition: a.Partition, Committed: a.Offset, First: log.first, End: log.end})
		}
	}
	if len(starts) > 0 {
		if err := g.Commit(ctx, starts); err != nil {
			return fmt.Errorf("commit starting offsets: %w", err)
		}
	}
	for _, gap := range gaps {
		g.consumer.alarm(gap)
	}
	g.assigned = resolved
	return nil
}

// confirmed returns the assignments, with those that come without an offset asked about once more: kafka-go takes a
// partition that the broker left out of its answer for one without an offset, and committing a start would rewind it.
func (g *generation) confirmed(ctx context.Context) ([]stream.Assignment, error) {
	resolved := slices.Clone(g.assigned)
	if !slices.ContainsFunc(resolved, func(a stream.Assignment) bool { return a.Offset < 0 }) {
		return resolved, nil
	}
	committed, err := g.consumer.client.committed(ctx, g.consumer.cfg.Group, g.topics)
	if err != nil {
		return nil, err
	}
	for i, a := range resolved {
		if offset, ok := committed[spot{a.Topic, a.Partition}]; ok && a.Offset < 0 {
			resolved[i].Offset = offset
		}
	}
	return resolved, nil
}

// Assignments implements [stream.Generation].
func (g *generation) Assignments() []stream.Assignment { return g.assigned }

// Fetch implements [stream.Generation]. When the log no longer holds the offset, the generation is given up, so that
// the next one compares offsets and raises the alarm.
func (g *generation) Fetch(ctx context.Context, a stream.Assignment, from int64) ([]stream.Message, int64, error) {
	s := g.sources[spot{a.Topic, a.Partition}]
	messages, next, err := s.fetch(ctx, from)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		g.consumer.cfg.Stream.Logger.Error("the log does not hold the next offset, joining anew",
			"topic", a.Topic, "partition", a.Partition, "offset", from)
		g.abort()
	}
	if err != nil {
		return nil, from, err
	}
	g.consumer.cfg.OnBehind(a.Topic, a.Partition, s.behind)
	return messages, next, nil
}

// Commit implements [stream.Generation]. kafka-go bounds its time. The broker refuses it unless this member is in the
// current generation.
func (g *generation) Commit(_ context.Context, next []stream.Assignment) error {
	offsets := map[string]map[int]int64{}
	for _, a := range next {
		if offsets[a.Topic] == nil {
			offsets[a.Topic] = map[int]int64{}
		}
		offsets[a.Topic][a.Partition] = a.Offset
	}
	return g.gen.CommitOffsets(offsets)
}
