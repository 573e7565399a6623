package kafkastream

import (
	"errors"
	"io"
	"slices"

	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"paydispatch/internal/stream"
)

// reading picks the messages that count out of one answer of a broker. Those of a transaction that was aborted do not,
// nor do the markers that end transactions; the offsets of both are passed like those of messages.
type reading struct {
	at       spot
	from     int64
	messages []stream.Message
	next     int64 // after all that was looked at
	// aborted are, by producer, the offsets at which its aborted transactions begin, as far as their markers were not
	// met. The broker names those that touch the answer, also when they began before it.
	aborted map[int64][]int64
}

// read fails on an answer that it cannot tell the aborted messages of.
func read(at spot, log fetchapi.ResponsePartition, from int64) (*reading, error) {
	r := &reading{at: at, from: from, next: from, aborted: map[int64][]int64{}}
	for _, t := range log.AbortedTransactions {
		r.aborted[t.ProducerID] = append(r.aborted[t.ProducerID], t.FirstOffset)
	}
	for _, began := range r.aborted {
		slices.Sort(began)
	}
	all := batches(log.RecordSet.Records)
	for _, b := range all {
		if err := r.batch(b); err != nil {
			return nil, err
		}
	}
	if len(all) > 0 && r.next == from {
		r.next++ // compaction took the offset; kafka-go does not say where the batch that held it ends
	}
	return r, nil
}

func batches(records protocol.RecordReader) []protocol.RecordReader {
	switch records := records.(type) {
	case nil:
		return nil
	case *protocol.RecordStream:
		return records.Records
	default:
		return []protocol.RecordReader{records}
	}
}

func (r *reading) batch(batch protocol.RecordReader) error {
	switch b := batch.(type) {
	case *protocol.ControlBatch:
		return r.marker(b)
	case *protocol.RecordBatch:
		r.pass(b.BaseOffset)
		return r.records(b, b.Attributes.Transactional() && r.isAborted(b.ProducerID, b.BaseOffset))
	default: // from before Kafka knew transactions
		return r.records(b, false)
	}
}

// marker notes that a transaction ended: what its producer writes from here on belongs to another one.
func (r *reading) marker(b *protocol.ControlBatch) error {
	r.pass(b.BaseOffset)
	m, err := b.ReadControlRecord()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	r.pass(m.Offset)
	const abort = 0
	if began := r.aborted[b.ProducerID]; m.Type == abort && len(began) > 0 {
		r.aborted[b.ProducerID] = began[1:]
	}
	return nil
}

func (r *reading) isAborted(producer, offset int64) bool {
	began := r.aborted[producer]
	return len(began) > 0 && began[0] <= offset
}

// records reads a batch, which may begin before the offset that was asked for.
func (r *reading) records(b protocol.RecordReader, skip bool) error {
	for {
		record, err := b.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := r.message(record)
		if err != nil {
			return err
		}
		if !skip && m.Offset >= r.from {
			r.messages = append(r.messages, m)
		}
		r.pass(m.Offset)
	}
}

func (r *reading) pass(offset int64) { r.next = max(r.next, offset+1) }

// message copies a record, whose bytes kafka-go uses again.
func (r *reading) message(record *protocol.Record) (stream.Message, error) {
	m := stream.Message{Topic: r.at.topic, Partition: r.at.partition, Offset: record.Offset, Time: record.Time}
	var err error
	if m.Key, err = bytesOf(record.Key); err != nil {
		return m, err
	}
	if m.Value, err = bytesOf(record.Value); err != nil {
		return m, err
	}
	for _, h := range record.Headers {
		m.Headers = append(m.Headers, stream.Header{Key: h.Key, Value: h.Value})
	}
	return m, nil
}

func bytesOf(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer func() { _ = b.Close() }() // gives memory back, cannot fail
	return protocol.ReadAll(b)
}
