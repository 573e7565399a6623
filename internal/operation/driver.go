// Package operation drives one operation: it loads the record, lets package commands decide, and performs the one thing
// that was decided, until the message at hand needs nothing more. Dispatcher and callback-ingest share it; they race
// through the record's version, not through a lock.
//
// It refuses to decide anything itself, to decode commands, and to swallow faults of our own stores: those come back as
// errors, with the operation's state untouched, and the caller tries the same message again.
//
// Once a handover in its context has begun (package handover) it begins no vendor call. A call that is on the wire goes on:
// only its own deadline ends it.
//
// Its caller must give each call a context that outlives a rebalance, and must not commit a message before Drive
// returned nil for it.
package operation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/handover"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/scrub"
)

// ErrNoVendor is returned when a decision needs the vendor and the driver has none (callback-ingest).
var ErrNoVendor = errors.New("this process does not call the vendor")

// ErrUnreadable marks a record or a parked memory that no program can read; trying again does not help. One that only a
// newer version can read is commands.ErrNewer instead: its message waits for that version.
var ErrUnreadable = errors.New("unreadable")

// CodeLeaseOver is the code of a submission that was given up before it began, because its lease was over.
const CodeLeaseOver = "lease_over"

// Config is what a Driver needs.
type Config struct {
	Store     idempotency.Store
	Publisher stream.Publisher
	// Sender and Asker call the vendor: money needs both, once the first, read the second. Both are nil in a process
	// that only takes callbacks.
	Sender vendors.Sender
	Asker  vendors.Asker
	Policy commands.Policy
	// Keys seal parked copies and prove them when they come back. A process that sends needs them, as does one whose jobs
	// bring a message; a process that only takes callbacks parks nothing.
	Keys commands.Keyring
	// Timeout bounds one vendor call; shorter than Policy.Lease.
	Timeout time.Duration
	// Fit says why this process must not call the vendor now: its clock is off, replicas are away. The message is then tried again, and nothing was sent or asked. nil: it always may.
	Fit func() error
	// Now is the wall clock; nil means time.Now without its monotonic reading, which stands still while a machine is
	// suspended and so must not decide whether a lease is over.
	Now    func() time.Time
	Logger *slog.Logger
	// Observe is told of each vendor call and publication; the zero value observes nothing.
	Observe Observer
	// Tracer makes the spans of vendor calls; nil makes none.
	Tracer Tracer
}

// Observer are hooks for metrics; each may be nil.
type Observer struct {
	// Called is told of each vendor call: what ("send" or "ask"), how it ended and how long it took.
	Called func(what, outcome string, took time.Duration)
	// Published is told of each result event by its kind.
	Published func(kind string)
	// Announced is told of each verdict that is durable: its kind, and how long ago the command was written to its topic.
	// Where that is not known (callbacks) the operation's beginning counts.
	Announced func(kind string, age time.Duration)
	// Asked is told of each question before it is put, Parked of each parking: the operation's phase, and its age since
	// it began.
	Asked  func(phase commands.Phase, age time.Duration)
	Parked func(phase commands.Phase, age time.Duration)
	// Resent is told of each submission beyond an operation's first.
	Resent func()
	// Conflicted is told of each write of a record that another writer was quicker than.
	Conflicted func()
	// Contradicted is called after each reply of the vendor that differs from what was ordered, or from what the vendor
	// said before; it changed nothing.
	Contradicted func()
}

// Driver performs what the core decides for the operations of one command topic.
type Driver struct {
	Config
	holds map[string]time.Duration
	began time.Time
	tries atomic.Uint64
}

