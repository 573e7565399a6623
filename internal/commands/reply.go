package commands

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Status is what a vendor said about an order, translated into the five things that matter to the state machine.
type Status uint8

const (
	// StatusUnclear is the zero value: the reply proves nothing. Adapters return an error instead of it.
	StatusUnclear Status = iota
	// StatusSucceeded: the vendor says that the money moved. Final.
	StatusSucceeded
	// StatusFailed: the vendor says that the order exists and that the money did not and will not move. Final.
	StatusFailed
	// StatusPending: the vendor knows the order and has not decided yet.
	StatusPending
	// StatusRefused: the vendor did not accept this submission. It is no proof that no order exists.
	StatusRefused
	// StatusMissing: the vendor says that it knows no such order. Only an answer to Ask can say so.
	StatusMissing
	// StatusUnknown is no vendor's word: the core's verdict on a command that may have had its effect and cannot be asked
	// about.
	StatusUnknown
)

// String returns the status as it stands in logs and metrics.
func (s Status) String() string {
	switch s {
	case StatusSucceeded:
		return "succeeded"
	case StatusFailed:
		return "failed"
	case StatusPending:
		return "pending"
	case StatusRefused:
		return "refused"
	case StatusMissing:
		return "missing"
	case StatusUnknown:
		return "unknown"
	}
	return "unclear"
}

// Final reports whether the status settles an order.
func (s Status) Final() bool { return s == StatusSucceeded || s == StatusFailed }

// Reply is what a vendor said about one order. Package operation scrubs it of everything that must not leave before the
// core gets it, whatever the adapter did.
type Reply struct {
	Status Status `json:"status"`
	// Code is the vendor's own code for it (withhold: the outer status, such as "-1").
	Code string `json:"code,omitempty"`
	// Message is the vendor's text.
	Message string `json:"message,omitempty"`
	// Fields are the reply's other values under the vendor's own names (withhold: pay_order_no, pay_type, pay_status,
	// pay_time, channel_response).
	Fields map[string]string `json:"fields,omitempty"`
	// Extra are values that are no strings (lists, objects, null), likewise named.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
	// LeftOut are the names of values that were too large to be passed on, or were cut.
	LeftOut []string `json:"-"`
	// Open names fields, at any depth, whose numbers the adapter is set to show: they are bounded, not masked.
	Open []string `json:"-"`

	// unknown are the members that a newer version wrote of it, each behind a comma.
	unknown []byte
}

// maxSeen bounds the vendor's fields that a state remembers, in bytes: the state rides on each parked copy, beside a
// command that may nearly fill what the log takes.
const maxSeen = 16 << 10

// remembered forgets the largest of the fields seen until they are in bounds; those that decide are kept to the last.
func remembered(seen map[string]string, spec Spec) map[string]string {
	size := 0
	for name, v := range seen {
		size += len(name) + len(v)
	}
	if size <= maxSeen {
		return seen
	}
	decides := func(name string) int {
		if slices.Contains(spec.MatchFields, name) || slices.Contains(spec.ProgressFields, name) {
			return 1
		}
		return 0
	}
	for _, name := range slices.SortedFunc(maps.Keys(seen), func(a, b string) int {
		return cmp.Or(decides(a)-decides(b), len(seen[b])-len(seen[a]), strings.Compare(a, b))
	}) {
		if size <= maxSeen {
			break
		}
		size -= len(name) + len(seen[name])
		delete(seen, name)
	}
	return seen
}

// Least returns the state with nothing of the vendor's words but what decides: for a parked copy that the log finds too
// large. What it leaves out is told in no later event; what is to be done stays the same.
func (s State) Least(spec Spec) State {
	seen := map[string]string{}
	for _, name := range slices.Concat(spec.MatchFields, spec.ProgressFields) {
		if v, ok := s.Seen[name]; ok {
			seen[name] = v
		}
	}
	s.Seen = seen
	if s.Refusal != nil {
		s.Refusal = &Reply{Status: s.Refusal.Status, Code: s.Refusal.Code}
	}
	return s
}

// Class says what a failed vendor call proves.
type Class uint8

const (
	// ClassUnknown is the zero value: the call may have had its effect (timeout, reset, 5xx, unreadable 2xx, bad
	// signature on the reply). Never resent blindly, never reported as failed.
	ClassUnknown Class = iota
	// ClassRetryable: proven that nothing was sent (dial or TLS failed, breaker open, rate limited here).
	ClassRetryable
	// ClassPermanent: the vendor's documented word that it did not and never will happen.
	ClassPermanent
)

// String returns the class as it stands in logs and metrics.
func (c Class) String() string {
	switch c {
	case ClassRetryable:
		return "retryable"
	case ClassPermanent:
		return "permanent"
	}
	return "unknown"
}
