package commands

import "encoding/json"

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

// Reply is a vendor's word about one order.
type Reply struct {
	Status Status `json:"status"`
	// Code is the vendor's own code for it (withhold: the outer status, such as "-1").
	Code string `json:"code,omitempty"`
	// Message is the vendor's text, already scrubbed by the adapter of anything that looks like a card, identity or
	// phone number.
	Message string `json:"message,omitempty"`
	// Fields are the reply's other values under the vendor's own names (withhold: pay_order_no, pay_type, pay_status,
	// pay_time, channel_response), scrubbed likewise. They reach the result event as they stand.
	Fields map[string]string `json:"fields,omitempty"`
	// Extra are values that are no strings (lists, objects, null), likewise named and scrubbed.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
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
