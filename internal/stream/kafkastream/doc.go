// Package kafkastream is package stream on Apache Kafka (3.x and 4.x), through segmentio/kafka-go: [Publisher],
// [Consumer], and [Admin] for topics and offsets.
//
// It uses kafka-go's transport and none of what kafka-go builds on it for consuming. A Reader with a group id commits late
// and rewinds the group; ConsumerGroup ends a generation with each connection that breaks, spins while a topic is missing,
// and may never see partitions that are added; Conn and Client deliver what a producer took back. A [Consumer] runs
// [stream.Serve] once for each generation of the group, so that partitions change hands only after what was in flight is
// finished and committed. A topic that is deleted, or that this process may no longer read, is done without: the others
// go on. Publishing waits for all in-sync replicas and may write a message twice, never not at all: there is no
// idempotent producer in the client, so ids of messages must be deterministic.
//
// It refuses to create topics while consuming or publishing, to hand out the messages of a transaction that was aborted
// or is still open, and to hand out messages of a group before the process is prepared and every partition's start is
// committed. What it needs from its caller: timings that fit (drain budget plus one heartbeat below the rebalance
// timeout, that below the session timeout; [NewConsumer] checks), offsets that the brokers keep longer than the longest
// stop of a group, and topics whose retention is longer than any delay that their messages wait for.
package kafkastream
