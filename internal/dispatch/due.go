package dispatch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// ReasonNotAuthentic is the reason of a dead letter whose headers claim what only this service may say.
const ReasonNotAuthentic = "not_authentic"

// Due is when a message may be handled; it is made for stream.Config.
func (d *Dispatcher) Due(m stream.Message) time.Time {
	if route, ok := d.routes[m.Topic]; ok {
		return route.Driver.Due(m)
	}
	return time.Time{}
}

// due takes up a message of a delay topic.
//
// A body that is not valid any more (or never was) is no rejection: what it ordered may have been sent.
func (t *task) due(ctx context.Context, parked *operation.Copy) error {
	if rejection := t.read(); rejection != nil {
		return fmt.Errorf("%w: parked command: %s", operation.ErrUnreadable, rejection.Detail)
	}
	command := t.job.Command
	if err := parked.Belongs(command); err != nil {
		return err
	}
	t.job.Written = parked.Written
	record, err := t.Store.Load(ctx, operation.Key(*t.spec, command.Key))
	if err != nil {
		return fmt.Errorf("load the record of %s: %w", command.Key, err)
	}
	switch {
	case parked.Sealed:
		return t.wake(ctx, *parked.Memory, record)
	case record.Version > 0:
		return t.wake(ctx, commands.Begin(command, t.job.Trace.Parent, t.route.Driver.Now()), record)
	}
	// Nothing proves that it is new, so that it counts as written before a loss of the store that was found just now.
	return t.accept(ctx, commands.Arrived{Forgot: t.route.Driver.Now()})
}

// wake goes on with the operation of a parked copy. One without a memory of its own (phase New) knows nothing better than
// the record, so that it never counts as older than that. Nor does any on the word of a record that may be of another past:
// the later copy that it speaks of may have been handled there.
func (t *task) wake(ctx context.Context, memory commands.State, record idempotency.Record) error {
	command := t.job.Command
	state, err := t.recall(memory, record)
	if err != nil {
		return err
	}
	if !slices.Contains(command.Fingerprints, state.Fingerprint) {
		return t.reject(ctx, commands.Rejection{
			RequestID: command.RequestID, Key: command.Key, Content: command.Fingerprints[0], Reason: "order_reused",
			Detail: "the record store lost its memory, and another content of this " + t.spec.KeyField + " came first since; " +
				"whether this message was executed before is not known: ask the vendor",
		})
	}
	entry := commands.Due{Parks: memory.Parks}
	if memory.Phase == commands.New || !record.Back.IsZero() {
		entry.Parks = max(entry.Parks, state.Parks)
	}
	t.job.Record, t.job.State, t.job.Entry = record, state, entry
	return t.drive(ctx)
}

// disown buries a message that claims to be ours and is not. Its headers are kept under other names, so that nothing
// obeys them when it is sent again.
func (t *task) disown(ctx context.Context, why error) error {
	t.job.Message.Headers = operation.Disown(t.job.Message.Headers)
	return t.bury(ctx, ReasonNotAuthentic, why.Error())
}
