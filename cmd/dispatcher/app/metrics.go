package app

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/limit"
)

// metrics are what the dispatcher counts. Labels come from closed lists: topics of the catalog, words of the core and
// codes of the adapters.
type metrics struct {
	commands  *prometheus.HistogramVec
	dead      *prometheus.CounterVec
	panics    *prometheus.CounterVec
	calls     *prometheus.HistogramVec
	published *prometheus.CounterVec
	parked    *prometheus.CounterVec

	fetched       *prometheus.CounterVec
	fetchedBytes  *prometheus.CounterVec
	running       *prometheus.GaugeVec
	holding       *prometheus.GaugeVec
	retries       *prometheus.CounterVec
	fetchFailures *prometheus.CounterVec
	commitFails   prometheus.Counter
	drains        prometheus.Histogram
	unfinished    prometheus.Counter
	gaps          *prometheus.CounterVec
	behind        *prometheus.GaugeVec
	heads         *heads

	breakers  *prometheus.GaugeVec
	putOff    *prometheus.CounterVec
	waited    *prometheus.HistogramVec
	processes *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		reg.MustRegister(g)
		return g
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, labels)
		reg.MustRegister(h)
		return h
	}
	m := &metrics{
		commands:      histogram("paydispatch_command_seconds", "Messages that need nothing more, by how they ended, and how long the handling took.", "topic", "outcome"),
		dead:          counter("paydispatch_dead_letters_total", "Messages moved to a dead-letter topic.", "topic", "reason"),
		panics:        counter("paydispatch_panics_total", "Recovered panics.", "topic"),
		calls:         histogram("paydispatch_vendor_call_seconds", "Calls of a vendor, by what it said or how they failed.", "topic", "call", "outcome"),
		published:     counter("paydispatch_results_total", "Published result events.", "topic", "kind"),
		parked:        counter("paydispatch_parked_total", "Operations parked in a delay topic, by the phase they were in.", "topic", "phase"),
		fetched:       counter("paydispatch_fetched_messages_total", "Messages fetched.", "topic"),
		fetchedBytes:  counter("paydispatch_fetched_bytes_total", "Bytes fetched.", "topic"),
		running:       gauge("paydispatch_running_handlers", "Messages being handled.", "topic"),
		holding:       gauge("paydispatch_held_partitions", "Partitions whose head waits for its due time.", "topic"),
		retries:       counter("paydispatch_handler_failures_total", "Handlings that failed by our own fault and are tried again.", "topic"),
		fetchFailures: counter("paydispatch_fetch_failures_total", "Fetches that failed and are tried again.", "topic"),
		commitFails:   prometheus.NewCounter(prometheus.CounterOpts{Name: "paydispatch_commit_failures_total", Help: "Offset commits that failed and are tried again."}),
		drains:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "paydispatch_drain_seconds", Help: "How long the generations took to drain.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
		unfinished:    prometheus.NewCounter(prometheus.CounterOpts{Name: "paydispatch_undrained_messages_total", Help: "Messages left unfinished at the end of a generation; they are delivered again."}),
	}
	m.gaps = counter("paydispatch_offset_gaps_total", "Committed offsets found outside of their log: messages were lost.", "topic")
	m.behind = gauge("paydispatch_backlog_messages", "Messages of a partition that were not fetched yet.", "topic", "partition")
	m.heads = newHeads(gauge("paydispatch_oldest_unfinished_seconds", "How long the first unfinished message of a partition has held back its commits; the longest of a topic.", "topic"))
	m.breakers = gauge("paydispatch_breaker_open", "1 while calls of a vendor's method are put off because it failed too often, 0.5 while a few are let through again.", "vendor", "method")
	m.putOff = counter("paydispatch_put_off_calls_total", "Vendor calls that were not made: breaker open, rate used up, places used up.", "vendor", "method", "code")
	m.waited = histogram("paydispatch_turn_wait_seconds", "How long vendor calls waited for their turn.", "vendor", "method")
	m.processes = counter("paydispatch_identity_processes_total", "Answers about identity flows by process; those that the vendor does not document are 'other'.", "process")
	reg.MustRegister(m.commitFails, m.drains, m.unfinished)
	return m
}

