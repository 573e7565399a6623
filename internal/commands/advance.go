package commands

import (
	"hash/fnv"
	"maps"
	"slices"
	"time"
)

// Advance decides what one fact means for an operation: the state to be in next, and the one thing to do. It is total:
// each phase and event is a transition or a *Refusal. It never changes its arguments.
func Advance(s State, e Event, p Policy, now time.Time) (State, Action, error) {
	m := move{state: s, policy: p, now: now}
	act, err := m.decide(e)
	if err != nil {
		return s, Action{}, err
	}
	return m.state, act, nil
}

func (m *move) decide(e Event) (Action, error) {
	switch e := e.(type) {
	case Arrived:
		return m.arrived(e)
	case Due:
		return m.due(e)
	case Replied:
		return m.replied(e)
	case SendFailed:
		return m.sendFailed(e)
	case Answered:
		return m.answered(e)
	case AskFailed:
		return m.askFailed(e)
	case CalledBack:
		return m.calledBack(e)
	case Nudged:
		return m.nudged(e)
	case Published:
		return m.published(e)
	}
	return m.refuse(nil, ReasonImpossible)
}

// move is one decision in the making.
type move struct {
	state  State
	policy Policy // no pointer: one beside a state whose parts leave would move every policy to the heap
	now    time.Time
}

func (m *move) refuse(e Event, reason string) (Action, error) {
	name := "none"
	if e != nil {
		name = e.event()
	}
	return Action{}, &Refusal{Phase: m.state.Phase, Event: name, Reason: reason}
}

func (m *move) arrived(e Arrived) (Action, error) {
	s := &m.state
	if s.Phase == New {
		return m.begin(e)
	}
	sameContent := slices.Contains(e.Fingerprints, s.Fingerprint)
	switch {
	case e.Request == s.RequestID && sameContent:
		return m.resume(true)
	case sameContent && s.Phase == Unresolved && m.policy.Spec.Effect == EffectRead:
		return m.askAnew(e.Request)
	case sameContent:
		return m.answer(s.duplicate(m.policy.Spec, e.Request, m.now))
	}
	r := Rejection{RequestID: e.Request, Key: s.Key, Content: first(e.Fingerprints), Origin: e.Origin}
	if e.Request == s.RequestID {
		r.Reason, r.Detail = "request_reused", "this requestId was used before with another content; nothing was sent for this message"
	} else {
		r.Reason, r.Detail = "order_reused", "this "+m.policy.Spec.KeyField+" belongs to requestId "+string(s.RequestID)+" with another content; nothing was sent for this message"
	}
	return m.answer(m.policy.Spec.Rejected(r, m.now))
}

// begin takes up an operation of which nothing is recorded.
func (m *move) begin(e Arrived) (Action, error) {
	if !m.policy.AsksFirst(e, m.now) {
		return m.send()
	}
	lost := m.policy.Lost(e, m.now)
	if m.policy.Spec.Effect == EffectRead {
		m.state.Phase = Asking
		return m.ask()
	}
	// A process that stored its intent just before the loss may be at it until its lease is over.
	return m.unclear(lost.Add(m.policy.Lease), "the record of this command may be lost; it may have been executed before")
}

// askAnew puts a question again, for another request, that found no answer before its deadline.
func (m *move) askAnew(r RequestID) (Action, error) {
	s := &m.state
	s.Phase, s.RequestID, s.FirstSeen, s.Tries, s.Result = Asking, r, m.now, 0, nil
	return m.ask()
}

// unclear deals with a submission that may have left at any moment until last: it is asked about, or, where nobody can
// be asked, that is the verdict.
func (m *move) unclear(last time.Time, why string) (Action, error) {
	if m.policy.Spec.Effect == EffectOnce {
		return m.settle(Reply{Status: StatusUnknown, Code: "unknown", Message: why + "; it was not sent again"})
	}
	m.state.Phase = Asking
	m.state.SentAt = latest(m.state.SentAt, last) // a loss of memory may have moved it beyond the lease of this submission
	return m.ask()
}

func (m *move) due(e Due) (Action, error) {
	if m.state.Phase == New {
		return m.refuse(e, ReasonUnknownOrder)
	}
	if m.state.Parks > e.Parks && !m.state.Phase.Final() {
		return m.finish() // a later copy exists: it was published before this count was stored
	}
	if m.state.Phase == Unresolved {
		// That it was published is recorded nowhere: whoever stored it may have died before it called a person.
		return m.answer(m.state.Result)
	}
	return m.resume(false)
}

// resume goes on from wherever the operation was left. arrived tells a command message from a parked copy.
func (m *move) resume(arrived bool) (Action, error) {
	s := &m.state
	switch s.Phase {
	case Sending:
		if left := s.Lease.Sub(m.now); left > 0 {
			if m.policy.Patience > 0 && left > m.policy.Patience && !m.overdue() { // who parks gives up at the deadline
				return m.park(left)
			}
			return Action{Do: DoWait, Until: s.Lease}, nil
		}
		return m.unclear(s.Lease, "the process that was sending it died")
	case Waiting:
		if wait := s.NotBefore.Sub(m.now); wait > 0 {
			return m.park(wait)
		}
		return m.send()
	case Asking, Refused, Pending:
		if m.policy.Spec.Effect == EffectOnce {
			return m.unclear(s.SentAt, "the record store lost its memory while it waited")
		}
		return m.ask()
	case Settled:
		return m.announce()
	case Unresolved, Announced:
		if arrived {
			return m.answer(s.Result)
		}
		return m.finish()
	}
	return m.refuse(Arrived{}, ReasonImpossible)
}

