package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"paydispatch/internal/stream"
)

// source reads one partition from its leader. It is used by one goroutine.
//
// It asks by kafka-go's transport, which alone hands out what the broker says of transactions: kafka-go's other ways to
// fetch deliver the messages of aborted ones.
type source struct {
	client   *client
	at       spot
	maxWait  time.Duration // how long the broker waits for messages
	maxBytes int
	// behind, when set, is told after each answer how many offsets the log holds beyond it, those that wait for the end of
	// a transaction among them.
	behind func(int64)
}

// fetch returns what was committed from an offset on, and the offset to go on from. It waits until there is something to
// go on from, or ctx ends.
func (s *source) fetch(ctx context.Context, from int64) ([]stream.Message, int64, error) {
	for {
		log, err := s.poll(ctx, from)
		if ctx.Err() != nil {
			return nil, from, ctx.Err()
		}
		var r *reading
		if err == nil {
			r, err = read(s.at, log, from)
		}
		if err != nil {
			return nil, from, fmt.Errorf("fetch %s/%d: %w", s.at.topic, s.at.partition, err)
		}
		if s.behind != nil {
			s.behind(max(log.HighWatermark-r.next, 0))
		}
		if r.next > from {
			return r.messages, r.next, nil
		}
	}
}

// poll asks the leader once. kafka-go finds it by what it knows of the cluster, which is at most metadataTTL old.
func (s *source) poll(ctx context.Context, from int64) (log fetchapi.ResponsePartition, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.maxWait+s.client.timeout)
	defer cancel()
	res, err := s.client.send(ctx, &fetchapi.Request{
		ReplicaID: -1, MaxWaitTime: int32(s.maxWait.Milliseconds()), MinBytes: 1, MaxBytes: int32(s.maxBytes),
		IsolationLevel: int8(kafka.ReadCommitted), SessionEpoch: -1,
		Topics: []fetchapi.RequestTopic{{Topic: s.at.topic, Partitions: []fetchapi.RequestPartition{{
			Partition: int32(s.at.partition), CurrentLeaderEpoch: -1, FetchOffset: from, LogStartOffset: -1,
			PartitionMaxBytes: int32(s.maxBytes),
		}}}},
	})
	if err != nil {
		return log, err
	}
	answer, ok := res.(*fetchapi.Response)
	switch {
	case !ok:
		return log, fmt.Errorf("the broker answered with %T", res)
	case answer.ErrorCode != 0:
		return log, kafka.Error(answer.ErrorCode)
	case len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1:
		return log, errors.New("the broker left the partition out of its answer")
	}
	log = answer.Topics[0].Partitions[0]
	if log.ErrorCode != 0 {
		return log, kafka.Error(log.ErrorCode)
	}
	return log, nil
}
