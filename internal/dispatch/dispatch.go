// Package dispatch is the dispatcher's shell: it takes one message of a command topic or of a delay topic, checks it,
// claims its request, and has package operation carry it to its end.
//
// It refuses to execute what is not valid to the letter: such a message becomes a rejected result and a dead letter, and
// never blocks a lane. Faults of our own stores are returned, so that the lane tries the same message again; so is an
// operation that a newer version left in a phase that this one does not know, whose key waits for that version.
//
// Its caller must hand it each message until it returns nil, and must not commit before.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// Validator checks a command's value against the schema of its topic. Its errors name fields and rules, never values.
type Validator interface {
	Validate(topic string, value []byte) error
}

// Route is one command topic and what executes it.
type Route struct {
	Driver *operation.Driver
	// Account returns the merchant account that a command's word stands for, "" meaning the default; nil leaves the word
	// as it is. An operation keeps the account that it began with.
	Account func(word string) string
	// Check refuses what a schema cannot see (amounts, accounts); nil checks nothing. Its errors name fields and rules,
	// never values.
	Check func(commands.Command) error
}

// Config is what a Dispatcher needs.
type Config struct {
	Routes    []Route
	Store     idempotency.Store
	Publisher stream.Publisher
	Validator Validator
	// Fingerprints are the keys under which contents are compared.
	Fingerprints commands.Keyring
	// MaxBytes bounds a command's value.
	MaxBytes int
	Logger   *slog.Logger
	Observe  Observer
	// Tracer makes the spans of messages; nil makes none.
	Tracer operation.Tracer
}

// Observer are hooks for metrics; each may be nil.
type Observer struct {
	// Finished is told of each message that needs nothing more: its command topic, how it ended ("succeeded", "parked",
	// "rejected", "dead_letter", …) and how long the handling took.
	Finished func(topic, outcome string, took time.Duration)
	// Rejected is told of each rejected result that is published beside the operations' own (operation.Observer.Published
	// tells of those).
	Rejected func(topic string)
	// DeadLettered is told of each dead letter by its reason.
	DeadLettered func(topic, reason string)
	// Waits is told each time that a message was tried in vain because only a newer version can go on with its operation.
	Waits func(topic string)
	// Panicked is told of each recovered panic.
	Panicked func(topic string)
}

// Dispatcher implements stream.Handler.
type Dispatcher struct {
	Config
	routes   map[string]Route
	memories *memories
}

// New returns a dispatcher for the command topics of the routes and their delay topics.
func New(c Config) *Dispatcher {
	d := &Dispatcher{Config: c, routes: map[string]Route{}, memories: newMemories()}
	for _, r := range c.Routes {
		p := r.Driver.Policy
		d.routes[p.Spec.Topic] = r
		for _, topic := range operation.DelayTopics(p.Spec.Topic, p.Tiers) {
			d.routes[topic] = r
		}
	}
	return d
}

// Topics lists the topics to consume.
func (d *Dispatcher) Topics() []string {
	var topics []string
	for _, r := range d.Routes {
		p := r.Driver.Policy
		topics = append(topics, p.Spec.Topic)
		topics = append(topics, operation.DelayTopics(p.Spec.Topic, p.Tiers)...)
	}
	return topics
}

// Handle implements stream.Handler.
func (d *Dispatcher) Handle(ctx context.Context, m stream.Message) error {
	route, ok := d.routes[m.Topic]
	if !ok {
		return fmt.Errorf("topic %s is not one of %v", m.Topic, d.Topics())
	}
	t := &task{
		Dispatcher: d, route: route, spec: &route.Driver.Policy.Spec, began: time.Now(), origin: origin(m),
		job: operation.Job{Message: m, Trace: operation.TraceOf(m)},
	}
	if d.Tracer == nil {
		return t.run(ctx)
	}
	ctx, span := d.Tracer.Message(ctx, m)
	t.job.Trace = span.Trace()
	t.job.Message = t.job.Trace.Carry(m) // what comes of the message, parked copies too, belongs below this span
	failed := true
	defer func() { // also where dealing with a panic panics
		span.About(&t.job.State)
		span.End(t.outcome, failed)
	}()
	err := t.run(ctx)
	failed = err != nil
	return err
}

