// Package streamtest is the suite that every log behind package stream passes: [Run] checks what publishers and
// consumers may rely on, against a [Harness] that makes them. It runs in real time and waits for conditions, never for
// durations, so it is the same for the twin in memory and for a real broker.
package streamtest
