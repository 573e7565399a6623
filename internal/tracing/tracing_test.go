package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/tracing"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/schemas"
)

const (
	theirTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	theirSpan   = "00f067aa0ba902b7"
	traceparent = "00-" + theirTrace + "-" + theirSpan + "-01"
)

// vendor answers from a queue; an error's class stands for a failure.
type vendor struct {
	replies []commands.Reply
	inside  trace.SpanID // of the last call
}

func (v *vendor) Send(ctx context.Context, c commands.Command) (commands.Reply, error) {
	return v.Ask(ctx, c)
}

func (v *vendor) Ask(ctx context.Context, _ commands.Command) (commands.Reply, error) {
	v.inside = trace.SpanContextFromContext(ctx).SpanID()
	reply := v.replies[0]
	v.replies = v.replies[1:]
	if reply.Status == commands.StatusUnclear {
		return reply, &vendors.Error{Code: "timeout", Err: errors.New("no answer to 张三")}
	}
	return reply, nil
}

type log []stream.Message

func (l *log) Publish(_ context.Context, m ...stream.Message) error {
	*l = append(*l, m...)
	return nil
}

func (l *log) last(t *testing.T, topic string) stream.Message {
	t.Helper()
	for i := len(*l) - 1; i >= 0; i-- {
		if strings.HasPrefix((*l)[i].Topic, topic) {
			return (*l)[i]
		}
	}
	require.Fail(t, "nothing was published to "+topic)
	return stream.Message{}
}

// house is a dispatcher and a callback handler, traced into memory.
type house struct {
	*testing.T
	vendor   vendor
	log      log
	store    idempotency.Store
	spans    *tracetest.InMemoryExporter
	dispatch *dispatch.Dispatcher
	driver   *operation.Driver
	tracer   operation.Tracer
}

func newHouse(t *testing.T, sampler sdktrace.Sampler) *house {
	t.Helper()
	h := &house{T: t, spans: tracetest.NewInMemoryExporter()}
	if sampler != nil {
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(h.spans), sdktrace.WithSampler(sdktrace.ParentBased(sampler)))
		h.tracer = tracing.New(provider, "paydispatch")
	}
	store := memstore.New(memstore.NewServer(4), memstore.Config{})
	require.NoError(t, store.Prepare(t.Context(), false))
	h.store = store
	quiet := slog.New(slog.DiscardHandler)
	ring, err := commands.NewKeyring([]byte("0123456789abcdef"))
	require.NoError(t, err)
	h.driver, err = operation.New(operation.Config{
		Keys:  ring,
		Store: store, Publisher: &h.log, Sender: &h.vendor, Asker: &h.vendor, Timeout: time.Second, Logger: quiet, Tracer: h.tracer,
		Policy: commands.Policy{
			Spec: catalog.Withhold(), Owner: "p", Lease: 2 * time.Second, Settle: 3 * time.Second, Deadline: time.Hour, MaxSends: 2,
			Tiers: []time.Duration{5 * time.Second},
		},
	})
	require.NoError(t, err)
	set, err := schemas.Load()
	require.NoError(t, err)
	h.dispatch = dispatch.New(dispatch.Config{
		Routes: []dispatch.Route{{Driver: h.driver}}, Store: store, Publisher: &h.log, Validator: set, Fingerprints: ring,
		MaxBytes: 4096, Logger: quiet, Tracer: h.tracer,
	})
	return h
}

func (h *house) handle(m stream.Message) {
	h.Helper()
	require.NoError(h, h.dispatch.Handle(h.Context(), m))
}

// ended returns the spans that ended since it was last asked, and checks that none holds anything personal.
func (h *house) ended() tracetest.SpanStubs {
	h.Helper()
	spans := h.spans.GetSpans()
	h.spans.Reset()
	for _, s := range spans {
		text := fmt.Sprintf("%s %v %v %v", s.Name, s.Attributes, s.Events, s.Status)
		for _, secret := range []string{"张三", "110101199003070000", "13800000000", "6222000000000000000"} {
			require.NotContains(h, text, secret)
		}
	}
	return spans
}

func order(request, biz string, headers ...stream.Header) stream.Message {
	value := fmt.Sprintf(`{"requestId":%q,"biz_order_no":%q,"amount":"1.00","name":"张三","id_card_number":"110101199003070000","mobile":"13800000000","pay_type":"101","bank_card_number":"6222000000000000000"}`, request, biz)
	return stream.Message{Topic: "withhold.request", Partition: 2, Offset: 7, Key: []byte(biz), Value: []byte(value), Time: time.Now(), Headers: headers}
}