// touch makes the series of a topic that must be seen as zero before anything happened.
func (m *metrics) touch(topic string) {
	m.panics.WithLabelValues(topic)
	m.gaps.WithLabelValues(topic)
	for _, reason := range []string{"invalid", "too_large", "request_reused", "order_reused", "refused", "unreadable", "panic"} {
		m.dead.WithLabelValues(topic, reason)
	}
	for _, kind := range []string{
		commands.KindSucceeded, commands.KindFailed, commands.KindPending, commands.KindRejected,
		commands.KindDuplicate, commands.KindUnresolved, commands.KindConflict, commands.KindAnswered, commands.KindUnknown,
	} {
		m.published.WithLabelValues(topic, kind)
	}
	for _, phase := range []commands.Phase{commands.Waiting, commands.Asking, commands.Refused, commands.Pending} {
		m.parked.WithLabelValues(topic, phase.String())
	}
}

func (m *metrics) gap(g kafkastream.Gap) { m.gaps.WithLabelValues(g.Topic).Inc() }

func (m *metrics) backlog(topic string, partition int, messages int64) {
	m.behind.WithLabelValues(topic, strconv.Itoa(partition)).Set(float64(messages))
}

func (m *metrics) operation(topic string) operation.Observer {
	return operation.Observer{
		Called: func(what, outcome string, took time.Duration) {
			m.calls.WithLabelValues(topic, what, outcome).Observe(took.Seconds())
		},
		Published: func(kind string) { m.published.WithLabelValues(topic, kind).Inc() },
		Parked:    func(phase commands.Phase) { m.parked.WithLabelValues(topic, phase.String()).Inc() },
	}
}

// process counts an answer of e签宝.
func (m *metrics) process(process string, known bool) {
	if !known {
		process = "other"
	}
	m.processes.WithLabelValues(process).Inc()
}

// limits are the hooks of the vendors' limits.
func (m *metrics) limits() limit.Observer {
	open := map[string]float64{"closed": 0, "half-open": 0.5, "open": 1}
	return limit.Observer{
		Breaker: func(vendor, method, state string) { m.breakers.WithLabelValues(vendor, method).Set(open[state]) },
		PutOff:  func(vendor, method, code string) { m.putOff.WithLabelValues(vendor, method, code).Inc() },
		Waited: func(vendor, method string, d time.Duration) {
			m.waited.WithLabelValues(vendor, method).Observe(d.Seconds())
		},
	}
}

func (m *metrics) dispatch() dispatch.Observer {
	return dispatch.Observer{
		Finished: func(topic, outcome string, took time.Duration) {
			m.commands.WithLabelValues(topic, outcome).Observe(took.Seconds())
		},
		DeadLettered: func(topic, reason string) { m.dead.WithLabelValues(topic, reason).Inc() },
		Panicked:     func(topic string) { m.panics.WithLabelValues(topic).Inc() },
	}
}

func (m *metrics) stream() stream.Observer {
	return stream.Observer{
		Fetched: func(topic string, messages int, bytes int64) {
			m.fetched.WithLabelValues(topic).Add(float64(messages))
			m.fetchedBytes.WithLabelValues(topic).Add(float64(bytes))
		},
		Running: func(topic string, delta int) { m.running.WithLabelValues(topic).Add(float64(delta)) },
		Holding: func(topic string, delta int) { m.holding.WithLabelValues(topic).Add(float64(delta)) },
		Handled: func(topic string, _ time.Duration, err error) {
			if err != nil {
				m.retries.WithLabelValues(topic).Inc()
			}
		},
		Panicked:     func(topic string) { m.panics.WithLabelValues(topic).Inc() },
		FetchFailed:  func(topic string) { m.fetchFailures.WithLabelValues(topic).Inc() },
		CommitFailed: m.commitFails.Inc,
		Head:         m.heads.note,
		Drained: func(took time.Duration, unfinished int) {
			m.drains.Observe(took.Seconds())
			m.unfinished.Add(float64(unfinished))
		},
	}
}
