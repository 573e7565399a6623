package metric

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// Steps of an operation at which its age is taken.
const (
	stepAsk  = "ask"
	stepPark = "park"
)

// Operations are what every process counts that drives operations, publishes and keeps records.
type Operations struct {
	results   *prometheus.CounterVec
	endToEnd  *prometheus.HistogramVec
	calls     *prometheus.HistogramVec
	asks      *prometheus.CounterVec
	resends   *prometheus.CounterVec
	ages      *prometheus.HistogramVec
	parked    *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	denials   *prometheus.CounterVec
	publish   *prometheus.HistogramVec
	losses    prometheus.Counter
	backs     prometheus.Counter
}

// NewOperations makes the metrics.
func NewOperations(s *Set) *Operations {
	o := &Operations{
		results: s.Counter("paydispatch_results_total", "Published result events.", "topic", "kind"),
		endToEnd: s.Histogram("paydispatch_end_to_end_seconds", "Verdicts that became durable, by kind, and the time since their command was written to its topic; "+
			"for one that a callback or another question brought, since the command was first taken up.", Long(), "topic", "kind"),
		calls:   s.Histogram("paydispatch_vendor_call_seconds", "Calls of a vendor, by what it said or how they failed.", Short(), "topic", "call", "outcome"),
		asks:    s.Counter("paydispatch_asks_total", "Questions put to a vendor.", "topic"),
		resends: s.Counter("paydispatch_resends_total", "Submissions beyond an operation's first; each follows a vendor's word that it has no such order.", "topic"),
		ages: s.Histogram("paydispatch_open_age_seconds", "Age of an operation without a verdict each time that it is asked about or parked, by its phase then; "+
			"asking means that nobody knows whether it was executed.", Long(), "topic", "step", "phase"),
		parked:    s.Counter("paydispatch_parked_total", "Operations parked in a delay topic, by the phase they were in.", "topic", "phase"),
		conflicts: s.Counter("paydispatch_store_conflicts_total", "Writes of an operation's record that another writer was quicker than.", "topic"),
		denials:   s.Counter("paydispatch_contradictions_total", "Replies of a vendor that differ from the order that they name, or from what the vendor said of it before; they changed nothing.", "topic"),
		publish:   s.Histogram("paydispatch_publish_seconds", "Publications to Kafka until they were durable or given up, with all attempts.", Short(), "outcome"),
	}
	o.losses = s.Counter("paydispatch_store_losses_total", "Buckets of the record store that this process found to have lost their memory.").WithLabelValues()
	o.backs = s.Counter("paydispatch_store_backs_total", "Buckets of the record store that this process found on a server that started again or was promoted, and may have lost its latest writes.").WithLabelValues()
	for _, outcome := range []string{"published", "failed", "too_large"} {
		o.publish.WithLabelValues(outcome)
	}
	return o
}

// Observer makes the series of a topic, and returns its hooks.
func (o *Operations) Observer(spec commands.Spec) operation.Observer {
	topic := spec.Topic
	o.touch(spec)
	age := func(step string) func(commands.Phase, time.Duration) {
		return func(phase commands.Phase, age time.Duration) {
			o.ages.WithLabelValues(topic, step, phase.String()).Observe(Seconds(age))
		}
	}
	asked, parked := age(stepAsk), age(stepPark)
	return operation.Observer{
		Called: func(what, outcome string, took time.Duration) {
			o.calls.WithLabelValues(topic, what, outcome).Observe(Seconds(took))
		},
		Published: func(kind string) { o.results.WithLabelValues(topic, kind).Inc() },
		Announced: func(kind string, age time.Duration) { o.endToEnd.WithLabelValues(topic, kind).Observe(Seconds(age)) },
		Asked: func(phase commands.Phase, age time.Duration) {
			o.asks.WithLabelValues(topic).Inc()
			asked(phase, age)
		},
		Parked: func(phase commands.Phase, age time.Duration) {
			o.parked.WithLabelValues(topic, phase.String()).Inc()
			parked(phase, age)
		},
		Resent:     o.resends.WithLabelValues(topic).Inc,
		Conflicted: o.conflicts.WithLabelValues(topic).Inc,

		Contradicted: o.denials.WithLabelValues(topic).Inc,
	}
}

// Rejected counts a rejected result that no operation published.
func (o *Operations) Rejected(topic string) {
	o.results.WithLabelValues(topic, commands.KindRejected).Inc()
}

// Forgot counts a bucket that lost its memory.
func (o *Operations) Forgot() { o.losses.Inc() }

// Back counts a bucket whose server may have lost its latest writes.
func (o *Operations) Back() { o.backs.Inc() }

func (o *Operations) touch(spec commands.Spec) {
	for _, kind := range commands.Kinds() {
		o.results.WithLabelValues(spec.Topic, kind)
	}
	verdicts := map[commands.Effect][]string{
		commands.EffectMoney: {commands.KindSucceeded, commands.KindFailed, commands.KindUnresolved},
		commands.EffectOnce:  {commands.KindSucceeded, commands.KindFailed, commands.KindUnknown, commands.KindUnresolved},
		commands.EffectRead:  {commands.KindAnswered, commands.KindFailed, commands.KindUnresolved},
	}
	for _, kind := range verdicts[spec.Effect] {
		o.endToEnd.WithLabelValues(spec.Topic, kind)
	}
	o.asks.WithLabelValues(spec.Topic)
	for _, phase := range []commands.Phase{commands.Sending, commands.Waiting, commands.Asking, commands.Refused, commands.Pending} {
		o.parked.WithLabelValues(spec.Topic, phase.String())
		o.ages.WithLabelValues(spec.Topic, stepPark, phase.String())
	}
	for _, phase := range []commands.Phase{commands.Asking, commands.Refused, commands.Pending} {
		o.ages.WithLabelValues(spec.Topic, stepAsk, phase.String())
	}
}

// Publisher returns p with its latency measured.
func (o *Operations) Publisher(p stream.Publisher) stream.Publisher {
	return publisher{
		p, o.publish.WithLabelValues("published"), o.publish.WithLabelValues("failed"), o.publish.WithLabelValues("too_large"),
	}
}

type publisher struct {
	stream.Publisher
	// tooLarge is no fault of Kafka's: what is published is made smaller then, and published once more.
	published, failed, tooLarge prometheus.Observer
}

// Publish implements stream.Publisher.
func (p publisher) Publish(ctx context.Context, messages ...stream.Message) error {
	began := time.Now()
	err := p.Publisher.Publish(ctx, messages...)
	took := Seconds(time.Since(began))
	switch {
	case err == nil:
		p.published.Observe(took)
	case errors.Is(err, stream.ErrTooLarge):
		p.tooLarge.Observe(took)
	default:
		p.failed.Observe(took)
	}
	return err
}
