package operation_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func with(headers ...string) stream.Message {
	var m stream.Message
	for i := 0; i < len(headers); i += 2 {
		m.Headers = append(m.Headers, stream.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return m
}

func TestTraceOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		message stream.Message
		want    operation.Trace
	}{
		"none":                      {with("content-type", "x"), operation.Trace{}},
		"parent alone":              {with("traceparent", good), operation.Trace{Parent: good}},
		"with a state":              {with("traceparent", good, "tracestate", "a=b"), operation.Trace{Parent: good, State: "a=b"}},
		"a state alone":             {with("tracestate", "a=b"), operation.Trace{}},
		"a state that is too long":  {with("traceparent", good, "tracestate", strings.Repeat("a", 513)), operation.Trace{Parent: good}},
		"a state in another script": {with("traceparent", good, "tracestate", "a=张三"), operation.Trace{Parent: good}},
		"upper case":                {with("traceparent", strings.ToUpper(good)), operation.Trace{}},
		"another version":           {with("traceparent", "01"+good[2:]), operation.Trace{}},
		"too short":                 {with("traceparent", good[:54]), operation.Trace{}},
		"too long":                  {with("traceparent", good+"0"), operation.Trace{}},
		"a card number":             {with("traceparent", "6222000000000000000"), operation.Trace{}},
		"the last one counts":       {with("traceparent", "x", "traceparent", good), operation.Trace{Parent: good}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, operation.TraceOf(c.message))
		})
	}
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", operation.Trace{Parent: good}.ID())
	require.Empty(t, operation.Trace{}.ID())
}

func TestCarryReplacesWhatTheMessageHad(t *testing.T) {
	t.Parallel()
	was := with("a", "1", "traceparent", "x", "tracestate", "y", "b", "2")
	got := operation.Trace{Parent: good, State: "a=b"}.Carry(was)
	require.Equal(t, with("a", "1", "b", "2", "traceparent", good, "tracestate", "a=b"), got)
	require.Equal(t, with("a", "1", "traceparent", "x", "tracestate", "y", "b", "2"), was)
	require.Equal(t, with("a", "1", "b", "2"), operation.Trace{}.Carry(was))
}

// FuzzTraceOf: whatever a stranger writes there, what is read is of the form or nothing.
func FuzzTraceOf(f *testing.F) {
	f.Add(good, "a=b")
	f.Add("00-"+strings.Repeat("0", 32)+"-x", "")
	f.Add("张三", "6222000000000000000")
	f.Fuzz(func(t *testing.T, parent, state string) {
		got := operation.TraceOf(with("traceparent", parent, "tracestate", state))
		if got.Parent == "" {
			require.Equal(t, operation.Trace{}, got)
			return
		}
		require.Equal(t, parent, got.Parent)
		require.Regexp(t, `^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`, got.Parent)
		require.Len(t, got.ID(), 32)
		require.LessOrEqual(t, len(got.State), 512)
	})
}
