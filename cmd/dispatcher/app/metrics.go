package app

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/cmd/internal/metric"
	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/limit"
)

// States of a message that is handed over.
const (
	stateLeft     = "left"
	stateFinished = "finished"
)

// metrics are what the dispatcher counts. Labels come from closed lists: topics of the catalog, words of the core and
// codes of the adapters.
type metrics struct {
	operations *metric.Operations
	commands   *prometheus.HistogramVec
	dead       *prometheus.CounterVec
	panics     *prometheus.CounterVec
	waits      *prometheus.CounterVec

	fetched       *prometheus.CounterVec
	fetchedBytes  *prometheus.CounterVec
	running       *prometheus.GaugeVec
	holding       *prometheus.GaugeVec
	retries       *prometheus.CounterVec
	fetchFailures *prometheus.CounterVec
	commitFails   prometheus.Counter
	drains        prometheus.Observer
	cut           prometheus.Counter
	handedOver    *prometheus.CounterVec
	gaps          *prometheus.CounterVec
	behind        *prometheus.GaugeVec
	lost          *lostTopics
	outside       *outside
	heads         *heads
	held          *heads

	breakers  *prometheus.GaugeVec
	putOff    *prometheus.CounterVec
	waited    *prometheus.HistogramVec
	processes *prometheus.CounterVec
}

func newMetrics(set *metric.Set) *metrics {
	m := &metrics{
		operations:    metric.NewOperations(set),
		commands:      set.Histogram("paydispatch_command_seconds", "Messages that need nothing more, by how they ended, and how long the handling took.", metric.Short(), "topic", "outcome"),
		dead:          set.Counter("paydispatch_dead_letters_total", "Messages moved to a dead-letter topic.", "topic", "reason"),
		waits:         set.Counter("paydispatch_newer_version_waits_total", "Times that a message was tried in vain, because only a newer version can go on with its operation.", "topic"),
		panics:        set.Counter("paydispatch_panics_total", "Recovered panics.", "topic"),
		fetched:       set.Counter("paydispatch_fetched_messages_total", "Messages fetched.", "topic"),
		fetchedBytes:  set.Counter("paydispatch_fetched_bytes_total", "Bytes fetched.", "topic"),
		running:       set.Gauge("paydispatch_running_handlers", "Messages being handled.", "topic"),
		holding:       set.Gauge("paydispatch_held_partitions", "Partitions whose head waits for its due time.", "topic"),
		retries:       set.Counter("paydispatch_handler_failures_total", "Handlings that failed by our own fault and are tried again.", "topic"),
		fetchFailures: set.Counter("paydispatch_fetch_failures_total", "Fetches that failed and are tried again.", "topic"),
		gaps:          set.Counter("paydispatch_offset_gaps_total", "Committed offsets found outside of their log: messages were lost.", "topic"),
		behind:        set.Gauge("paydispatch_backlog_messages", "Messages of a partition that were not fetched yet.", "topic", "partition"),
		breakers:      set.Gauge("paydispatch_breaker_open", "1 while calls of a vendor's method are put off because it failed too often, 0.5 while a few are let through again.", "vendor", "method"),
		putOff:        set.Counter("paydispatch_put_off_calls_total", "Vendor calls that were not made: breaker open, rate used up, places used up.", "vendor", "method", "code"),
		waited:        set.Histogram("paydispatch_turn_wait_seconds", "How long vendor calls waited for their turn, when they had to.", metric.Short(), "vendor", "method"),
		processes:     set.Counter("paydispatch_identity_processes_total", "Answers about identity flows by process; those that the vendor does not document are 'other'.", "process"),
	}
	m.commitFails = set.Counter("paydispatch_commit_failures_total", "Offset commits that failed and are tried again.").WithLabelValues()
	m.drains = set.Histogram("paydispatch_drain_seconds", "How long the generations took to drain.", prometheus.ExponentialBuckets(0.001, 4, 8)).WithLabelValues()
	m.cut = set.Counter("paydispatch_undrained_messages_total", "Messages that a drain cut off: begun, and not done when its budget was used up.").WithLabelValues()
	m.handedOver = set.Counter("paydispatch_handed_over_messages_total", "Messages given on to the next owner of their partition: left before their call began, "+
		"or finished behind one of those, so that they are delivered and answered again.", "state")
	m.handedOver.WithLabelValues(stateLeft)
	m.handedOver.WithLabelValues(stateFinished)
	m.lost = newLostTopics(set.Gauge("paydispatch_topic_lost", "1 while a topic is done without: it was deleted, or may not be described or read.", "topic"))
	m.outside = &outside{now: set.Gauge("paydispatch_outside_group", "1 while the consumer group cannot be joined.").WithLabelValues()}
	m.held = newHeads(set.Gauge("paydispatch_held_seconds", "How long the head of a partition has waited for its due time; the longest of a topic.", "topic"))
	m.heads = newHeads(set.Gauge("paydispatch_oldest_unfinished_seconds", "How long the first unfinished message of a partition has held back its commits; the longest of a topic.", "topic"))
	return m
}

// touch makes the series of a command topic that must be seen as zero before anything happened; served are the topics
// that its messages are fetched from. The series of its operations are made with their hooks.
func (m *metrics) touch(topic string, served []string) {
	m.panics.WithLabelValues(topic)
	m.waits.WithLabelValues(topic)
	for _, reason := range []string{"invalid", "too_large", "request_reused", "order_reused", "refused", "unreadable", "panic", dispatch.ReasonNotAuthentic} {
		m.dead.WithLabelValues(topic, reason)
	}
	for _, outcome := range append(commands.Kinds(), "parked", "dead_letter", "nothing_to_do") {
		m.commands.WithLabelValues(topic, outcome)
	}
	for _, t := range served {
		for _, c := range []*prometheus.CounterVec{m.gaps, m.fetched, m.fetchedBytes, m.retries, m.fetchFailures, m.panics} {
			c.WithLabelValues(t)
		}
		for _, g := range []*prometheus.GaugeVec{m.running, m.holding, m.heads.oldest, m.held.oldest, m.lost.now} {
			g.WithLabelValues(t)
		}
	}
}

func (m *metrics) gap(g kafkastream.Gap) { m.gaps.WithLabelValues(g.Topic).Inc() }

func (m *metrics) backlog(topic string, partition int, messages int64) {
	m.behind.WithLabelValues(topic, strconv.Itoa(partition)).Set(float64(messages))
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
		Gate: func(vendor, method string) {
			m.breakers.WithLabelValues(vendor, method)
			m.waited.WithLabelValues(vendor, method)
			for _, code := range []string{limit.CodeBreakerOpen, limit.CodeRateLimited, limit.CodeBusy, limit.CodeNoQuota, vendors.CodeHandedOver} {
				m.putOff.WithLabelValues(vendor, method, code)
			}
		},
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
		Rejected:     m.operations.Rejected,
		DeadLettered: func(topic, reason string) { m.dead.WithLabelValues(topic, reason).Inc() },
		Waits:        func(topic string) { m.waits.WithLabelValues(topic).Inc() },
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
		Held:         m.held.note,
		Drained: func(d stream.Drain) {
			m.drains.Observe(d.Took.Seconds())
			m.cut.Add(float64(d.Cut))
			m.handedOver.WithLabelValues(stateLeft).Add(float64(d.Left))
			m.handedOver.WithLabelValues(stateFinished).Add(float64(d.Again))
		},
	}
}