func traced() []stream.Header {
	return []stream.Header{{Key: "traceparent", Value: []byte(traceparent)}, {Key: "tracestate", Value: []byte("their=own")}}
}

func succeeded() commands.Reply {
	return commands.Reply{Status: commands.StatusSucceeded, Code: "1", Fields: map[string]string{"pay_order_no": "P1"}}
}

func attributes(s tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// One trace from the sender's span to the result: message, vendor call, event.
func TestOneTraceFromCommandToResult(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.NeverSample()) // their flag decides
	h.vendor.replies = []commands.Reply{succeeded()}
	m := order("R1", "B1", traced()...)
	h.handle(m)
	require.Equal(t, traced(), m.Headers, "the message itself stays as it is: it may be handled again")

	spans := h.ended()
	require.Len(t, spans, 2)
	call, message := spans[0], spans[1]
	for _, s := range spans {
		require.Equal(t, theirTrace, s.SpanContext.TraceID().String())
		require.Equal(t, "their=own", s.SpanContext.TraceState().String())
		require.Empty(t, s.Links)
	}
	require.Equal(t, theirSpan, message.Parent.SpanID().String())
	require.Equal(t, message.SpanContext.SpanID(), call.Parent.SpanID())
	require.Equal(t, "process withhold.request", message.Name)
	require.Equal(t, trace.SpanKindConsumer, message.SpanKind)
	require.Equal(t, map[string]string{
		"messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "withhold.request", "messaging.destination.partition.id": "2", "messaging.kafka.offset": "7",
		"messaging.consumer.group.name": "paydispatch",
		"paydispatch.key":               "B1", "paydispatch.request_id": "R1", "paydispatch.outcome": "succeeded",
	}, attributes(message))
	require.Equal(t, call.SpanContext.SpanID(), h.vendor.inside, "the call is made inside of its span")
	require.Equal(t, "vendor send", call.Name)
	require.Equal(t, trace.SpanKindClient, call.SpanKind)
	require.Equal(t, map[string]string{
		"paydispatch.topic": "withhold.request", "paydispatch.call": "send", "paydispatch.sends": "1", "paydispatch.outcome": "succeeded",
	}, attributes(call))

	result := operation.TraceOf(h.log.last(t, "withhold.result"))
	require.Equal(t, "00-"+theirTrace+"-"+message.SpanContext.SpanID().String()+"-01", result.Parent)
	require.Equal(t, "their=own", result.State)
}

// Parked copies keep the trace: each handling stands below the one before.
func TestParkedCopiesKeepTheTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sdktrace.AlwaysSample())
		h.vendor.replies = []commands.Reply{{}, {}, succeeded()}
		h.handle(order("R1", "B1")) // it comes without any trace: one begins here
		first := h.ended()
		require.Len(t, first, 3, "send, ask, message")
		require.False(t, first[2].Parent.IsValid())
		require.Equal(t, codes.Error, first[0].Status.Code)
		require.Equal(t, "timeout", first[0].Status.Description)
		require.Equal(t, codes.Unset, first[2].Status.Code, "to be parked is no failure")
		require.Equal(t, "parked", attributes(first[2])["paydispatch.outcome"])

		time.Sleep(10 * time.Second)
		parked := h.log.last(t, "withhold.request.delay.5s")
		require.Len(t, parked.Headers, 6, "one trace context")
		h.handle(parked)
		second := h.ended()
		require.Len(t, second, 2)
		require.Equal(t, first[2].SpanContext.TraceID(), second[1].SpanContext.TraceID())
		require.Equal(t, first[2].SpanContext.SpanID(), second[1].Parent.SpanID())
		require.Equal(t, second[1].SpanContext.TraceID().String(), operation.TraceOf(h.log.last(t, "withhold.result")).ID())
	})
}

// A duplicate is answered in its own trace, which is linked to that of the order.
func TestADuplicateLinksToTheOrdersTrace(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.AlwaysSample())
	h.vendor.replies = []commands.Reply{succeeded()}
	h.handle(order("R1", "B1", traced()...))
	h.ended()
	h.handle(order("R2", "B1"))
	spans := h.ended()
	require.Len(t, spans, 1)
	require.NotEqual(t, theirTrace, spans[0].SpanContext.TraceID().String())
	require.Len(t, spans[0].Links, 1)
	require.Equal(t, theirTrace, spans[0].Links[0].SpanContext.TraceID().String())
	require.Equal(t, spans[0].SpanContext.TraceID().String(), operation.TraceOf(h.log.last(t, "withhold.result")).ID())
}

