package commands

import (
	"errors"
	"fmt"
	"time"
)

// Policy is what is set, not decided, about the operations of one command topic.
type Policy struct {
	Spec Spec
	// Owner names this process incarnation in records.
	Owner string
	// Lease is how long a process may be at one submission; longer than the vendor timeout.
	Lease time.Duration
	// Settle is how long after the last possible submission a "no such order" begins to count. Not shorter than Lease.
	Settle time.Duration
	// Deadline is how long an operation may stay without a verdict before a person is called.
	Deadline time.Duration
	// MaxSends bounds the submissions of one operation; the first one counts.
	MaxSends int
	// Patience is how long a message may wait in its lane for the lease of another sender; beyond it the message is
	// parked, so that the offsets behind it can be committed. 0 waits for the whole lease.
	Patience time.Duration
	// Tiers are the delays of the delay topics, ascending.
	Tiers []time.Duration
	// Lifetime is that of a record after its last write. A message written longer ago may have been executed under a
	// record that is gone. 0: records do not expire.
	Lifetime time.Duration
	// Margin is how far a producer's clock, which writes a message's time, may be off. Where it matters whether a
	// message is older than a loss of memory, one that is not newer by the margin counts as older.
	Margin time.Duration
	// BackWindow is how long after the store went back in time a new order is asked about first, though its message was
	// written since: it may be the same order again, or its producer's clock may be ahead. A "no such order" counts at once
	// as soon as the settle delay from a lease after that moment is over.
	BackWindow time.Duration
}

// skewParts is the part of the settle delay by which the clock of a process may differ from the store's: a process
// whose clock is further off does not call the vendor.
const skewParts = 10

// Tolerance is how far the clock of a process may be off before it must not call the vendor.
func (p Policy) Tolerance() time.Duration { return p.Settle / skewParts }

// settled is when a "no such order" begins to count after a submission that left at this moment at the latest. The
// moment was read from the clock of one process and is compared with that of another: each may be off by Tolerance, one
// ahead and one behind.
func (p Policy) settled(sent time.Time) time.Time { return sent.Add(p.settling()) }

func (p Policy) settling() time.Duration { return p.Settle + 2*p.Tolerance() }

// MayPrecede reports whether a message may have been written before a moment. Its time is that of its producer's clock,
// which may be off by the margin; a time that is further ahead of now than that is wrong and says nothing.
func (p Policy) MayPrecede(written, moment, now time.Time) bool {
	return precedes(written, moment, now, p.Margin)
}

func precedes(written, moment, now time.Time, margin time.Duration) bool {
	return !written.After(moment.Add(margin)) || written.After(now.Add(margin))
}

// Lost is until when a submission of a new operation may have been recorded of which no record tells any more; zero when
// none can have been. A store that forgot may have known whatever was ordered before, also of an order that is new again;
// but of what cannot be asked about only a message that was written since is known to be new. A store that went back in
// time lost its latest writes, which were about messages of before: there a producer's clock is believed as far as own
// ones are, or every failover would hold up an hour of commands. Beside that a record ends with its lifetime, while a
// topic that is played again brings its message back.
func (p Policy) Lost(e Arrived, now time.Time) time.Time {
	lost := p.Expired(e.Written, now)
	if p.Spec.Effect == EffectMoney || p.MayPrecede(e.Written, e.Forgot, now) {
		lost = latest(lost, e.Forgot)
	}
	again := p.Spec.Effect == EffectMoney && now.Before(e.Back.Add(p.BackWindow))
	if !e.Back.IsZero() && (again || precedes(e.Written, e.Back, now, min(p.Margin, p.Tolerance()))) {
		lost = latest(lost, e.Back)
	}
	return lost
}

// AsksFirst reports whether a new operation is not simply sent.
func (p Policy) AsksFirst(e Arrived, now time.Time) bool {
	return p.Spec.Effect == EffectRead || !p.Lost(e, now).IsZero()
}

// Doubted returns what may be believed of an operation whose record may be older than what was written last, because the
// store went back in time at that moment. A process that stored its intent before may have sent until its lease was over,
// so the vendor is asked before anything is sent, and a "no such order" counts only from then. A verdict stays one.
func (p Policy) Doubted(s State, back time.Time) State {
	switch {
	case back.IsZero(), p.Spec.Effect == EffectRead, s.Phase == New, s.Phase > Refused:
		return s
	case s.Phase == Sending && p.Spec.Effect == EffectOnce: // only the process that sends it goes on with it
		return s
	}
	s = s.asked()
	s.SentAt = latest(s.SentAt, back.Add(p.Lease))
	return s
}

// Expired is when at the latest the record of an operation ended that a message of this time may have belonged to; zero
// when its record, if there was one, still stands.
func (p Policy) Expired(written, now time.Time) time.Time {
	if p.Lifetime == 0 {
		return time.Time{}
	}
	if ended := now.Add(-p.Lifetime); p.MayPrecede(written, ended, now) {
		return ended
	}
	return time.Time{}
}

// Validate names every problem of the policy at once.
func (p Policy) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch p.Spec.Effect {
	case EffectRead: // nothing is sent
		p.Lease, p.Settle, p.MaxSends = 1, 1, 1
	case EffectOnce: // nothing is asked, so nothing has to settle
		p.Settle = p.Lease
	}
	if p.Lease <= 0 {
		bad("lease %v: must be positive", p.Lease)
	}
	if p.Settle < p.Lease {
		bad("settle delay %v: must not be shorter than the lease %v, or an order still on the wire could be taken for missing", p.Settle, p.Lease)
	}
	if p.Deadline <= p.Settle {
		bad("deadline %v: must be longer than the settle delay %v", p.Deadline, p.Settle)
	}
	if p.MaxSends < 1 {
		bad("max sends %d: must be at least 1", p.MaxSends)
	}
	if p.Lifetime < 0 || p.Margin < 0 || p.BackWindow < 0 {
		bad("record lifetime %v, clock margin %v, window after a step back %v: must not be negative", p.Lifetime, p.Margin, p.BackWindow)
	}
	if least := p.Lease + p.settling(); p.Spec.Effect == EffectMoney && p.BackWindow > 0 && p.BackWindow < least {
		bad("window after a step back %v: must be at least %v, the lease, the settle delay and what clocks may differ by", p.BackWindow, least)
	}
	if len(p.Tiers) == 0 {
		bad("delay tiers: at least one is needed")
	}
	for i, t := range p.Tiers {
		if t <= 0 || (i > 0 && t <= p.Tiers[i-1]) {
			bad("delay tiers %v: must be positive and ascending", p.Tiers)
			break
		}
	}
	return errors.Join(errs...)
}

// Delay returns the wait before try number n (0 for the first): the n-th tier, the last one from then on.
func (p Policy) Delay(n int) time.Duration {
	return p.Tiers[min(max(n, 0), len(p.Tiers)-1)]
}

// Tier returns the index of the shortest tier that is not shorter than d, or of the longest.
func (p Policy) Tier(d time.Duration) int {
	for i, t := range p.Tiers {
		if t >= d {
			return i
		}
	}
	return len(p.Tiers) - 1
}

// Step returns the index of the tier in which to wait for d, in several steps if need be: the shortest tier that is not
// shorter, unless that is more than twice as long and there is a shorter one.
func (p Policy) Step(d time.Duration) int {
	tier := p.Tier(d)
	if tier > 0 && p.Tiers[tier] > 2*d {
		return tier - 1
	}
	return tier
}
