// Package lifecycle runs the parts of a service under one cause and takes them down in order.
//
// A [Group] holds two kinds of things. Parts ([Group.Go]) work until their context ends, then finish what is in
// flight and return. Resources ([Group.OnClose], [Group.Serve]) outlive the parts and are closed last-in first-out,
// so that what was opened first (the admin port, the logger's sink) is there until the end. [Group.Wait] is the
// whole shutdown: it waits for the first reason to stop, for the parts, then closes the resources.
//
// It refuses to restart anything: a part that fails, panics, or returns before it was told to stops the service, and
// the platform starts a new one. It refuses to hang: a part or resource that overstays its time is named in the
// error of Wait and left behind.
//
// Its caller hands in the context that signals end, opens things in the order in which they depend on each other,
// calls Wait once, and exits after it.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrEnded says that a part returned, or a server stopped serving, before it was told to.
var ErrEnded = errors.New("ended before it was told to")

// errDone is the cause of the context once Wait returned for no other reason.
var errDone = errors.New("the group is done")

// Group is a set of parts and resources with one life. Make it with [New].
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	log    *slog.Logger
	grace  time.Duration

	mu      sync.Mutex
	running map[string]int // parts by name that have not returned
	settled chan struct{}  // closed and replaced each time a part returns
	errs    []error        // in the order in which they happened
	stack   []resource     // in the order in which they were opened
}

// resource is something to close, with the time it may take.
type resource struct {
	name   string
	budget time.Duration
	close  func(ctx context.Context) error
}

// New returns an empty group that stops when parent ends. grace is how long parts may take after that; it must cover
// the drain budget of the slowest.
func New(parent context.Context, grace time.Duration, log *slog.Logger) *Group {
	ctx, cancel := context.WithCancelCause(parent)
	return &Group{
		ctx: ctx, cancel: cancel, log: log, grace: grace,
		running: map[string]int{}, settled: make(chan struct{}),
	}
}

// Context ends when the group is to stop; its cause says why.
func (g *Group) Context() context.Context { return g.ctx }

// Stopping returns nil while the group runs, and an error with the reason once it stops. It fits a readiness check.
func (g *Group) Stopping(context.Context) error {
	if g.ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("stopping: %w", context.Cause(g.ctx))
}

// Go runs a part. Its context is the group's: once that ends the part finishes and returns, and context.Canceled
// from it is no error then. Whatever it returns before that stops the group.
func (g *Group) Go(name string, run func(ctx context.Context) error) {
	g.mu.Lock()
	g.running[name]++
	g.mu.Unlock()
	go func() {
		err := guard(func() error { return run(g.ctx) })
		stopped := g.ctx.Err() != nil
		switch {
		case stopped && errors.Is(err, context.Canceled):
			err = nil
		case !stopped && err == nil:
			err = ErrEnded
		}
		g.returned(name, err)
	}()
}

// OnClose registers what takes a resource down. shut gets a context that ends after budget, and is left behind when
// it does not return by then.
func (g *Group) OnClose(name string, budget time.Duration, shut func(ctx context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stack = append(g.stack, resource{name: name, budget: budget, close: shut})
}

// Serve runs a server that must answer until its turn to close comes, such as an HTTP server: serve blocks until stop
// is called, and its error is one only if it came before that. Within budget both must have returned.
func (g *Group) Serve(name string, budget time.Duration, serve func() error, stop func(ctx context.Context) error) {
	told, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err := guard(serve)
		select {
		case <-told:
			return
		default:
		}
		if err == nil {
			err = ErrEnded
		}
		g.fail(name, err)
	}()
	g.OnClose(name, budget, func(ctx context.Context) error {
		close(told)
		err := stop(ctx)
		<-ended
		return err
	})
}

// Wait blocks until the group is told to stop or a part fails, then until the parts returned and the resources are
// closed. It returns nil when the parent context asked for the stop and all of it went well, otherwise every error
// with its part's name, first the one that caused the stop.
func (g *Group) Wait() error {
	<-g.ctx.Done()
	g.log.Info("stopping", "cause", context.Cause(g.ctx).Error())
	g.awaitParts()
	g.closeAll()
	g.cancel(errDone)

	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

// awaitParts waits until every part returned or the grace is over.
func (g *Group) awaitParts() {
	timer := time.NewTimer(g.grace)
	defer timer.Stop()
	for {
		left, settled := g.unreturned()
		if len(left) == 0 {
			return
		}
		select {
		case <-settled:
		case <-timer.C:
			g.note(strings.Join(left, ", "), fmt.Errorf("still running %v after the stop", g.grace))
			return
		}
	}
}

// closeAll takes the resources down, last-in first-out, whatever each of them says.
func (g *Group) closeAll() {
	for {
		g.mu.Lock()
		if len(g.stack) == 0 {
			g.mu.Unlock()
			return
		}
		last := g.stack[len(g.stack)-1]
		g.stack = g.stack[:len(g.stack)-1]
		g.mu.Unlock()
		if err := last.shut(); err != nil {
			g.note(last.name, err)
		}
	}
}

// shut closes a resource within its budget. The context is new: the group's own has ended by now.
func (r resource) shut() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), r.budget,
		fmt.Errorf("not closed within %v", r.budget))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- guard(func() error { return r.close(ctx) }) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// Both may be ready at once: what the closer says tells more than the deadline.
	select {
	case err := <-done:
		return err
	default:
		return context.Cause(ctx)
	}
}

// returned takes a part off the list of running ones, and stops the group when it has an error.
func (g *Group) returned(name string, err error) {
	if err != nil {
		g.fail(name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running[name]--; g.running[name] == 0 {
		delete(g.running, name)
	}
	close(g.settled)
	g.settled = make(chan struct{})
}

// unreturned lists the parts that still run, and a channel that closes when one of them returns.
func (g *Group) unreturned() ([]string, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := make([]string, 0, len(g.running))
	for name := range g.running {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, g.settled
}

// fail notes an error and stops the group because of it, unless it is stopping already.
func (g *Group) fail(name string, err error) {
	g.note(name, err)
	g.cancel(fmt.Errorf("%s: %w", name, err))
}

// note keeps an error for Wait.
func (g *Group) note(name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs = append(g.errs, fmt.Errorf("%s: %w", name, err))
}

// guard turns a panic into an error, so that the other parts still store, publish and commit what they hold.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
