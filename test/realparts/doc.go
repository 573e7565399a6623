// Package realparts starts real parts for tests that need more than one of them or break them: Apache Kafka brokers in
// KRaft mode, each a process of its own that is both broker and controller. The one broker and the Redis that most tests
// of real parts share are started by scripts/real-parts.
//
// It needs Java and what scripts/kafka-jars resolves. Everything listens on 127.0.0.1 only, lives in the test's own
// folder, and is gone when the test ends.
package realparts
