package kafkastream

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// seen returns why commands may have been handled before, see [stream.Preparation]. The group's own offsets are no proof
// that none were: they are lost with the group, and another deployment may have served other topics.
func (c *Consumer) seen(ctx context.Context, topics []string) (why string, err error) {
	found, err := c.client.committed(ctx, c.cfg.Group, topics)
	if err != nil {
		return "", err
	}
	switch {
	case len(found) > 0:
		return fmt.Sprintf("group %s has committed offsets", c.cfg.Group), nil
	case len(c.cfg.Witnesses) == 0:
		return "", nil
	}
	return witness(ctx, c.cfg.Config, c.cfg.Witnesses)
}

// witness looks for a topic that was ever written to: the end of a log stays when retention has eaten all of it.
//
// It uses a client of its own that asks for these topics by name: brokers leave a topic that may not be described out of
// a list of all, as if it did not exist.
func witness(ctx context.Context, cfg Config, topics []string) (why string, err error) {
	c, err := newClient(cfg)
	if err != nil {
		return "", err
	}
	defer c.close()
	c.transport.MetadataTopics = topics
	res, err := c.api.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return "", fmt.Errorf("look for witnesses: %w", err)
	}
	var all []spot
	for _, t := range res.Topics {
		switch {
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
			continue
		case t.Error != nil:
			return unseen(t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			all = append(all, spot{t.Name, p.ID})
		}
	}
	logs, err := c.spans(ctx, all)
	if err != nil {
		return unseen("a witness topic", err)
	}
	for _, at := range all {
		if end := logs[at].end; end > 0 {
			return fmt.Sprintf("%s/%d was written to: its log ends at %d", at.topic, at.partition, end), nil
		}
	}
	return "", nil
}

// unseen tells a topic that may not be looked at, which may have been written to, from one that cannot be just now.
func unseen(topic string, err error) (why string, again error) {
	if refused, ok := errors.AsType[kafka.Error](err); ok && !refused.Temporary() {
		return fmt.Sprintf("%s may not be looked at: %s", topic, err), nil
	}
	return "", fmt.Errorf("look at witness %s: %w", topic, err)
}
