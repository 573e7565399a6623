// Package tracing makes OpenTelemetry spans for the shells: one a message, one a vendor call below it, one a callback,
// with the trace context of W3C on the messages.
//
// It refuses to export and to sample: the provider that it is given does. It puts no error texts and no fields of
// messages into spans, only names of topics and operations, numbers, and words from closed lists; a vendor never sees a
// trace, since requests are signed as they are.
//
// Its callers leave it away where tracing is off; nothing is spent then.
package tracing

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// Scope names this code in spans.
const Scope = "paydispatch"

// Attributes beside those of the semantic conventions.
const (
	attrTopic   = attribute.Key("paydispatch.topic")
	attrCall    = attribute.Key("paydispatch.call")
	attrSends   = attribute.Key("paydispatch.sends")
	attrOutcome = attribute.Key("paydispatch.outcome")
	attrVendor  = attribute.Key("paydispatch.vendor")
	attrKey     = attribute.Key("paydispatch.key")
	attrRequest = attribute.Key("paydispatch.request_id")
)

// ourFault is the outcome of a handling that will be tried again.
const ourFault = "our_fault"

// Tracer implements operation.Tracer.
type Tracer struct {
	tracer trace.Tracer
	group  string
}

var _ operation.Tracer = (*Tracer)(nil)

// New returns a tracer over a provider; group is the consumer group of the messages' spans, "" where none are consumed.
func New(p trace.TracerProvider, group string) *Tracer {
	return &Tracer{tracer: p.Tracer(Scope), group: group}
}

// Message implements operation.Tracer. A parked copy carries the context of the handling that parked it, so that its own
// span stands in the same trace.
func (t *Tracer) Message(ctx context.Context, m stream.Message) (context.Context, operation.Span) {
	if parent := remote(operation.TraceOf(m)); parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	attributes := []attribute.KeyValue{
		semconv.MessagingSystemKafka, semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess,
		semconv.MessagingDestinationName(m.Topic), semconv.MessagingDestinationPartitionID(strconv.Itoa(m.Partition)),
		semconv.MessagingKafkaOffset(int(m.Offset)),
	}
	if t.group != "" {
		attributes = append(attributes, semconv.MessagingConsumerGroupName(t.group))
	}
	return t.start(ctx, "process "+m.Topic, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...))
}

// Call implements operation.Tracer.
func (t *Tracer) Call(ctx context.Context, topic, what string, attempt int) (context.Context, operation.Span) {
	return t.start(ctx, "vendor "+what, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attrTopic.String(topic), attrCall.String(what), attrSends.Int(attempt)))
}

// Callback implements operation.Tracer. What a vendor's request says of traces is not believed.
func (t *Tracer) Callback(ctx context.Context, vendor string) (context.Context, operation.Span) {
	return t.start(ctx, "callback "+vendor, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attrVendor.String(vendor)))
}

func (t *Tracer) start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, operation.Span) {
	ctx, s := t.tracer.Start(ctx, name, options...) //nolint:spancheck // whoever gets the span ends it
	return ctx, span{s}                             //nolint:spancheck // as above
}

// span implements operation.Span.
type span struct{ trace.Span }

// Trace implements operation.Span.
func (s span) Trace() operation.Trace {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s.Span), carrier)
	return operation.Trace{Parent: carrier[operation.HeaderTrace], State: carrier[operation.HeaderTraceState]}
}

// About implements operation.Span.
func (s span) About(about *commands.State) {
	if about.Key == "" {
		return
	}
	s.SetAttributes(attrKey.String(string(about.Key)), attrRequest.String(string(about.RequestID)))
	begun := remote(operation.Trace{Parent: about.Trace})
	if begun.IsValid() && begun.TraceID() != s.SpanContext().TraceID() {
		s.AddLink(trace.Link{SpanContext: begun})
	}
}

// End implements operation.Span.
func (s span) End(outcome string, failed bool) {
	if outcome == "" {
		outcome = ourFault
	}
	s.SetAttributes(attrOutcome.String(outcome))
	if failed {
		s.SetStatus(codes.Error, outcome)
	}
	s.Span.End()
}

// remote reads a trace context; the zero value where there is none.
func remote(t operation.Trace) trace.SpanContext {
	if t.Parent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{operation.HeaderTrace: t.Parent, operation.HeaderTraceState: t.State}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}
