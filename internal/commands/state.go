package commands

import (
	"strings"
	"time"
)

// stateSchema is the version of State's encoding. A version that only adds members keeps it, and gives each a meaning
// that stands whatever an older version, which hands it on unread, makes of the rest. What an older version must not go
// on from gets a phase of its own, or another schema: an older version leaves both alone.
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
	// Owner and Lease: which process sends, on behalf of which message, and until when it may still be at it (Sending).
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

	// unknown are the members that a newer version wrote, each behind a comma.
	unknown []byte
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

// Contradicted returns the first field in which a reply is not about this operation, "" when there is none: it differs
// from what was ordered, or from what the vendor said before.
func (s *State) Contradicted(spec *Spec, r Reply) string {
	for _, field := range spec.MatchFields {
		word := r.Fields[field]
		if word != "" && (differs(field == spec.AmountField, word, s.Seen[field]) || differs(field == spec.AmountField, word, s.Carry[field])) {
			return field
		}
	}
	return ""
}

// differs compares two words of which the second may be unknown; amounts differ by value, not by their writing.
func differs(amount bool, word, known string) bool {
	if known == "" || word == known {
		return false
	}
	return !amount || plainAmount(word) != plainAmount(known)
}

// plainAmount writes a decimal amount in the one way in which every equal amount is written.
func plainAmount(amount string) string {
	whole, fraction, _ := strings.Cut(amount, ".")
	return strings.TrimLeft(whole, "0") + "." + strings.TrimRight(fraction, "0")
}

// Forgotten returns what may be believed of s when it is known from memory alone (a parked message, this process) while
// the store has no record: whatever could have been sent must be asked about first. last is the latest moment at which
// that could be: a lease after the store was found to have forgotten, or after now when it does not say.
func (s State) Forgotten(last time.Time) State {
	s.SentAt = latest(s.SentAt, last)
	switch s.Phase {
	case Waiting:
		s.Phase = Asking
	case Announced:
		s.Phase = Settled
	}
	return s
}

// Unsent returns the state of an operation whose submission, which s is about to make, is proven not to have left. It
// keeps the submission's owner and lease, by which the record of that very submission is recognised.
func (s State) Unsent() State {
	s.Phase, s.SentAt = Waiting, time.Time{}
	s.Sends--
	return s
}

// Untouched reports whether nothing was done to the operation yet but to prepare a first submission that did not leave.
func (s State) Untouched() bool {
	return s.Phase == New || s.Phase == Waiting && s.Sends == 0 && s.Parks == 0
}

// Joined returns what must be believed of an operation of which the store has the record s and there is a memory beside
// it: a parked copy, or what this process did. news reports whether the memory knew what the record does not.
//
// A verdict outweighs all. Else whoever knows of more submissions, or of a later one, outweighs the other, since a store
// may go back in time; and the proof that the very submission which one of them says is under way did not leave, outweighs
// that one: it was written later. What is believed then never leads to a submission that was not asked about.
func (s State) Joined(memory State) (joined State, news bool) {
	joined, news = s.weighed(memory)
	joined.unknown = joinedUnknown(joinedUnknown(joined.unknown, s.unknown), memory.unknown)
	return joined, news
}

func (s State) weighed(memory State) (joined State, news bool) {
	switch {
	case s.Phase.Final():
		return s, false
	case memory.Phase.Final():
		joined = memory.outlived(s)
		joined.Phase = Settled // whoever the record was for has not heard of it
		return joined, true
	case s.disproves(memory):
		return s, false
	case memory.disproves(s):
		joined = memory.outlived(s)
		joined.Sends, joined.SentAt = memory.Sends, memory.SentAt
		return joined, true
	case memory.Sends > s.Sends, memory.SentAt.After(s.SentAt), memory.Phase.rank() > s.Phase.rank() && memory.sameSubmission(s):
		return memory.outlived(s).asked().pendingBy(s), true
	}
	joined = s.pendingBy(memory)
	if memory.Phase == Sending && !memory.sameIntent(s) && memory.lastLeft().After(s.lastLeft()) {
		joined = joined.asked() // another submission than that on record is under way
		joined.SentAt = memory.lastLeft()
		return joined, true
	}
	return joined, joined.Phase != s.Phase
}

// lastLeft is the latest moment at which the last submission may have left, or may leave yet. It is read from no clock:
// one that was set while the submission was made would be wrong about when that ended.
func (s State) lastLeft() time.Time {
	if s.Phase == Sending {
		return latest(s.SentAt, s.Lease)
	}
	return s.SentAt
}

// sameIntent reports whether two states tell of one intent, before and after its outcome.
func (s State) sameIntent(other State) bool {
	return s.Owner == other.Owner && s.Lease.Equal(other.Lease)
}

// pendingBy returns s in phase Pending if other is, and s would ask or send otherwise: once the vendor said that it has the
// order nothing is sent any more, also if s knows of more submissions.
func (s State) pendingBy(other State) State {
	if other.Phase == Pending && (s.Phase == Waiting || s.Phase == Asking || s.Phase == Refused) {
		s.Phase, s.Seen, s.Refusal = Pending, other.Seen, nil
	}
	return s
}

// outlived takes over from a record that knows less what counts up. The count of parkings stays the memory's own, or its
// copy would be taken for an older one than it is.
func (s State) outlived(record State) State {
	s.Sends, s.Tries = max(s.Sends, record.Sends), max(s.Tries, record.Tries)
	if s.sameIntent(record) {
		s.SentAt = latest(s.SentAt, record.SentAt) // s knows how it ended
	} else {
		s.SentAt = latest(s.SentAt, record.lastLeft())
	}
	if record.FirstSeen.Before(s.FirstSeen) {
		s.FirstSeen = record.FirstSeen
	}
	if record.Changes > s.Changes {
		s.Told, s.Changes = record.Told, record.Changes
	}
	return s
}

// asked lets nothing be sent before the vendor was asked: a submission of s may be under way until its lease is over.
func (s State) asked() State {
	s.SentAt = s.lastLeft()
	if s.Phase == Sending || s.Phase == Waiting {
		s.Phase = Asking
	}
	return s
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// disproves reports whether s is the proof that the submission which a record says is under way did not leave.
func (s State) disproves(record State) bool {
	return s.Phase == Waiting && record.Phase == Sending && s.Sends == record.Sends-1 &&
		s.sameIntent(record)
}

// sameSubmission reports whether two states know of the same last submission.
func (s State) sameSubmission(other State) bool {
	return s.Sends == other.Sends && s.SentAt.Equal(other.SentAt)
}