func (m *move) replied(e Replied) (Action, error) {
	if m.state.Phase == New {
		return m.refuse(e, ReasonImpossible)
	}
	if m.state.Contradicted(&m.policy.Spec, e.Reply) != "" {
		return m.sendFailed(SendFailed{Attempt: e.Attempt, Code: ReasonMismatch})
	}
	switch e.Reply.Status {
	case StatusSucceeded, StatusFailed:
		return m.settle(e.Reply)
	case StatusPending:
		if m.policy.Spec.Effect == EffectMoney {
			return m.pending(e.Reply)
		}
	case StatusRefused:
		if !m.mine(e.Attempt) {
			return m.late()
		}
		if m.policy.Spec.Effect == EffectOnce {
			e.Reply.Status = StatusFailed
			return m.settle(e.Reply)
		}
		reply := e.Reply
		m.state.Phase, m.state.SentAt, m.state.Refusal = Refused, m.state.lastLeft(), &reply
		return m.ask()
	}
	return m.refuse(e, ReasonImpossible)
}

func (m *move) sendFailed(e SendFailed) (Action, error) {
	if m.state.Phase == New {
		return m.refuse(e, ReasonImpossible)
	}
	if !m.mine(e.Attempt) {
		return m.late()
	}
	switch e.Class {
	case ClassRetryable:
		m.state.Phase, m.state.SentAt = Waiting, time.Time{}
		m.state.Sends--
		return m.park(e.RetryAfter)
	case ClassPermanent:
		return m.settle(Reply{Status: StatusFailed, Code: e.Code})
	}
	return m.unclear(m.state.lastLeft(), "the gateway's answer did not arrive or could not be read ("+e.Code+")")
}

// mine reports whether the submission just heard of is the one that the record knows to be under way. After a loss of
// memory another process counts its submissions from one again.
func (m *move) mine(attempt int) bool {
	return m.state.Phase == Sending && m.state.Sends == attempt && m.state.Owner == m.policy.Owner
}

func (m *move) answered(e Answered) (Action, error) {
	if m.state.Phase == New {
		return m.refuse(e, ReasonImpossible)
	}
	if m.state.Contradicted(&m.policy.Spec, e.Reply) != "" {
		return m.askFailed(AskFailed{Code: ReasonMismatch})
	}
	switch e.Reply.Status {
	case StatusSucceeded, StatusFailed:
		return m.settle(e.Reply)
	case StatusPending:
		return m.pending(e.Reply)
	case StatusMissing:
		if m.policy.Spec.Effect == EffectMoney {
			return m.missing(e)
		}
	}
	return m.refuse(e, ReasonImpossible)
}

// missing weighs a "no such order". It counts only if the question was put once the settle delay since the last possible
// submission had passed, and never against the vendor's own earlier word that the order exists.
func (m *move) missing(e Answered) (Action, error) {
	s := &m.state
	counts := m.policy.settled(s.SentAt)
	switch {
	case e.Overtaken, s.Phase != Asking && s.Phase != Refused && s.Phase != Pending:
		return m.late()
	case s.Phase == Pending:
		return m.park(0)
	case m.now.Before(counts):
		return m.parkIn(m.policy.Step(counts.Sub(m.now)))
	case e.Put.Before(counts):
		return m.ask() // the answer took its time, or this process stood still with it
	case s.Phase == Refused:
		return m.settle(Reply{Status: StatusFailed, Code: s.Refusal.Code, Message: s.Refusal.Message, Fields: s.Refusal.Fields})
	case s.Sends >= m.policy.MaxSends:
		return m.park(0)
	}
	return m.send()
}

func (m *move) askFailed(e AskFailed) (Action, error) {
	switch m.state.Phase {
	case New:
		return m.refuse(e, ReasonImpossible)
	case Asking, Refused, Pending:
		return m.park(e.RetryAfter)
	}
	return m.late()
}

// late goes on after a word that proves nothing and was overtaken by another writer. It never leads straight to a send.
func (m *move) late() (Action, error) {
	if m.state.Phase == Waiting {
		return m.unclear(m.now, "another process had it too")
	}
	return m.resume(false)
}

func (m *move) calledBack(e CalledBack) (Action, error) {
	if m.state.Phase == New {
		return m.refuse(e, ReasonUnknownOrder)
	}
	if m.state.Contradicted(&m.policy.Spec, e.Reply) != "" {
		return m.refuse(e, ReasonMismatch)
	}
	switch e.Reply.Status {
	case StatusSucceeded, StatusFailed:
		return m.settle(e.Reply)
	case StatusPending:
		return m.finish() // a hint that asks nothing of us: the parked copy goes on asking
	}
	return m.refuse(e, ReasonImpossible)
}