// New checks the policy and returns a driver.
func New(c Config) (*Driver, error) {
	if err := c.Policy.Validate(); err != nil {
		return nil, fmt.Errorf("policy of %s: %w", c.Policy.Spec.Topic, err)
	}
	if err := c.suits(); err != nil {
		return nil, fmt.Errorf("policy of %s: %w", c.Policy.Spec.Topic, err)
	}
	if c.Sender != nil && (c.Timeout <= 0 || c.Timeout >= c.Policy.Lease) {
		return nil, fmt.Errorf("policy of %s: vendor timeout %v must be positive and shorter than the lease %v", c.Policy.Spec.Topic, c.Timeout, c.Policy.Lease)
	}
	if c.Sender != nil && c.Keys.Seal(nil) == "" {
		return nil, fmt.Errorf("policy of %s: what is sent may have to be parked, and there is no key to seal it with", c.Policy.Spec.Topic)
	}
	if c.Now == nil {
		c.Now = func() time.Time { return time.Now().Round(0) }
	}
	return &Driver{Config: c, holds: holds(c.Policy), began: c.Now()}, nil
}

// suits checks that the process that calls the vendor at all can do what the effect needs.
func (c Config) suits() error {
	sends, asks := c.Sender != nil, c.Asker != nil
	switch effect := c.Policy.Spec.Effect; {
	case !sends && !asks:
		return nil // a process that only takes callbacks
	case effect == commands.EffectMoney && !(sends && asks):
		return errors.New("effect money needs a sender and an asker")
	case effect == commands.EffectOnce && (asks || !sends):
		return errors.New("effect once needs a sender and no asker")
	case effect == commands.EffectRead && (sends || !asks):
		return errors.New("effect read needs an asker and no sender")
	}
	return nil
}

// Job is one message and what is known when it is taken up.
type Job struct {
	// Command is the decoded command; its Body is empty for a callback.
	Command commands.Command
	// Message is what is parked if it comes to that.
	Message stream.Message
	// Written is when the command was written to its topic; zero for a callback.
	Written time.Time
	// Trace is what results carry; where it is empty they carry the trace that the operation began in.
	Trace Trace
	// Record stands in the store; State is its decoded value, or what is believed when there is none. Drive moves both
	// along: afterwards they say how the operation stands.
	Record idempotency.Record
	State  commands.State
	// Entry is the fact that the job begins with: Arrived, Due or CalledBack.
	Entry commands.Event
	// Memory is what a Drive that failed knows of the operation beyond its record, nil when that is nothing. Whoever
	// tries the message again must begin with it, joined with the record by [Driver.Recall].
	Memory *commands.State
}

// Outcome says how a job ended, for the log line and metrics of the caller.
type Outcome struct {
	Phase commands.Phase
	// Did is the last action.
	Did commands.Do
	// Result is the last event that was published, nil when none was.
	Result *commands.Result
}

// Key returns the record key of an operation; the type keeps the keys of different kinds apart.
func Key(spec commands.Spec, k commands.OperationKey) string {
	return "o:" + spec.Type + ":" + string(k)
}

// Drive goes on until the message needs nothing more. A command message does not end without a parked copy or an event.
// An error is our own fault (store, publisher, a broken contract) or a *commands.Refusal of the entry; what was done
// before it is in job.Memory.
func (d *Driver) Drive(ctx context.Context, job *Job) (Outcome, error) {
	if called, ok := job.Entry.(commands.CalledBack); ok {
		job.Entry = commands.CalledBack{Reply: scrub.Reply(called.Reply, job.Command)}
	}
	r := run{Driver: d, job: job, record: &job.Record, state: &job.State, fact: job.Entry, began: job.State.Fingerprint}
	switch job.Entry.(type) {
	case commands.Arrived, commands.Due: // a clock that is off would park, or give up, at the wrong time
		if err := r.fit(); err != nil {
			return r.outcome(commands.Action{}), r.failed(err)
		}
		if r.state.Phase == commands.New {
			r.state.FirstSeen = d.Now() // the clock may have been off before, and the deadline counts from it
		}
	}
	policy := d.Policy
	policy.Owner = d.owner()
	for {
		next, act, err := r.decide(policy)
		if err != nil {
			return r.outcome(act), r.failed(err)
		}
		done, err := r.perform(ctx, &next, act)
		if err != nil {
			return r.outcome(act), r.failed(err)
		}
		if done && !r.owes(act) {
			job.Memory = nil
			return r.outcome(act), nil
		}
	}
}

