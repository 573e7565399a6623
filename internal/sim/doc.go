// Package sim is the deterministic simulation of the whole service; it holds tests only.
//
// One run is one testing/synctest bubble: dispatchers and a callback-ingest made of the production shells, the real
// adapters speaking HTTP over pipes to the strict vendor doubles, lanes over memstream, records in memstore. Every call
// into a twin parks at a gate, and a scheduler, the only writer of the trace, chooses by a seeded source who goes on,
// which fault strikes, and when a process is killed or the store wiped. The same seed gives the same run.
//
// Every seed has debits (effect money). Some have polls of identity flows and questions about the orders (effect read),
// and requests to tie cards (effect once) beside them, and fewer debits then.
//
// It refuses to help the service: the vendor charges every submission that it accepts. What it checks is design section
// 1, against the vendors' ledgers; watch_test.go says it precisely. The mutations in mutation_test.go show that it sees.
//
// A run assumes of the world what the policy assumes: no request is longer on the wire than wireDelay, and no charge is
// hidden from queries longer than queryLag; the settle delay exceeds both together. A flow that has ended stays so.
package sim
