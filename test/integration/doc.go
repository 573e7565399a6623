// Package integration runs both services against a broker, a Redis and the gateway's double, the way that they run in
// production: on the embedded twins (make test), and, by the same tests, on Apache Kafka and redis-server (make
// test-real, which sets KAFKA_BROKERS and REDIS_ADDR).
//
// It holds tests only. The double charges every submission that it accepts, so whatever keeps an order from being
// charged twice is ours.
package integration