// task is one message under way.
type task struct {
	*Dispatcher
	route Route
	spec  *commands.Spec
	began time.Time
	// origin is topic/partition/offset of the message.
	origin string
	// job is the work: its Message and Trace (that of the message, or of its span) from the beginning, its Command once
	// that was read, the rest once the message proved to be work.
	job operation.Job
	// outcome is how it ended, "" while it must be tried again.
	outcome string
}

// run deals with the message, and with a panic on the way: it never becomes a result.
func (t *task) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = t.brokeDown(ctx, p)
		}
		t.remember(err)
	}()
	err = t.take(ctx)
	if errors.Is(err, operation.ErrNotAuthentic) {
		return t.disown(ctx, err)
	}
	if refusal, ok := errors.AsType[*commands.Refusal](err); ok {
		return t.bury(ctx, "refused", refusal.Error())
	}
	if errors.Is(err, operation.ErrUnreadable) {
		return t.bury(ctx, "unreadable", err.Error())
	}
	if errors.Is(err, commands.ErrNewer) && t.Observe.Waits != nil {
		t.Observe.Waits(t.spec.Topic)
	}
	return err
}

// take takes up a message for what it is.
func (t *task) take(ctx context.Context) error {
	parked, err := t.route.Driver.Open(t.job.Message)
	if err != nil {
		return err
	}
	if parked != nil {
		return t.due(ctx, parked)
	}
	return t.arrive(ctx)
}

// arrive takes up a message of the command topic.
func (t *task) arrive(ctx context.Context) error {
	if rejection := t.read(); rejection != nil {
		return t.reject(ctx, *rejection)
	}
	t.job.Written = t.job.Message.Time
	return t.accept(ctx, commands.Arrived{Written: t.job.Written})
}

