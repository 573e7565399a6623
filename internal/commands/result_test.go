package commands

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/schemas"
)

func withholdSpec() Spec {
	return Spec{
		Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", Source: "/x", KeyField: "biz_order_no",
		CarryFields: []string{"amount", "pay_type"}, MatchFields: []string{"pay_order_no"}, ProgressFields: []string{"pay_status"},
	}
}

func told(t *testing.T, r Result) map[string]string {
	t.Helper()
	set, err := schemas.Load()
	require.NoError(t, err)
	require.NoError(t, set.Validate("withhold.result", r.Data))
	data := map[string]string{}
	require.NoError(t, json.Unmarshal(r.Data, &data))
	return data
}

// However much a vendor says, a result is bounded when it is made; what is left out is named, and never the command's own.
func TestResultsAreBounded(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("<", n) }
	for name, c := range map[string]struct {
		fields   map[string]string
		message  string
		code     string
		leftOut  []string
		truncate string
	}{
		"all fits":            {fields: map[string]string{"pay_order_no": "P1"}},
		"one is large":        {fields: map[string]string{"pay_order_no": long(1 << 20), "pay_time": "now"}, truncate: "pay_order_no"},
		"the largest go":      {fields: map[string]string{"pay_order_no": long(30000), "channel_response": long(40000), "pay_time": "now"}, truncate: "channel_response"},
		"the text too":        {message: long(6 << 20), fields: map[string]string{"pay_time": "now"}, truncate: "message"},
		"the code is cut":     {code: long(1 << 20)},
		"left out before":     {leftOut: []string{"pay_time", "pay_time"}, truncate: "pay_time"},
		"before and here":     {fields: map[string]string{"pay_order_no": long(1 << 20)}, leftOut: []string{"pay_time"}, truncate: "pay_order_no, pay_time"},
		"a field of our name": {fields: map[string]string{"truncated": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := State{Phase: Sending, Topic: "withhold.request", Key: "B1", RequestID: "R1", Carry: map[string]string{"amount": "1.00", "pay_type": "101"}}
			reply := Reply{Status: StatusSucceeded, Fields: c.fields, Message: c.message, Code: c.code, LeftOut: c.leftOut}
			r := s.verdict(withholdSpec(), reply, time.Unix(1, 0))
			require.LessOrEqual(t, len(r.Data), maxData)
			require.Equal(t, r, s.verdict(withholdSpec(), reply, time.Unix(1, 0)), "the same again")
			data := told(t, *r)
			for name, want := range map[string]string{"amount": "1.00", "pay_type": "101", "biz_order_no": "B1", "requestId": "R1"} {
				require.Equal(t, want, data[name])
			}
			require.Equal(t, c.truncate, data["truncated"])
			for name := range c.fields {
				_, there := data[name]
				require.Equal(t, name != "truncated" && !strings.Contains(c.truncate, name), there, name)
			}
		})
	}
}

// The names are bounded too, whatever they are.
func TestTheNamesOfWhatIsLeftOutAreBounded(t *testing.T) {
	t.Parallel()
	fields := map[string]string{}
	for i := range 400 {
		fields[strings.Repeat("n", 1000)+strings.Repeat("m", i)] = ""
	}
	s := State{Key: "B1", RequestID: "R1"}
	r := s.verdict(withholdSpec(), Reply{Status: StatusFailed, Fields: fields}, time.Unix(1, 0))
	require.LessOrEqual(t, len(r.Data), maxData+maxNames*maxOwn)
	var data map[string]string
	require.NoError(t, json.Unmarshal(r.Data, &data))
	require.Regexp(t, `, and \d+ more$`, data["truncated"])
}