// decide asks the core what the fact means now. A clock that is known to be wrong ends nothing: what would be given up is
// parked instead, and park says why not now.
func (r *run) decide(policy commands.Policy) (commands.State, commands.Action, error) {
	now := r.Now()
	next, act, err := commands.Advance(*r.state, r.fact, policy, now)
	if err == nil && next.Phase == commands.Unresolved && r.state.Phase != commands.Unresolved && r.clockIsOff() != nil {
		policy.Deadline = math.MaxInt64
		next, act, err = commands.Advance(*r.state, r.fact, policy, now)
	}
	return next, act, err
}

// owner names who submits: this process, at this try of a message. Two tries of one order at one moment would else write
// the same intent, and what is known of the one that was not written would be taken for the other.
func (d *Driver) owner() string { return d.Policy.Owner + "/" + strconv.FormatUint(d.tries.Add(1), 10) }

// owes reports whether a command message, or a copy, would end without a result because another writer, or a write of its
// own that had been given up, was quicker. It is then decided on again as it came, once.
func (r *run) owes(act commands.Action) bool {
	_, arrived := r.job.Entry.(commands.Arrived)
	_, due := r.job.Entry.(commands.Due)
	_, again := r.fact.(commands.Due)
	if act.Do != commands.DoFinish || r.result != nil || again || !arrived && !due {
		return false
	}
	r.fact = r.job.Entry
	return true
}

// failed notes what is known beyond the record, and marks what the next owner could not know.
func (r *run) failed(err error) error {
	if r.heard {
		err = handover.Unstored(err)
	}
	known := r.known
	if known.Phase == commands.New {
		known = *r.state
	}
	if known.Phase != commands.New {
		r.job.Memory = &known
	}
	return err
}

// run is one job under way.
type run struct {
	*Driver
	job *Job
	// record and state are the job's.
	record *idempotency.Record
	state  *commands.State
	fact   commands.Event
	result *commands.Result
	// began is the fingerprint that the job began with.
	began string
	// known is what is known beyond state, when what was to be stored or published was not; New otherwise. It is a copy,
	// so that the states on the way need no memory of their own.
	known commands.State
	// heard: a call of the vendor ended since the record was written, and what it said is not stored yet.
	heard bool
}

func (r *run) outcome(act commands.Action) Outcome {
	return Outcome{Phase: r.state.Phase, Did: act.Do, Result: r.result}
}

// perform does one action and sets the fact to decide on next; done means that the message needs nothing more.
func (r *run) perform(ctx context.Context, next *commands.State, act commands.Action) (done bool, err error) {
	switch act.Do {
	case commands.DoSend:
		if err := handover.Err(ctx); err != nil {
			return false, err
		}
		if err := r.fit(); err != nil {
			return false, err
		}
		if ok, err := r.store(ctx, next); err != nil || !ok {
			return false, err
		}
		return false, r.send(ctx)
	case commands.DoAsk:
		*r.state = *next
		return false, r.ask(ctx)
	case commands.DoWait:
		return false, r.wait(ctx, act.Until)
	case commands.DoPark:
		return r.park(ctx, next, act)
	case commands.DoAnnounce:
		if ok, err := r.store(ctx, next); err != nil || !ok {
			return false, err
		}
		if err := r.publish(ctx, next.Result, commands.Published{}); err != nil {
			return false, err
		}
		if r.Observe.Announced != nil {
			r.Observe.Announced(next.Result.Kind(), time.Since(r.written()))
		}
		return false, nil
	case commands.DoReport:
		// Stored first, though it is no verdict: whoever heard it late and finds the operation settled must not tell it.
		if ok, err := r.store(ctx, next); err != nil || !ok {
			return false, err
		}
		return false, r.publish(ctx, act.Result, commands.Published{})
	case commands.DoAnswer:
		// A record must outlive every message that it answered by its lifetime, or that message, played again, is taken
		// for a new one. An operation that goes on is written again anyway.
		if _, arrived := r.fact.(commands.Arrived); arrived && r.Policy.Lifetime > 0 && next.Phase >= commands.Unresolved {
			if ok, err := r.store(ctx, next); err != nil || !ok {
				return false, err
			}
		}
		return true, r.publish(ctx, act.Result, nil)
	case commands.DoFinish:
		if next.Phase == r.state.Phase {
			return true, nil
		}
		if ok, err := r.store(ctx, next); err != nil || ok {
			return true, err
		}
		// A store that lost the verdict meanwhile gets it back, or the order would be new to it.
		_, published := r.fact.(commands.Published)
		return !published || r.state.Phase != commands.Settled, nil
	}
	return false, fmt.Errorf("action %s is not known to this program", act.Do)
}