// What is rejected is traced as well, and its dead letter carries the trace on.
func TestRejectionsAreTraced(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.AlwaysSample())
	m := order("R1", "6222000000000000000", traced()...)
	m.Value = []byte(`{"biz_order_no":"6222000000000000000"}`)
	h.handle(m)
	spans := h.ended()
	require.Len(t, spans, 1)
	require.Equal(t, "dead_letter", attributes(spans[0])["paydispatch.outcome"])
	for _, topic := range []string{"withhold.result", "withhold.request.dlq"} {
		require.Equal(t, theirTrace, operation.TraceOf(h.log.last(t, topic)).ID())
	}
}

// broken is a publisher that is away.
type broken struct{}

func (broken) Publish(context.Context, ...stream.Message) error { return errors.New("away") }

func TestAFaultOfOursIsShown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.AlwaysSample())
	h.dispatch.Publisher = broken{}
	require.Error(t, h.dispatch.Handle(t.Context(), stream.Message{Topic: "withhold.request"}))
	spans := h.ended()
	require.Len(t, spans, 1)
	require.Equal(t, codes.Error, spans[0].Status.Code)
	require.Equal(t, "our_fault", spans[0].Status.Description)
}

// answers reads callbacks that need no proof.
type answers struct{}

func (answers) Read(*http.Request, func() ([]byte, error)) (callback.Word, error) {
	return callback.Word{Key: "B1", Event: commands.CalledBack{Reply: succeeded()}}, nil
}

// A callback has a trace of its own, whatever its headers say, linked to that of the order; its result belongs to the order.
func TestCallbacksLinkToTheOrdersTrace(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.AlwaysSample())
	h.vendor.replies = []commands.Reply{{Status: commands.StatusPending, Fields: map[string]string{"pay_order_no": "P1"}}}
	h.handle(order("R1", "B1", traced()...))
	began := h.ended()
	handler := callback.New(callback.Config{
		Vendor: "withhold", Store: h.store, Driver: h.driver, Reader: answers{}, MaxBody: 64, Timeout: time.Second,
		Limit: rate.NewLimiter(rate.Inf, 1), Logger: slog.New(slog.DiscardHandler), Tracer: h.tracer,
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	r.Header.Set("traceparent", "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)

	spans := h.ended()
	require.Len(t, spans, 1)
	s := spans[0]
	require.Equal(t, "callback withhold", s.Name)
	require.Equal(t, trace.SpanKindServer, s.SpanKind)
	require.False(t, s.Parent.IsValid())
	require.NotContains(t, []string{theirTrace, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, s.SpanContext.TraceID().String())
	require.Len(t, s.Links, 1)
	require.Equal(t, theirTrace, s.Links[0].SpanContext.TraceID().String())
	require.Equal(t, began[len(began)-1].SpanContext.SpanID(), s.Links[0].SpanContext.SpanID(), "the handling that took it up")
	require.Contains(t, s.Attributes, attribute.String("paydispatch.outcome", "accepted"))
	require.Equal(t, theirTrace, operation.TraceOf(h.log.last(t, "withhold.result")).ID())
}

// Without a tracer the result carries the command's own context, byte for byte.
func TestOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.vendor.replies = []commands.Reply{succeeded()}
	h.handle(order("R1", "B1", traced()...))
	require.Equal(t, operation.Trace{Parent: traceparent, State: "their=own"}, operation.TraceOf(h.log.last(t, "withhold.result")))
	require.Empty(t, h.ended())
}

// What is not sampled keeps its trace id on the way, and makes no span.
func TestUnsampled(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.AlwaysSample())
	h.vendor.replies = []commands.Reply{succeeded()}
	h.handle(order("R1", "B1", stream.Header{Key: "traceparent", Value: []byte("00-" + theirTrace + "-" + theirSpan + "-00")}))
	require.Empty(t, h.ended())
	got := operation.TraceOf(h.log.last(t, "withhold.result"))
	require.Equal(t, theirTrace, got.ID())
	require.True(t, strings.HasSuffix(got.Parent, "-00"))
}

// A vendor call that panics ends its span all the same, and is told to whoever counts calls.
func TestAPanicLeavesNoSpanBehind(t *testing.T) {
	t.Parallel()
	h := newHouse(t, sdktrace.AlwaysSample())
	var called []string
	h.driver.Observe.Called = func(what, outcome string, _ time.Duration) { called = append(called, what+" "+outcome) }
	h.handle(order("R1", "B1")) // the vendor's queue is empty
	spans := h.ended()
	require.Len(t, spans, 2)
	require.Equal(t, "vendor send", spans[0].Name)
	require.Equal(t, "panic", attributes(spans[0])["paydispatch.outcome"])
	require.Equal(t, "parked", attributes(spans[1])["paydispatch.outcome"])
	require.Equal(t, []string{"send panic"}, called)
}
