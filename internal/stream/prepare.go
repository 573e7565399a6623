package stream

import (
	"context"
	"log/slog"
	"sync"
)

// Preparation calls a consumer's Prepare hook once in its life, before its first message is handled and before a
// starting offset is committed for it. Adapters keep one for each consumer.
type Preparation struct {
	// Prepare may be nil. seenBefore is false only when it is proven that no command was handled before: the group has no
	// committed offset in any partition of its topics, and no witness topic was ever written to.
	Prepare func(ctx context.Context, seenBefore bool) error

	mu   sync.Mutex
	done bool
}

// Seen returns why commands may have been handled before, "" when it is proven that none were. An error is none of
// either: it is asked again.
type Seen func(context.Context) (why string, err error)

// Run asks seen and calls Prepare, both again with backoff until they succeed or ctx ends. Another member may commit
// between two attempts, so seen is asked anew each time. Once it has succeeded, Run returns nil at once.
func (p *Preparation) Run(ctx context.Context, seen Seen, b Backoff, log *slog.Logger) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for attempt := 1; !p.done; attempt++ {
		err := p.once(ctx, seen, log)
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

func (p *Preparation) once(ctx context.Context, seen Seen, log *slog.Logger) error {
	if p.Prepare == nil {
		return nil
	}
	why, err := seen(ctx)
	if err != nil {
		return err
	}
	if why != "" {
		log.Info("commands may have been handled before", "because", why)
	} else {
		log.Info("no command was handled before: this is a first start")
	}
	return p.Prepare(ctx, why != "")
}