// store swaps the record to next. When another writer came first it takes over what stands there and returns false: the
// same fact is then decided on again.
func (r *run) store(ctx context.Context, next *commands.State) (bool, error) {
	value, err := next.Encode()
	if err != nil {
		return false, fmt.Errorf("encode the record of %s: %w", next.Key, err)
	}
	r.known = *next
	if next.Phase == commands.Sending {
		r.known = next.Unsent() // whether the intent was written or not, it is not acted upon before that is known
	}
	was := *r.record
	was.Intent = next.Phase == commands.Sending
	record, err := r.Store.Swap(ctx, was, value)
	if conflict, ok := errors.AsType[*idempotency.Conflict](err); ok {
		if r.Observe.Conflicted != nil {
			r.Observe.Conflicted()
		}
		err := r.take(conflict.Standing)
		if err == nil {
			r.known = commands.State{}
		}
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("store the record of %s: %w", next.Key, err)
	}
	*r.record, *r.state, r.known, r.heard = record, *next, commands.State{}, false
	return true, nil
}

// take makes a standing record the base of the next decision. Where nothing stands the store forgot (or the record
// expired), and what this process remembers is the best there is.
func (r *run) take(standing idempotency.Record) error {
	*r.record = standing
	if answered, ok := r.fact.(commands.Answered); ok {
		answered.Overtaken = true
		r.fact = answered
	}
	if standing.Version > 0 {
		state, err := decode(standing.Value)
		if err != nil {
			return err
		}
		return r.takeOver(state, standing.Back)
	}
	if r.state.Phase != commands.New {
		if err := r.clockIsOff(); err != nil {
			return err
		}
		*r.state = r.state.Forgotten(r.last(standing))
		return nil
	}
	if arrived, ok := r.fact.(commands.Arrived); ok {
		if standing.Forgot.After(arrived.Forgot) {
			arrived.Forgot = standing.Forgot
		}
		arrived.Back = standing.Back
		r.fact = arrived
	}
	return nil
}

// takeOver goes on from the state on record. It may be another request's, or another content's, when the store forgot
// this message's own: then what was just heard is not about this message, which is weighed again as it came. Or it may be
// an older one, of a store that went back in time: then what this process did counts, and so does what may have been done
// beside until back, when that was found.
func (r *run) takeOver(state commands.State, back time.Time) error {
	ours := state.Fingerprint == r.began || slices.Contains(r.job.Command.Fingerprints, state.Fingerprint)
	if ours && r.state.Phase != commands.New {
		state = r.joined(state, *r.state, r.job.Command.Fingerprints)
	}
	*r.state = r.Policy.Doubted(state, back)
	switch r.job.Entry.(type) {
	case commands.Arrived:
		if !ours || state.RequestID != r.job.Command.RequestID {
			r.fact = r.job.Entry
		}
	case commands.Due:
		if !ours {
			return fmt.Errorf("the record of %s came to stand for another content", state.Key)
		}
	}
	return nil
}

