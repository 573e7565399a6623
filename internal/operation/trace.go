package operation

import (
	"context"
	"slices"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
)

// Headers of the W3C trace context, handed on from a command to its results.
const (
	HeaderTrace      = "traceparent"
	HeaderTraceState = "tracestate"
)

// maxTraceState bounds a tracestate; longer ones need not be handed on (W3C Trace Context, 3.3.1.5).
const maxTraceState = 512

// Trace is a W3C trace context; the zero value is none.
type Trace struct {
	// Parent is the traceparent: version, trace id, span id and flags in 55 characters.
	Parent string
	// State is the tracestate, "" when there is none.
	State string
}

// TraceOf reads a message's trace context. What is not of its form is none: headers are a stranger's word, and the
// context reaches records, logs and results.
func TraceOf(m stream.Message) Trace {
	parent, _ := m.Header(HeaderTrace)
	if !wellFormed(parent) {
		return Trace{}
	}
	t := Trace{Parent: string(parent)}
	if state, ok := m.Header(HeaderTraceState); ok && len(state) <= maxTraceState && printable(state) {
		t.State = string(state)
	}
	return t
}

// ID is the trace id, 32 hexadecimal digits; "" when there is none.
func (t Trace) ID() string {
	if len(t.Parent) != len(traceForm) {
		return ""
	}
	return t.Parent[3:35]
}

// Carry returns the message with this trace context instead of its own; the message given stays as it is.
func (t Trace) Carry(m stream.Message) stream.Message {
	m.Headers = slices.DeleteFunc(slices.Clone(m.Headers), func(h stream.Header) bool {
		return h.Key == HeaderTrace || h.Key == HeaderTraceState
	})
	return t.onto(m)
}

// onto adds the context to a message that has none.
func (t Trace) onto(m stream.Message) stream.Message {
	if t.Parent != "" {
		m.Headers = append(m.Headers, stream.Header{Key: HeaderTrace, Value: []byte(t.Parent)})
	}
	if t.State != "" {
		m.Headers = append(m.Headers, stream.Header{Key: HeaderTraceState, Value: []byte(t.State)})
	}
	return m
}

// traceForm is a traceparent of version 00, x standing for a lower-case hexadecimal digit.
const traceForm = "00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"

func wellFormed(parent []byte) bool {
	if len(parent) != len(traceForm) {
		return false
	}
	for i, c := range parent {
		if form := traceForm[i]; form != 'x' {
			if c != form {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func printable(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// Tracer makes spans. Where tracing is off there is none (nil), and nothing is spent on it.
type Tracer interface {
	// Message begins the span of handling a message, in the trace that its headers name, or in a new one.
	Message(ctx context.Context, m stream.Message) (context.Context, Span)
	// Call begins the span of one vendor call ("send" or "ask") below that of ctx.
	Call(ctx context.Context, topic, what string, attempt int) (context.Context, Span)
	// Callback begins the span of one callback of a vendor, in a trace of its own.
	Callback(ctx context.Context, vendor string) (context.Context, Span)
}

// Span is one piece of work under way.
type Span interface {
	// Trace is the context that messages carry which come of it.
	Trace() Trace
	// About names the operation that it is about, and links the trace that the operation began in, if that is another.
	About(s *commands.State)
	// End ends it, once, with a word for how; failed says that something went wrong.
	End(outcome string, failed bool)
}
