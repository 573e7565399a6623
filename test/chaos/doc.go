// Chaos plays faults on the built programs, on a real Kafka and a real Redis, and prints a table in which every count of
// a failure has to be zero. docs/chaos.md explains its rows.
//
//	go run ./test/chaos                 every row, 5,000 commands each
//	go run ./test/chaos -short          every row, 600 commands each
//	go run ./test/chaos -only failover  rows whose name matches the regular expression
//	go run ./test/chaos -list           names and faults
//	go run ./test/chaos -mutants        each mechanism taken out, and the row that must notice it
//
// What judges is independent of what is judged: the vendor's double is a process of its own that charges every
// submission it gets and answers questions by what it charged; the ledger reads the result topic by another client than
// the product's. Neither shares code with the product.
//
// It refuses to guess: a row that could not be played is a failure. It stops what it started by process id, also when it
// is interrupted, and leaves the folder of a failed row with every log, the vendor's charges and verdict.json.
//
// It needs Linux, Java 17, Maven (for Kafka's jars, once) and redis-server: scripts/install-real.
package main