// last is until when something may have been sent of which an absent record says nothing: a process that stored its
// intent just before the loss may be at it until its lease is over. The loss is the one that the store knows of, else
// this very moment. A question is never sent, so for one it is zero.
func (d *Driver) last(absent idempotency.Record) time.Time {
	if d.Policy.Spec.Effect == commands.EffectRead {
		return time.Time{}
	}
	lost := absent.Lost()
	if absent.Forgot.IsZero() {
		lost = d.Now()
	}
	return lost.Add(d.Policy.Lease)
}

// Recall returns the state to go on from when a memory of an operation, a parked copy's or this process' own, meets its
// record. fingerprints are those of the content at hand; a record of another content is returned as it is.
func (d *Driver) Recall(memory commands.State, rec idempotency.Record, fingerprints []string) (commands.State, error) {
	if rec.Version == 0 {
		if err := d.clockIsOff(); err != nil {
			return memory, err
		}
		return memory.Forgotten(d.last(rec)), nil
	}
	state, err := decode(rec.Value)
	if err != nil {
		return state, err
	}
	return d.Policy.Doubted(d.joined(state, memory, fingerprints), rec.Back), nil
}

// joined returns what must be believed of an operation with this record and a memory beside it. A memory of another
// content is no news about this one. A question can be put again, so that for one the record is as good.
func (d *Driver) joined(record, memory commands.State, fingerprints []string) commands.State {
	same := record.Fingerprint == memory.Fingerprint ||
		slices.Contains(fingerprints, record.Fingerprint) && slices.Contains(fingerprints, memory.Fingerprint)
	if same && d.Policy.Spec.Effect != commands.EffectRead {
		record, _ = record.Joined(memory)
	}
	return record
}

func decode(value []byte) (commands.State, error) {
	state, err := commands.DecodeState(value)
	if err != nil {
		return commands.State{}, unreadable(err)
	}
	return state, nil
}

// unreadable marks the error of a state that trying again does not help, which is not so for one of a newer version.
func unreadable(err error) error {
	if errors.Is(err, commands.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreadable, err)
}

// fit says why the vendor must not be called now.
func (r *run) fit() error {
	if r.Fit == nil {
		return nil
	}
	if err := r.Fit(); err != nil {
		return fmt.Errorf("the vendor is not called about %s: %w", r.state.Key, err)
	}
	return nil
}

// clockIsOff says why nothing may be decided by the clock.
func (d *Driver) clockIsOff() error {
	if d.Fit == nil {
		return nil
	}
	if err := d.Fit(); idempotency.ClockIsOff(err) {
		return fmt.Errorf("nothing is decided by the clock: %w", err)
	}
	return nil
}

func (r *run) send(ctx context.Context) error {
	attempt := r.state.Sends
	if r.Sender == nil {
		return ErrNoVendor
	}
	if !r.Now().Before(r.state.Lease) {
		// This process stood still since it stored its intent, and another one may have asked and sent meanwhile.
		r.fact = commands.SendFailed{Attempt: attempt, Class: commands.ClassRetryable, Code: CodeLeaseOver}
		return nil
	}
	if err := handover.Err(ctx); err != nil {
		return r.takeBack(ctx, err)
	}
	if err := r.fit(); err != nil { // its clock may have been set back while it stood still
		return r.takeBack(ctx, err)
	}
	if attempt > 1 && r.Observe.Resent != nil {
		r.Observe.Resent()
	}
	reply, err := r.call(ctx, "send", r.state.Lease, r.Sender.Send)
	if handedOver(err) {
		return r.takeBack(ctx, handover.ErrBegun)
	}
	r.heard = true
	if err != nil {
		r.fact = commands.SendFailed{Attempt: attempt, Class: vendors.ClassOf(err), Code: vendors.CodeOf(err), RetryAfter: retryAfter(err)}
		return nil
	}
	r.fact = commands.Replied{Attempt: attempt, Reply: reply}
	return nil
}

// handedOver reports whether a call was not begun because of a handover.
func handedOver(err error) bool {
	return vendors.CodeOf(err) == vendors.CodeHandedOver && vendors.ClassOf(err) == commands.ClassRetryable
}

