// Package stream is the contract between the message log and the shells, and the part of consuming that does not
// depend on the log: lanes (one a partition) that keep order by key while keys run side by side, and the offset
// tracker that lets only a finished prefix be committed.
//
// Adapters: kafkastream (kafka-go) and memstream (the twin); both pass the suite in streamtest. The package refuses to
// decode values, to judge errors of the domain, and to dead-letter: a [Handler] that returns nil has dealt with its
// message, one that returns an error (our own fault: Redis or Kafka away) gets it again with backoff while the lane
// waits.
package stream

import (
	"context"
	"errors"
	"time"
)

// Header is one Kafka header; names may repeat and order is kept.
type Header struct {
	Key   string
	Value []byte
}

// Message is one record of a topic.
type Message struct {
	Topic     string
	Partition int
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
	Time      time.Time
}

// Header returns the value of the last header with this name, and whether there is one.
func (m Message) Header(name string) ([]byte, bool) {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Key == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// ErrTooLarge is wrapped by [Publisher.Publish] when a message exceeds what the log accepts. Publishing it again cannot
// help: the caller shortens it (a dead letter may be cut) or gives up.
var ErrTooLarge = errors.New("message too large for the log")

// Publisher appends messages to their topics. Partition, Offset and Time of the given messages are ignored.
type Publisher interface {
	// Publish returns nil when every message is durable on all in-sync replicas. On an error any of them may or may
	// not have been written; publishing them again is safe because their ids are deterministic. An adapter tries
	// again by itself until ctx ends, so an error means that ctx ended or that trying again is useless ([ErrTooLarge]).
	// The byte slices must not change afterwards, not even after an error.
	Publish(ctx context.Context, messages ...Message) error
}

// Handler deals with one message.
type Handler interface {
	// Handle returns nil when the message needs nothing more and its offset may be committed. ctx outlives the
	// generation and ends only when the drain budget is used up. It holds a handover: once that has begun, Handle begins
	// no call any more and returns handover.ErrBegun instead, and finishes the call that it is in.
	Handle(ctx context.Context, m Message) error
}

// HandlerFunc adapts a function to [Handler].
type HandlerFunc func(ctx context.Context, m Message) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, m Message) error { return f(ctx, m) }

// Assignment is one partition given to this member, with the offset to start from: the committed one, or the start
// that was resolved and committed because none was.
type Assignment struct {
	Topic     string
	Partition int
	Offset    int64
}

// Generation is one membership of the consumer group, as an adapter offers it to [Serve].
type Generation interface {
	// Assignments lists the partitions owned in this generation.
	Assignments() []Assignment
	// Fetch returns messages of one partition from an offset on, in order, and the offset to go on from, which lies
	// further on than the last message where the log holds what nobody shall handle (the messages of a transaction that
	// was aborted). It blocks until there is an offset to go on from or ctx ends, at which it returns at once. It is called
	// by one goroutine a partition.
	Fetch(ctx context.Context, a Assignment, from int64) (messages []Message, next int64, err error)
	// Commit stores for each assignment the next offset to read. Only a member of the current generation may. It
	// bounds its own time; ctx outlives the generation.
	Commit(ctx context.Context, next []Assignment) error
}
