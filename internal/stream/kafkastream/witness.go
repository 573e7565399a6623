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
	spots, why, err := spotsOf(ctx, c.client, topics)
	if why != "" || err != nil {
		return why, err
	}
	found, err := c.client.committed(ctx, c.cfg.Group, spots)
	if err != nil {
		return "", err
	}
	for _, offset := range found {
		if offset >= 0 {
			return fmt.Sprintf("group %s has committed offsets", c.cfg.Group), nil
		}
	}
	if len(c.cfg.Witnesses) == 0 {
		return "", nil
	}
	return witness(ctx, c.cfg.Config, c.cfg.Witnesses)
}

// witness looks for a topic that was ever written to: the end of a log stays when retention has eaten all of it.
func witness(ctx context.Context, cfg Config, topics []string) (why string, err error) {
	c, err := clientFor(cfg, topics)
	if err != nil {
		return "", err
	}
	defer c.close()
	all, why, err := spotsOf(ctx, c, topics)
	if why != "" || err != nil {
		return why, err
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

// spotsOf lists the partitions of topics, without those that do not exist, or says which topic may not be looked at.
func spotsOf(ctx context.Context, c *client, topics []string) (all []spot, why string, err error) {
	res, err := c.api.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, "", fmt.Errorf("look for witnesses: %w", err)
	}
	for _, t := range res.Topics {
		switch {
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
			continue
		case t.Error != nil:
			why, err := unseen(t.Name, t.Error)
			return nil, why, err
		}
		for _, p := range t.Partitions {
			all = append(all, spot{t.Name, p.ID})
		}
	}
	return all, "", nil
}

// unseen tells a topic that may not be looked at, which may have been written to, from one that cannot be just now.
func unseen(topic string, err error) (why string, again error) {
	if refused, ok := errors.AsType[kafka.Error](err); ok && !refused.Temporary() {
		return fmt.Sprintf("%s may not be looked at: %s", topic, err), nil
	}
	return "", fmt.Errorf("look at witness %s: %w", topic, err)
}
