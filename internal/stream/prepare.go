package stream

import (
	"context"
	"log/slog"
	"sync"
)

// Preparation calls a consumer's Prepare hook once in its life, before its first message is handled and before a
// starting offset is committed for it. Adapters keep one for each consumer.
type Preparation struct {
	// Prepare may be nil. seenBefore is true when the group has a committed offset in any partition of its topics, so
	// that commands may have been handled before.
	Prepare func(ctx context.Context, seenBefore bool) error

	mu   sync.Mutex
	done bool
}

// Run asks seen and calls Prepare, both again with backoff until they succeed or ctx ends. Another member may commit
// between two attempts, so seen is asked anew each time. Once it has succeeded, Run returns nil at once.
func (p *Preparation) Run(ctx context.Context, seen func(context.Context) (bool, error), b Backoff, log *slog.Logger) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for attempt := 1; !p.done; attempt++ {
		err := p.once(ctx, seen)
		if err == nil {
			p.done = true
			return nil
		}
		log.Warn("not prepared to handle messages yet, trying again", "attempt", attempt, "error", err)
		if err := b.Wait(ctx, "prepare", attempt); err != nil {
			return err
		}
	}
	return nil
}

func (p *Preparation) once(ctx context.Context, seen func(context.Context) (bool, error)) error {
	if p.Prepare == nil {
		return nil
	}
	before, err := seen(ctx)
	if err != nil {
		return err
	}
	return p.Prepare(ctx, before)
}