// takeBack notes in the record that the submission whose intent it holds was not made, so that the next owner makes it
// at once, without waiting for its lease nor asking. It returns why.
func (r *run) takeBack(ctx context.Context, why error) error {
	return r.keep(ctx, r.state.Unsent(), why)
}

// leave stores what was heard since the record was written, so that the next owner goes on from there. It returns why.
func (r *run) leave(ctx context.Context, why error) error {
	if !r.heard {
		return why
	}
	return r.keep(ctx, *r.state, why)
}

// keep stores a state that the message is left in. It returns why it is left.
func (r *run) keep(ctx context.Context, state commands.State, why error) error {
	if _, err := r.store(ctx, &state); err != nil {
		return err
	}
	return why
}

func (r *run) ask(ctx context.Context) error {
	if r.Asker == nil {
		return ErrNoVendor
	}
	if err := handover.Err(ctx); err != nil {
		return r.leave(ctx, err)
	}
	if err := r.fit(); err != nil {
		return r.leave(ctx, err)
	}
	put := r.Now()
	if r.Observe.Asked != nil {
		r.Observe.Asked(r.state.Phase, put.Sub(r.state.FirstSeen))
	}
	reply, err := r.call(ctx, "ask", time.Time{}, r.Asker.Ask)
	if handedOver(err) {
		return r.leave(ctx, handover.ErrBegun)
	}
	r.heard = true
	if err != nil {
		r.fact = commands.AskFailed{Code: vendors.CodeOf(err), RetryAfter: retryAfter(err)}
		return nil
	}
	r.fact = commands.Answered{Reply: reply, Put: put}
	return nil
}

