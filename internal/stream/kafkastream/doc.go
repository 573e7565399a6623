// Package kafkastream is package stream on Apache Kafka (3.x and 4.x), through segmentio/kafka-go: [Publisher],
// [Consumer], and [Admin] for topics and offsets.
//
// It does not use kafka-go's Reader with a group id, whose late commits rewind the group; a [Consumer] runs
// [stream.Serve] once for each generation of the group, so that partitions change hands only after what was in flight
// is finished and committed. Publishing waits for all in-sync replicas and may write a message twice, never not at
// all: there is no idempotent producer in the client, so ids of messages must be deterministic.
//
// It refuses to create topics while consuming or publishing, and to hand out messages of a group before the process
// is prepared and every partition's start is committed. It must not be pointed at topics with transactional
// producers: aborted records would be delivered. What it needs from its caller: timings that fit (drain budget plus
// one heartbeat below the rebalance timeout, that below the session timeout; [NewConsumer] checks), offsets that the
// brokers keep longer than the longest stop of a group, and topics whose retention is longer than any delay that their
// messages wait for.
package kafkastream
