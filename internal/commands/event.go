package commands

import "time"

// Event is a fact that moves an operation. The set is closed: Arrived, Due, Replied, SendFailed, Answered, AskFailed,
// CalledBack, Nudged, Published.
type Event interface{ event() string }

// Arrived: a command message of this operation is at hand, for the first time or again.
type Arrived struct {
	// Request and Fingerprints are the message's, to tell a redelivery from a duplicate from a conflict.
	Request      RequestID
	Fingerprints []string
	// Forgot is when the store was found to have lost its memory; zero when it never did. A new operation is then asked
	// about before it is sent.
	Forgot time.Time
	// Back is when the store was found to have gone back in time, so that its latest writes may be lost; zero when it never
	// did. A new operation of a message from before is then asked about before it is sent.
	Back time.Time
	// Written is when the message was written to its topic, by its producer's clock; see Policy.Margin.
	Written time.Time
	// Origin is topic/partition/offset of the message, for the results that name it.
	Origin string
}

// Due: a parked copy of this operation has come due.
type Due struct {
	// Parks is the count that the copy carries, or that of the state when the copy knew more than the record.
	Parks int
}

// Replied: the vendor answered our submission.
type Replied struct {
	// Attempt is State.Sends as it was when the request went out.
	Attempt int
	Reply   Reply
}

// SendFailed: our submission brought no answer that counts.
type SendFailed struct {
	// Attempt is State.Sends as it was when the request went out.
	Attempt int
	Class   Class
	// Code is the adapter's stable word for the failure.
	Code string
	// RetryAfter is the vendor's wish, 0 when none.
	RetryAfter time.Duration
}

// Answered: the vendor answered our question.
type Answered struct {
	Reply Reply
	// Put is when the question was put. A "no such order" proves something about that moment, not about the one at
	// which it is weighed.
	Put time.Time
	// Overtaken: another writer changed the record since the question was put. What the answer says of a verdict is
	// true all the same; a "no such order" is not weighed on a record that it was not put for.
	Overtaken bool
}

// AskFailed: our question brought no answer that counts.
type AskFailed struct {
	Code       string
	RetryAfter time.Duration
}

// CalledBack: an authenticated callback of the vendor speaks of this operation.
type CalledBack struct{ Reply Reply }

// Nudged: a hint that the vendor has something new to say; it proves nothing and is answered by a question.
type Nudged struct{}

// Published: the event of the last Announce or Report is durable.
type Published struct{}

func (Arrived) event() string    { return "arrived" }
func (Due) event() string        { return "due" }
func (Replied) event() string    { return "replied" }
func (SendFailed) event() string { return "send-failed" }
func (Answered) event() string   { return "answered" }
func (AskFailed) event() string  { return "ask-failed" }
func (CalledBack) event() string { return "called-back" }
func (Nudged) event() string     { return "nudged" }
func (Published) event() string  { return "published" }