// call makes one vendor call, which ends at last, where it is set, and in any case after the timeout, but not with ctx:
// what is cut off is not known to have had no effect. It goes to the
// account that the operation began with, whatever the default has become since. Whatever comes back is scrubbed here,
// where no adapter can go past it. A panic of the adapter goes on, and leaves no span behind.
func (r *run) call(
	ctx context.Context, what string, last time.Time, f func(context.Context, commands.Command) (commands.Reply, error),
) (commands.Reply, error) {
	began := time.Now()
	limit := r.Timeout
	if !last.IsZero() {
		limit = min(limit, last.Sub(r.Now()))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var span Span
	if r.Tracer != nil {
		ctx, span = r.Tracer.Call(ctx, r.Policy.Spec.Topic, what, r.state.Sends)
	}
	outcome, failed := "panic", true
	defer func() {
		if span != nil {
			span.End(outcome, failed)
		}
		if r.Observe.Called != nil {
			r.Observe.Called(what, outcome, time.Since(began))
		}
	}()
	command := r.job.Command
	if r.state.Account != "" {
		command.Account = r.state.Account
	}
	reply, err := f(ctx, command)
	reply, err = scrub.Reply(reply, command), scrub.Error(err, command)
	outcome, failed = reply.Status.String(), err != nil
	switch {
	case failed && handedOver(err):
		outcome = vendors.CodeHandedOver
	case failed:
		outcome = vendors.CodeOf(err)
		r.Logger.Warn("vendor call failed", "topic", r.Policy.Spec.Topic, "call", what, "key", r.state.Key, "attempt", r.state.Sends,
			"class", vendors.ClassOf(err).String(), "err", err)
	case r.contradicted(what, r.state, reply):
		outcome = commands.ReasonMismatch
	}
	return reply, err
}

// contradicted reports, also to people, whether a reply is about something else than was ordered, so that it changes
// nothing.
func (d *Driver) contradicted(what string, s *commands.State, reply commands.Reply) bool {
	field := s.Contradicted(&d.Policy.Spec, reply)
	if field == "" {
		return false
	}
	d.Logger.Error("a vendor's reply differs from the order or from its earlier reply; it changed nothing",
		"topic", d.Policy.Spec.Topic, "call", what, "key", s.Key, "field", field)
	if d.Observe.Contradicted != nil {
		d.Observe.Contradicted()
	}
	return true
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*vendors.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// wait lets the lease of another sender run out, then looks again.
func (r *run) wait(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(until.Sub(r.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-handover.Begun(ctx):
		return handover.ErrBegun
	case <-ctx.Done():
		return fmt.Errorf("wait for the lease of %s: %w", r.state.Key, ctx.Err())
	}
	record, err := r.Store.Load(ctx, r.record.Key)
	if err != nil {
		return fmt.Errorf("load the record of %s: %w", r.state.Key, err)
	}
	r.fact = r.job.Entry
	return r.take(record)
}

// park publishes first and stores then: a copy that is counted in the record exists, so an older copy may be dropped.
func (r *run) park(ctx context.Context, next *commands.State, act commands.Action) (bool, error) {
	if r.job.Message.Topic == "" {
		// A callback brought no message to park: the copy that waits for this operation goes on asking, so its count stands.
		next.Parks = r.state.Parks
		if next.Told == r.state.Told {
			return true, nil
		}
		_, err := r.store(ctx, next)
		return true, err
	}
	r.known = *next // unless the copy is there
	r.known.Parks, r.known.Tries = r.state.Parks, r.state.Tries
	if err := r.clockIsOff(); err != nil {
		r.known.NotBefore = time.Time{}
		return false, r.keep(ctx, r.known, err)
	}
	err := r.publishCopy(ctx, next, act)
	if errors.Is(err, stream.ErrTooLarge) {
		return r.giveUp(ctx, err)
	}
	if err != nil {
		return false, fmt.Errorf("park %s: %w", next.Key, err)
	}
	if r.Observe.Parked != nil {
		r.Observe.Parked(next.Phase, time.Since(next.FirstSeen))
	}
	// When another writer was quicker the copy finds its state when it comes due; it is not decided again here, or the
	// same fact would park a second copy. When the store does not answer the copy is the better informed, and outweighs
	// the record when it comes due (State.Joined).
	if _, err := r.store(ctx, next); err != nil && !errors.Is(err, idempotency.ErrUnavailable) {
		return false, err
	}
	return true, nil
}

func (r *run) publish(ctx context.Context, result *commands.Result, then commands.Event) error {
	if err := r.Tell(ctx, *result, r.trace(), nil); err != nil {
		return err
	}
	if r.Observe.Published != nil {
		r.Observe.Published(result.Kind())
	}
	r.result = result
	if then != nil {
		r.fact = then
	}
	return nil
}

// trace is what a result of this job carries.
func (r *run) trace() Trace {
	if r.job.Trace.Parent != "" {
		return r.job.Trace
	}
	return Trace{Parent: r.state.Trace}
}

// written is when the command was written to its topic, or, where no message tells, when the operation began.
func (r *run) written() time.Time {
	if at := r.job.Written; !at.IsZero() {
		return at
	}
	return r.state.FirstSeen
}

// Shelve parks an operation whose handling broke down in the middle (a panic), without calling the vendor: what may have
// been sent is asked about when the copy comes due. It returns false when nothing can have been sent, so that the
// caller may dead-letter the message instead.
func (d *Driver) Shelve(ctx context.Context, job *Job) (bool, error) {
	record, err := d.Store.Load(ctx, job.Record.Key)
	if err != nil {
		return false, fmt.Errorf("load the record of %s: %w", job.Command.Key, err)
	}
	if record.Version == 0 && record.Forgot.IsZero() && job.State.Phase == commands.New {
		return false, nil
	}
	state, err := d.Recall(job.State, record, job.Command.Fingerprints)
	if err != nil {
		return false, err
	}
	if !slices.Contains(job.Command.Fingerprints, state.Fingerprint) {
		return false, nil // the record is of another content, which has a message of its own
	}
	switch state.Phase {
	case commands.New, commands.Waiting:
		return false, nil
	case commands.Sending:
		state.Phase, state.SentAt = commands.Asking, state.Lease
	}
	job.Record, job.State, job.Entry = record, state, commands.AskFailed{Code: "panic"}
	_, err = d.Drive(ctx, job)
	return true, err
}
