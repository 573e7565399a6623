// Package handover tells the work on a message that the message's partition goes to another owner: what has begun is
// finished, and nothing new is begun. The lanes say so in the context of a handler; whoever is about to do what cannot be
// taken back, or waits for its turn to, looks.
//
// It refuses to end anything: a context with a handover in it lives on. Who begins all the same does no harm but to hold
// the handover up.
package handover

import (
	"context"
	"errors"
)

// ErrBegun is returned by a handler that left its message to the next owner of the partition, with nothing under way.
var ErrBegun = errors.New("left to the next owner of the partition: it is being handed over")

type key struct{}

// With returns ctx with a handover in it, which begins when over ends.
func With(ctx, over context.Context) context.Context { return context.WithValue(ctx, key{}, over) }

// Of returns a context that ends when the handover begins; nil when ctx holds none.
func Of(ctx context.Context) context.Context {
	over, _ := ctx.Value(key{}).(context.Context)
	return over
}

// Err returns ErrBegun once the handover has begun.
func Err(ctx context.Context) error {
	if over := Of(ctx); over != nil && over.Err() != nil {
		return ErrBegun
	}
	return nil
}

// Begun is closed when the handover begins; nil, which never is, when ctx holds none.
func Begun(ctx context.Context) <-chan struct{} {
	if over := Of(ctx); over != nil {
		return over.Done()
	}
	return nil
}

// Until returns a copy of ctx, for waiting, that ends with the handover's beginning too.
func Until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	over := Of(ctx)
	if over == nil {
		return ctx, func() { cancel(context.Canceled) }
	}
	stop := context.AfterFunc(over, func() { cancel(ErrBegun) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Unstored marks the error of a handler that heard something which the next owner cannot know, since it could not be
// stored: the handler wants to be called again even though the handover has begun.
func Unstored(err error) error { return &unstored{err} }

// IsUnstored reports whether an error is marked.
func IsUnstored(err error) bool {
	_, marked := errors.AsType[*unstored](err)
	return marked
}

type unstored struct{ error }

func (u *unstored) Unwrap() error { return u.error }
