// Package memstream is a Kafka broker in memory: the twin of kafkastream for tests and for the deterministic
// simulation. It keeps topics, partitions (keys by murmur2, as kafkastream), consumer groups with eager rebalances,
// and committed offsets that only a member of the current generation may move.
//
// It needs nothing but mutexes and channels, so it runs inside a testing/synctest bubble, and every call passes the
// optional [Gates] of its client, where a scheduler can park, refuse or kill it. It keeps no data on disk, trims no
// log, and knows no transactions. A member that disappears without leaving (its leave was refused by a gate) stays in
// its group until [Broker.Expel], until a member of the same name joins, or until the next rebalance has waited
// [RebalanceTimeout] for it.
package memstream
