package commands

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// stateSchema is the version of State's encoding; a decoder refuses a version that it does not know.
const stateSchema = 1

// State is all that is remembered of one operation: what the store keeps, and what a parked message carries, so that a
// store that forgot loses no command. It holds no card, identity or phone number.
type State struct {
	Schema int   `json:"v"`
	Phase  Phase `json:"phase"`

	// Topic, Key, RequestID, Account: whose operation this is. RequestID is the first request that named the order.
	Topic     string       `json:"topic"`
	Key       OperationKey `json:"key"`
	RequestID RequestID    `json:"request"`
	Account   string       `json:"account,omitempty"`
	// Fingerprint is the keyed digest of the content.
	Fingerprint string `json:"fp"`
	// Carry are the command's fields that results repeat.
	Carry map[string]string `json:"carry,omitempty"`
	// Trace is the W3C traceparent of the command.
	Trace string `json:"trace,omitempty"`

	// FirstSeen is when the operation began; the deadline counts from it.
	FirstSeen time.Time `json:"first"`
	// Sends counts the submissions that may have left this house.
	Sends int `json:"sends,omitempty"`
	// SentAt is the latest moment at which a submission may have left; the settle delay counts from it.
	SentAt time.Time `json:"sent,omitzero"`
	// NotBefore holds back the next send (Waiting).
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Owner and Lease: which process sends, and until when it may still be at it (Sending).
	Owner string    `json:"owner,omitempty"`
	Lease time.Time `json:"lease,omitzero"`
	// Tries counts the fruitless asks and unsent sends since the last progress; the delay grows with it.
	Tries int `json:"tries,omitempty"`
	// Parks counts the parkings. A parked copy with a lower count is stale: a later one exists.
	Parks int `json:"parks,omitempty"`
	// Refusal is the vendor's word in phase Refused.
	Refusal *Reply `json:"refusal,omitempty"`
	// Seen are the vendor's fields heard so far, to check a callback against.
	Seen map[string]string `json:"seen,omitempty"`
	// Told is the progress of which a pending event was published, "" while none was.
	Told string `json:"told,omitempty"`
	// Changes counts the changes of progress that were told, so that each has an event id of its own.
	Changes int `json:"changes,omitempty"`
	// Verdict is the final status, StatusUnclear until then.
	Verdict Status `json:"verdict,omitempty"`
	// Result is the event of phases Unresolved, Settled and Announced, whole, so that it can be published again byte for
	// byte.
	Result *Result `json:"result,omitempty"`
}

// Begin returns the state of an operation of which nothing is recorded.
func Begin(c Command, trace string, now time.Time) State {
	s := State{
		Schema: stateSchema, Phase: New, Topic: c.Topic, Key: c.Key, RequestID: c.RequestID, Account: c.Account,
		Carry: c.Carry, Trace: trace, FirstSeen: now,
	}
	if len(c.Fingerprints) > 0 {
		s.Fingerprint = c.Fingerprints[0]
	}
	return s
}

// DecodeState reads what Encode wrote. An unknown schema version or field is an error: a newer process wrote it, and
// guessing could move money twice.
func DecodeState(b []byte) (State, error) {
	var s State
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return State{}, fmt.Errorf("operation record: %w", err)
	}
	if s.Schema != stateSchema {
		return State{}, fmt.Errorf("operation record: schema version %d, this program reads %d", s.Schema, stateSchema)
	}
	if s.Key == "" || s.Topic == "" {
		return State{}, fmt.Errorf("operation record: key or topic missing")
	}
	return s, nil
}

// Forgotten returns what may be believed of s when it is known from memory alone (a parked message, this process) while
// the store has no record: whatever could have been sent must be asked about first. last is the latest moment at which
// that could be: a lease after the store was found to have forgotten, or after now when it does not say.
func (s State) Forgotten(last time.Time) State {
	if s.SentAt.Before(last) {
		s.SentAt = last
	}
	if s.Phase == Waiting {
		s.Phase = Asking
	}
	return s
}