// accept claims the request of a command that was read, and has the operation carried on; entry says when the command
// was written, and, where that is known already, that it may have been sent before.
func (t *task) accept(ctx context.Context, entry commands.Arrived) error {
	command := &t.job.Command
	other, err := t.claimRequest(ctx, command)
	if err != nil {
		return err
	}
	if other != nil && !t.knows(*command) {
		return t.reject(ctx, commands.Rejection{
			RequestID: command.RequestID, Key: command.Key, Content: command.Fingerprints[0],
			Reason: "request_reused", Detail: t.reused(*other),
		})
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	entry.Request, entry.Fingerprints, entry.Origin = command.RequestID, command.Fingerprints, t.origin
	if entry.Forgot.IsZero() {
		entry.Forgot = t.job.Record.Forgot
	}
	entry.Back = t.job.Record.Back
	t.job.Entry = entry
	return t.drive(ctx)
}

// begin fills in what the operation begins with. A question stores nothing before it is put, so that only a look keeps
// one that was answered from being put again, and its answer from being heard by nobody. What is sent stores its intent
// first, and meets then what stands; a look comes before only where that is not so: in a bucket that forgot or went back,
// and for a message that is older than records live, a new order is asked about first, and a message that failed before is
// known to this process.
func (t *task) begin(ctx context.Context) (err error) {
	job := &t.job
	job.State = commands.Begin(job.Command, job.Trace.Parent, t.route.Driver.Now())
	job.Record = t.Store.Expect(operation.Key(*t.spec, job.Command.Key))
	_, own, other := t.memories.of(job.Record.Key, job.Command.Fingerprints)
	remembers := own || other != nil
	doubt := commands.Arrived{Written: job.Written, Forgot: job.Record.Forgot, Back: job.Record.Back}
	if !remembers && !t.route.Driver.Policy.AsksFirst(doubt, job.State.FirstSeen) {
		return nil
	}
	if job.Record, err = t.Store.Load(ctx, job.Record.Key); err != nil {
		return fmt.Errorf("load the record of %s: %w", job.Command.Key, err)
	}
	job.State, err = t.recall(job.State, job.Record)
	return err
}

// reused says in words what a requestId used before means. A store that forgot may have met this message first, if it was
// written before that.
func (t *task) reused(other idempotency.Record) string {
	p, lost := t.route.Driver.Policy, t.Store.Expect(other.Key).Lost()
	if lost.IsZero() || !p.MayPrecede(t.job.Message.Time, lost, t.route.Driver.Now()) {
		return "this requestId was used before with another content; nothing was sent for this message"
	}
	return "this requestId was used before with another content, and the record store lost its memory since; " +
		"whether this message was executed before is not known: ask the vendor"
}

// read validates and decodes the message.
func (t *task) read() *commands.Rejection {
	value := t.job.Message.Value
	if len(value) > t.MaxBytes {
		return &commands.Rejection{
			Reason: "too_large",
			Detail: fmt.Sprintf("the message has %d bytes, at most %d are allowed", len(value), t.MaxBytes),
		}
	}
	invalid := func(err error) *commands.Rejection {
		r := &commands.Rejection{Reason: "invalid", Detail: err.Error()}
		r.RequestID, r.Key = commands.Glimpse(*t.spec, value)
		r.Content = t.Fingerprints.Fingerprints(value)[0]
		return r
	}
	if err := t.Validator.Validate(t.spec.Topic, value); err != nil {
		return invalid(err)
	}
	command, err := commands.Decode(*t.spec, t.Fingerprints, value)
	if err == nil && t.route.Check != nil {
		err = t.route.Check(command)
	}
	if err != nil {
		return invalid(err)
	}
	t.adopt(command)
	return nil
}

// adopt makes a command the one at hand, at the account that its word stands for.
func (t *task) adopt(command commands.Command) {
	if t.route.Account != nil {
		command.Account = t.route.Account(command.Account)
	}
	t.job.Command = command
}

func (t *task) drive(ctx context.Context) error {
	outcome, err := t.route.Driver.Drive(ctx, &t.job)
	if err != nil {
		return err
	}
	kind := ""
	if outcome.Result != nil {
		kind = outcome.Result.Kind()
	}
	if kind == commands.KindRejected {
		return t.bury(ctx, "order_reused", "an order with this "+t.spec.KeyField+" and another content is known")
	}
	t.finished(ended(outcome, kind), slog.String("phase", outcome.Phase.String()), slog.Int("sends", t.job.State.Sends))
	return nil
}

// ended is the closed list of words for how a message ended.
func ended(o operation.Outcome, kind string) string {
	switch {
	case o.Did == commands.DoPark:
		return "parked"
	case kind != "":
		return kind
	}
	return "nothing_to_do"
}

// finished writes the one line of a message that needs nothing more. Who it was about stands there only where the
// message was valid: a stranger's fields could hold anything.
func (t *task) finished(outcome string, more ...slog.Attr) {
	t.outcome = outcome
	took := time.Since(t.began)
	if t.Observe.Finished != nil {
		t.Observe.Finished(t.spec.Topic, outcome, took)
	}
	attrs := append(make([]slog.Attr, 0, 12),
		slog.String("topic", t.job.Message.Topic), slog.Int("partition", t.job.Message.Partition), slog.Int64("offset", t.job.Message.Offset),
		slog.String("outcome", outcome), slog.Duration("took", took),
		slog.String("key", string(t.job.Command.Key)), slog.String("request_id", string(t.job.Command.RequestID)),
		slog.String("trace_id", t.job.Trace.ID()))
	t.Logger.LogAttrs(context.Background(), slog.LevelInfo, "command finished", append(attrs, more...)...)
}

// brokeDown deals with a panic: what may have been sent is parked to be asked about, the rest is dead-lettered.
func (t *task) brokeDown(ctx context.Context, p any) error {
	if t.Observe.Panicked != nil {
		t.Observe.Panicked(t.spec.Topic)
	}
	t.Logger.Error("panic while handling a command", "topic", t.job.Message.Topic, "partition", t.job.Message.Partition,
		"offset", t.job.Message.Offset, "trace_id", t.job.Trace.ID(), "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	if t.job.Entry != nil {
		broken := t.job.State
		shelved, err := t.route.Driver.Shelve(ctx, &t.job)
		if err != nil {
			if t.job.Memory == nil && broken.Phase != commands.New {
				t.job.Memory = &broken
			}
			return err
		}
		if shelved {
			t.finished("parked")
			return nil
		}
	}
	return t.bury(ctx, "panic", "the dispatcher broke down on this message before anything was sent")
}
