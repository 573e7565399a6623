package commands

import (
	"fmt"
	"time"
)

// Do names what the shell has to do next.
type Do uint8

const (
	// DoFinish: store the state if it changed; the message needs nothing more.
	DoFinish Do = iota
	// DoSend: store the state, then submit to the vendor once, and feed Replied or SendFailed.
	DoSend
	// DoAsk: ask the vendor, store nothing, and feed Answered or AskFailed.
	DoAsk
	// DoWait: wait until Action.Until, load the record again, and feed the same Arrived or Due.
	DoWait
	// DoPark: publish the message with the state to the delay topic of Action.Tier, due at Action.Until; then store the
	// state; the message needs nothing more.
	DoPark
	// DoAnnounce: store the state, publish State.Result, and feed Published.
	DoAnnounce
	// DoReport: store the state, publish Action.Result, and feed Published.
	DoReport
	// DoAnswer: publish Action.Result, an answer to this message that leaves the operation as it is; the message needs
	// nothing more.
	DoAnswer
)

var doNames = [...]string{"finish", "send", "ask", "wait", "park", "announce", "report", "answer"}

// String returns the word as it stands in docs/state-machine.md and in logs.
func (d Do) String() string {
	if int(d) < len(doNames) {
		return doNames[d]
	}
	return fmt.Sprintf("do(%d)", d)
}

// Action is the one thing to do next.
type Action struct {
	Do Do
	// Until is set for DoWait and DoPark.
	Until time.Time
	// Tier is the index into Policy.Tiers, for DoPark.
	Tier int
	// Result is set for DoReport and DoAnswer.
	Result *Result
}

// Refusal is the typed answer to an event that an operation in this phase cannot take.
type Refusal struct {
	Phase Phase
	Event string
	// Reason is one of the Reason constants.
	Reason string
}

// Reasons of a Refusal.
const (
	// ReasonUnknownOrder: a callback or a due copy speaks of an order of which nothing is recorded.
	ReasonUnknownOrder = "unknown_order"
	// ReasonMismatch: a callback's fields contradict what the vendor said before (pay_order_no, pay_type).
	ReasonMismatch = "mismatch"
	// ReasonImpossible: this event cannot happen here; the shell or an adapter broke its contract.
	ReasonImpossible = "impossible"
)

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("event %s refused in phase %s: %s", r.Event, r.Phase, r.Reason)
}
