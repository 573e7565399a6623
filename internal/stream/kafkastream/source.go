package kafkastream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"paydispatch/internal/stream"
)

// source reads one partition over one connection to its leader. It is used by one goroutine.
type source struct {
	client   *client
	at       spot
	maxWait  time.Duration // how long the broker waits for messages
	maxBytes int
	conn     *kafka.Conn
	// after is the offset after the last message returned. The connection may stand further on: behind records that
	// are not messages.
	after int64
	// end is the offset after the partition's last message, as the leader said last.
	end int64
}

func (s *source) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// fetch returns messages from an offset on, waiting for at least one until ctx ends.
func (s *source) fetch(ctx context.Context, from int64) ([]stream.Message, error) {
	kept := s.conn != nil
	messages, err := s.read(ctx, from)
	if kept && err != nil && ctx.Err() == nil && !errors.Is(err, kafka.OffsetOutOfRange) {
		// The connection may have been idle for long (a lane that was full or waited for a due time) and cut.
		messages, err = s.read(ctx, from)
	}
	return messages, err
}

func (s *source) read(ctx context.Context, from int64) ([]stream.Message, error) {
	if err := s.connect(ctx, from); err != nil {
		return nil, err
	}
	conn := s.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // nothing else interrupts a poll
	defer stop()
	for {
		messages, err := s.poll()
		if err != nil {
			s.close()
		}
		if len(messages) > 0 {
			return messages, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("fetch %s/%d: %w", s.at.topic, s.at.partition, err)
		}
	}
}

// connect dials the leader unless connected, and stands at the offset.
func (s *source) connect(ctx context.Context, from int64) error {
	if s.conn == nil {
		conn, err := s.client.dialLeader(ctx, s.at)
		if err != nil {
			return err
		}
		s.conn, s.after = conn, -1
	}
	if s.after == from {
		return nil
	}
	if _, err := s.conn.Seek(from, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
		s.close()
		return fmt.Errorf("seek %s/%d: %w", s.at.topic, s.at.partition, err)
	}
	s.after = from
	return nil
}

// poll asks the leader once. It may return messages beside an error.
func (s *source) poll() ([]stream.Message, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.maxWait + s.client.timeout)); err != nil {
		return nil, err
	}
	batch := s.conn.ReadBatchWith(kafka.ReadBatchConfig{
		MinBytes: 1, MaxBytes: s.maxBytes, MaxWait: s.maxWait, IsolationLevel: kafka.ReadCommitted,
	})
	var messages []stream.Message
	for {
		m, err := batch.ReadMessage()
		if err != nil {
			break
		}
		if !control(m) {
			messages = append(messages, fromKafka(m))
			s.after = m.Offset + 1
		}
	}
	s.end = batch.HighWaterMark()
	err := batch.Close()
	if errors.Is(err, kafka.RequestTimedOut) { // nothing came in time
		err = nil
	}
	return messages, err
}

// control tells the markers that transactional producers leave, which kafka-go delivers as messages: key and value
// begin with a version of 0, then the kind (abort, commit) and the coordinator's epoch.
func control(m kafka.Message) bool {
	k, v := m.Key, m.Value
	return len(m.Headers) == 0 && len(k) == 4 && len(v) == 6 &&
		k[0] == 0 && k[1] == 0 && k[2] == 0 && k[3] <= 1 && v[0] == 0 && v[1] == 0
}

// dialLeader connects to the broker that leads a partition.
func (c *client) dialLeader(ctx context.Context, at spot) (*kafka.Conn, error) {
	partitions, err := c.partitions(ctx, []string{at.topic})
	if err != nil {
		return nil, err
	}
	p, ok := partitions[at]
	if !ok || p.Leader.Host == "" {
		return nil, fmt.Errorf("%s/%d has no leader now", at.topic, at.partition)
	}
	address := net.JoinHostPort(p.Leader.Host, strconv.Itoa(p.Leader.Port))
	conn, err := c.dialer.DialPartition(ctx, "tcp", address, p)
	if err != nil {
		return nil, fmt.Errorf("connect to the leader of %s/%d: %w", at.topic, at.partition, err)
	}
	return conn, nil
}
