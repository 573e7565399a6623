package operation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
)

// maxKey bounds the Kafka keys that we write, in bytes, where they come from a sender; longer ones are cut, or replaced
// by the operation's own.
const maxKey = 256

// longAgo is further back than any two clocks are apart.
const longAgo = 365 * 24 * time.Hour

// ShortKey returns a sender's key as it is written to a result: a prefix still puts equal keys in one partition.
func ShortKey(key []byte) []byte { return key[:min(len(key), maxKey)] }

// Tell publishes a result in the trace given. The log may take less than results are bounded to; it is then told in its
// smallest form, since money may have moved and somebody waits for the event. key stands in for a subject that is not
// known.
func (d *Driver) Tell(ctx context.Context, r commands.Result, trace Trace, key []byte) error {
	event := func(r commands.Result) stream.Message {
		m := trace.onto(Event(r, d.Policy.Spec.ResultTopic, ""))
		if r.Subject == "" {
			m.Key = ShortKey(key)
		}
		return m
	}
	err := d.Publisher.Publish(ctx, event(r))
	if errors.Is(err, stream.ErrTooLarge) {
		d.Logger.Error("result too large for its topic, told in its smallest form", "topic", d.Policy.Spec.ResultTopic,
			"type", r.Type, "key", r.Subject, "bytes", len(r.Data))
		err = d.Publisher.Publish(ctx, event(r.Least(d.Policy.Spec)))
	}
	if err != nil {
		return fmt.Errorf("publish %s of %s: %w", r.Type, r.Subject, err)
	}
	return nil
}

// publishCopy publishes the copy that waits. Where the log finds it too large it goes without the sender's own headers
// and with the operation's key instead of a long one, and then without the vendor's words that decide nothing.
func (r *run) publishCopy(ctx context.Context, next *commands.State, act commands.Action) error {
	job, state := *r.job, *next
	m := &job.Message
	for _, smaller := range []func(){
		func() {},
		func() {
			m.Headers = Ours(m.Headers)
			if len(m.Key) > maxKey {
				m.Key = []byte(state.Key)
			}
		},
		func() { state = state.Least(r.Policy.Spec) },
	} {
		smaller()
		parked, err := r.Parked(&job, &state, act)
		if err != nil {
			return err
		}
		if err = r.Publisher.Publish(ctx, parked); !errors.Is(err, stream.ErrTooLarge) {
			return err
		}
		r.Logger.Warn("parked copy too large for its topic", "topic", parked.Topic, "key", next.Key, "bytes", size(parked))
	}
	return fmt.Errorf("even the smallest copy of %s: %w", next.Key, stream.ErrTooLarge)
}

// giveUp decides on the fact again as if the deadline had passed: what cannot wait in its topic must not hold up the
// lane either, so a person is called now. A later word of the vendor still settles the operation.
func (r *run) giveUp(ctx context.Context, why error) (done bool, err error) {
	r.Logger.Error("operation cannot be parked, it is given up", "topic", r.Policy.Spec.Topic, "key", r.state.Key, "err", why)
	policy := r.Policy
	policy.Deadline = -longAgo
	r.known = commands.State{}
	next, act, err := commands.Advance(*r.state, r.fact, policy, r.Now())
	if err != nil {
		return false, err
	}
	return r.perform(ctx, &next, act)
}

// Ours returns the headers of a message that count for its handling: those that this program writes to parked copies,
// and the trace. Nothing here reads what a sender adds beside them.
func Ours(headers []stream.Header) []stream.Header {
	ours := append(marks(), HeaderTrace, HeaderTraceState)
	return slices.DeleteFunc(slices.Clone(headers), func(h stream.Header) bool { return !slices.Contains(ours, h.Key) })
}

func size(m stream.Message) int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