func (m *move) nudged(e Nudged) (Action, error) {
	switch m.state.Phase {
	case New:
		return m.refuse(e, ReasonUnknownOrder)
	case Asking, Refused, Pending, Unresolved:
		return m.ask()
	case Settled:
		return m.announce()
	}
	return m.finish()
}

func (m *move) published(e Published) (Action, error) {
	switch m.state.Phase {
	case Settled:
		m.state.Phase = Announced
		return m.finish()
	case Unresolved, Announced:
		return m.finish()
	case Pending:
		if now := m.state.progress(m.policy.Spec); now != m.state.Told {
			m.state.Told, m.state.Changes = now, m.state.Changes+1
		}
		return m.park(0)
	}
	return m.refuse(e, ReasonImpossible)
}

// settle takes the vendor's final word, once. A contrary word to a settled operation is an event of its own.
func (m *move) settle(r Reply) (Action, error) {
	if m.state.Phase.Final() {
		if r.Status != m.state.Verdict {
			return m.answer(m.state.conflict(m.policy.Spec, r, m.now))
		}
		return m.resume(false)
	}
	m.see(r)
	m.state.Result = m.state.verdict(m.policy.Spec, r, m.now)
	m.state.Phase, m.state.Verdict = Settled, r.Status
	return m.announce()
}

func (m *move) pending(r Reply) (Action, error) {
	switch m.state.Phase {
	case Unresolved, Settled, Announced:
		return m.resume(false)
	}
	m.see(r)
	moved := m.state.Told != m.state.progress(m.policy.Spec)
	if moved || m.state.Phase != Pending {
		m.state.Tries = 0
	}
	m.state.Phase = Pending
	if !moved {
		return m.park(0)
	}
	return Action{Do: DoReport, Result: m.state.pending(m.policy.Spec, r, m.now)}, nil
}

// see remembers the vendor's fields, and forgets those that are null now, without touching the maps of the state that
// came in.
func (m *move) see(r Reply) {
	seen := maps.Clone(m.state.Seen)
	if seen == nil {
		seen = map[string]string{}
	}
	maps.Copy(seen, r.Fields)
	for name, value := range r.Extra {
		if string(value) == "null" {
			delete(seen, name)
		}
	}
	m.state.Seen = remembered(seen, m.policy.Spec)
}

func (m *move) send() (Action, error) {
	if m.overdue() {
		return m.giveUp()
	}
	s := &m.state
	s.Phase, s.SentAt, s.Sends, s.Tries = Sending, m.now, s.Sends+1, keepTries(s)
	s.Owner, s.Lease, s.NotBefore, s.Refusal = m.policy.Owner, m.now.Add(m.policy.Lease), time.Time{}, nil
	return Action{Do: DoSend}, nil
}

// keepTries lets the delay go on growing while nothing can be sent at all, and starts anew after a submission.
func keepTries(s *State) int {
	if s.Phase == Waiting {
		return s.Tries
	}
	return 0
}

func (m *move) ask() (Action, error)      { return Action{Do: DoAsk}, nil }
func (m *move) announce() (Action, error) { return Action{Do: DoAnnounce}, nil }
func (m *move) finish() (Action, error)   { return Action{Do: DoFinish}, nil }
func (m *move) answer(r *Result) (Action, error) {
	return Action{Do: DoAnswer, Result: r}, nil
}

// park holds the operation back for at least atLeast and at least the delay of this try, or gives up at the deadline.
func (m *move) park(atLeast time.Duration) (Action, error) {
	tier := m.policy.Tier(max(atLeast, m.policy.Delay(m.state.Tries)))
	if atLeast > 0 && m.state.Tries == 0 {
		tier = m.policy.Tier(atLeast)
	}
	m.state.Tries++
	return m.parkIn(tier)
}

// parkIn holds the operation back in a tier, or gives up at the deadline. It is no try of its own.
func (m *move) parkIn(tier int) (Action, error) {
	if m.overdue() {
		return m.giveUp()
	}
	m.state.Parks++
	until := m.now.Add(m.policy.Tiers[tier] + m.jitter(m.policy.Tiers[tier]))
	if m.state.Phase == Waiting {
		m.state.NotBefore = until
	}
	return Action{Do: DoPark, Until: until, Tier: tier}, nil
}

// jitter spreads the polls of a busy moment over a tenth of their delay. It is made of the operation's own name, so that
// the same decision is the same again.
func (m *move) jitter(delay time.Duration) time.Duration {
	if m.policy.Spec.Effect != EffectRead {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(m.state.Key))
	h.Write([]byte{byte(m.state.Parks)})
	return delay / 10 * time.Duration(h.Sum32()%1024) / 1024
}

func (m *move) overdue() bool { return !m.now.Before(m.state.FirstSeen.Add(m.policy.Deadline)) }

func (m *move) giveUp() (Action, error) {
	m.state.Result = m.state.unresolved(m.policy.Spec, m.now)
	m.state.Phase = Unresolved
	return m.announce()
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