// The least form is the same event to a consumer that knows ids, and says what was decided.
func TestTheLeastOfAResult(t *testing.T) {
	t.Parallel()
	spec := withholdSpec()
	s := State{Phase: Settled, Verdict: StatusSucceeded, Key: "B1", RequestID: "R1", Carry: map[string]string{"amount": "1.00"}}
	reply := Reply{
		Status: StatusFailed, Code: "1", Message: strings.Repeat("m", 250), LeftOut: []string{"pay_time"},
		Fields: map[string]string{"pay_order_no": strings.Repeat("9", 5000), "channel_response": "x"},
	}
	for name, r := range map[string]*Result{
		"verdict": s.verdict(spec, reply, time.Unix(1, 0)), "conflict": s.conflict(spec, reply, time.Unix(1, 0)),
		"pending": s.pending(spec, reply, time.Unix(1, 0)), "unresolved": s.unresolved(spec, time.Unix(1, 0)),
		"duplicate": s.duplicate(spec, "R2", time.Unix(1, 0)),
		"rejected":  spec.Rejected(Rejection{RequestID: "R1", Key: "B1", Reason: "invalid", Detail: strings.Repeat("d", 1<<20), Origin: "t/1/2"}, time.Unix(1, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			least := r.Least(spec)
			require.Less(t, len(least.Data), 2048)
			require.LessOrEqual(t, len(r.Data), maxData)
			if name == "rejected" {
				require.Less(t, len(r.Data), 4096)
			}
			whole, data := told(t, *r), told(t, least)
			least.Data = r.Data
			require.Equal(t, *r, least, "id, type, time and subject")
			for name, v := range data {
				if name != "truncated" {
					require.Equal(t, whole[name], v)
				}
			}
			own := slices.Concat([]string{"biz_order_no", "requestId"}, ownWords())
			for name := range maps.Keys(whole) {
				_, there := data[name]
				require.Equal(t, slices.Contains(own, name) || slices.Contains(spec.CarryFields, name) || name == "truncated", there, name)
				if !there {
					require.Contains(t, data["truncated"], name)
				}
			}
			least = r.Least(spec)
			require.JSONEq(t, string(least.Data), string(least.Least(spec).Data), "no less than that")
		})
	}
	broken := Result{Data: json.RawMessage("{")}
	require.Equal(t, broken, broken.Least(spec))
}

// What a state remembers of a vendor stays bounded however often it says something new, and what decides stays longest.
func TestWhatIsSeenIsBounded(t *testing.T) {
	t.Parallel()
	spec := withholdSpec()
	s := State{Phase: Asking, Topic: "withhold.request", Key: "B1", RequestID: "R1", FirstSeen: time.Unix(1, 0)}
	p := Policy{Spec: spec, Lease: 1, Settle: 1, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{1}}
	for i := range 100 {
		var err error
		s, _, err = Advance(s, Answered{Reply: Reply{Status: StatusPending, Fields: map[string]string{
			"pay_order_no": strings.Repeat("P", 250), "pay_status": "pending", "f" + strings.Repeat("x", i): strings.Repeat("v", 240),
		}}}, p, time.Unix(2, 0))
		require.NoError(t, err)
	}
	encoded, err := s.Encode()
	require.NoError(t, err)
	require.Less(t, len(encoded), maxSeen+1024)
	require.NotEmpty(t, s.Seen["pay_order_no"])
	require.Equal(t, "pending", s.Seen["pay_status"])

	s.Refusal = &Reply{Status: StatusRefused, Code: "-1", Message: strings.Repeat("m", 250), Fields: s.Seen}
	least := s.Least(spec)
	require.Equal(t, map[string]string{"pay_order_no": s.Seen["pay_order_no"], "pay_status": "pending"}, least.Seen)
	require.Equal(t, &Reply{Status: StatusRefused, Code: "-1"}, least.Refusal)
	require.Greater(t, len(s.Seen), 2, "the state itself stays")
	least.Seen, least.Refusal = s.Seen, s.Refusal
	require.Equal(t, s, least, "nothing else is touched")
}

// A result is published byte for byte again, also by a program that wrote it with encoding/json.
func TestDataIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	t.Parallel()
	odd := "a\"b\\<&>\u2028\n欧阳\xff"
	for _, data := range []map[string]any{
		{},
		{"b": "2"},
		{"b": "", "a": odd, odd: "1", "list": json.RawMessage(` [1, "<", {"x": null}]`), "none": json.RawMessage(nil), "B": "3"},
	} {
		want, err := json.Marshal(data)
		require.NoError(t, err)
		require.Equal(t, string(want), string(encodeData(data)))
	}
	require.Panics(t, func() { encodeData(map[string]any{"a": json.RawMessage("{")}) }, "what was not read before")
}
