// Package metric makes the metrics of a service and remembers what it made, so that the page about them
// (docs/metrics.md) is the program's own word; and it holds what both services count alike.
//
// It refuses the global registry, and names that are made at run time: labels take values from closed lists only.
//
// Its callers make every metric once, before the registry is served, and touch the series that must be seen as zero
// before anything happened.
package metric

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Histograms are native and classic at once: a scraper that understands native ones gets buckets of 10 % width, at most
// so many a series, others the classic ones.
const (
	nativeFactor  = 1.1
	nativeBuckets = 100
	nativeReset   = time.Hour
)

// Set makes metrics in one registry.
type Set struct {
	registry prometheus.Registerer
	made     []definition
}

// definition is what the page says of a metric.
type definition struct {
	name, kind, help string
	labels           []string
}

// NewSet returns a set without metrics.
func NewSet(r prometheus.Registerer) *Set { return &Set{registry: r} }

// Counter makes a counter.
func (s *Set) Counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	s.add(c, definition{name, "counter", help, labels})
	return c
}

// Gauge makes a gauge.
func (s *Set) Gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	s.add(g, definition{name, "gauge", help, labels})
	return g
}

// Histogram makes a histogram with these classic buckets.
func (s *Set) Histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeReset,
	}, labels)
	s.add(h, definition{name, "histogram", help, labels})
	return h
}

func (s *Set) add(c prometheus.Collector, d definition) {
	s.registry.MustRegister(c)
	s.made = append(s.made, d)
}

// Table writes what was made as a Markdown table, by name.
func (s *Set) Table(w io.Writer) error {
	made := slices.SortedFunc(slices.Values(s.made), func(a, b definition) int { return strings.Compare(a.name, b.name) })
	if _, err := fmt.Fprintln(w, "| metric | type | labels | meaning |\n|---|---|---|---|"); err != nil {
		return err
	}
	for _, d := range made {
		labels := ""
		if len(d.labels) > 0 {
			labels = "`" + strings.Join(d.labels, "`, `") + "`"
		}
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", d.name, d.kind, labels, d.help); err != nil {
			return err
		}
	}
	return nil
}

// Short are classic buckets for what takes 1 ms to 16 s.
func Short() []float64 { return prometheus.ExponentialBuckets(0.001, 2, 15) }

// Long are classic buckets for what takes 10 ms to days.
func Long() []float64 {
	return []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600}
}

// Seconds is a duration for a histogram; clocks of two machines may differ, so it may come out below zero.
func Seconds(d time.Duration) float64 { return max(d, 0).Seconds() }
