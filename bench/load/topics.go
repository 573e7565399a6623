// Package load is the outside of the bench: it makes topics, writes commands, and reads results as they come.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topics of the withhold commands.
const (
	Commands = "withhold.request"
	Results  = "withhold.result"
	Dead     = "withhold.request.dlq"
)

// Tiers are the delay topics of the dispatcher's default PARK_TIERS.
func Tiers() []string {
	return []string{Commands + ".delay.5s", Commands + ".delay.30s", Commands + ".delay.5m", Commands + ".delay.1h"}
}

// All lists every topic that a run may use.
func All() []string { return append(Tiers(), Commands, Results, Dead) }

// Broker speaks to the Kafka under test.
type Broker struct{ client *kgo.Client }

// Dial returns a Broker.
func Dial(brokers []string) (*Broker, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &Broker{client}, nil
}

// Close drops the connections.
func (b *Broker) Close() { b.client.Close() }

// Renew deletes the topics that exist and creates all, so that a run begins with empty ones.
func (b *Broker) Renew(ctx context.Context, partitions int) error {
	drop := kmsg.NewPtrDeleteTopicsRequest()
	drop.TimeoutMillis = 10_000
	for _, name := range All() {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &name
		drop.Topics = append(drop.Topics, t)
		drop.TopicNames = append(drop.TopicNames, name)
	}
	if _, err := drop.RequestWith(ctx, b.client); err != nil {
		return fmt.Errorf("delete the topics of the last run: %w", err)
	}
	missing, made := All(), map[string][16]byte{}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) { // a deleted topic goes away a little later
		var err error
		if missing, err = b.create(ctx, missing, partitions, made); err == nil && len(missing) == 0 {
			err = b.known(ctx, made, partitions)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return fmt.Errorf("create topics %v: %w", missing, err)
		}
	}
}

// known fails until the broker itself knows the topics as they were made, and not as they were before.
func (b *Broker) known(ctx context.Context, made map[string][16]byte, partitions int) error {
	req := kmsg.NewPtrMetadataRequest()
	for name := range made {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	res, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return err
	}
	for _, t := range res.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return err
		}
		led := 0
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.Leader >= 0 {
				led++
			}
		}
		if led != partitions || t.TopicID != made[*t.Topic] {
			return fmt.Errorf("topic %s is not served yet", *t.Topic)
		}
	}
	return nil
}

// create notes the ids of the topics that it made, and returns those that could not be created yet.
func (b *Broker) create(ctx context.Context, names []string, partitions int, made map[string][16]byte) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, int32(partitions), 1
		req.Topics = append(req.Topics, t)
	}
	res, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return names, err
	}
	var missing []string
	for _, t := range res.Topics {
		if e := kerr.ErrorForCode(t.ErrorCode); e != nil {
			missing, err = append(missing, t.Topic), e
			continue
		}
		made[t.Topic] = t.TopicID
	}
	return missing, err
}

// Written counts the messages that were ever written to topics.
func (b *Broker) Written(ctx context.Context, partitions int, topics ...string) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for _, name := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = name
		for p := range partitions {
			r := kmsg.NewListOffsetsRequestTopicPartition()
			r.Partition, r.Timestamp = int32(p), -1
			t.Partitions = append(t.Partitions, r)
		}
		req.Topics = append(req.Topics, t)
	}
	total := int64(0)
	for _, shard := range b.client.RequestSharded(ctx, req) {
		res, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if shard.Err != nil || !ok {
			return 0, fmt.Errorf("list offsets: %w", shard.Err)
		}
		for _, t := range res.Topics {
			for _, p := range t.Partitions {
				total += max(p.Offset, 0)
			}
		}
	}
	return total, nil
}

// Committed reads a group's committed offsets in the command topic by partition, -1 for none.
func (b *Broker) Committed(ctx context.Context, group string, partitions int) ([]int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	t := kmsg.NewOffsetFetchRequestTopic()
	t.Topic = Commands
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	gt := kmsg.NewOffsetFetchRequestGroupTopic()
	gt.Topic = Commands
	for p := range partitions {
		t.Partitions = append(t.Partitions, int32(p))
		gt.Partitions = append(gt.Partitions, int32(p))
	}
	g.Topics = append(g.Topics, gt)
	req.Topics, req.Groups = append(req.Topics, t), append(req.Groups, g)
	res, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return nil, err
	}
	offsets := slices.Repeat([]int64{-1}, partitions)
	note := func(partition int32, offset int64, code int16) {
		if code == 0 && int(partition) < partitions {
			offsets[partition] = offset
		}
	}
	err = kerr.ErrorForCode(res.ErrorCode)
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			note(p.Partition, p.Offset, p.ErrorCode)
		}
	}
	for _, g := range res.Groups {
		err = errors.Join(err, kerr.ErrorForCode(g.ErrorCode))
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				note(p.Partition, p.Offset, p.ErrorCode)
			}
		}
	}
	return offsets, err
}
