package esign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// flights lets concurrent callers with one key share one call. The first of them makes it, on its own goroutine and
// under its own context; the others wait, each under its own. The zero value is ready for use.
type flights[V any] struct {
	mu      sync.Mutex
	running map[string]*flight[V]
}

type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
	// void: the call ended because its own caller left, or panicked, which says nothing to the others.
	void bool
}

// do returns what call returns, made here or by another caller that was under way. Its error is that of call, or an
// *vendors.Error if ctx ended while waiting.
func (f *flights[V]) do(ctx context.Context, key string, call func(context.Context) (V, error)) (V, error) {
	for {
		one, leads := f.join(key)
		if leads {
			return f.lead(ctx, key, one, call)
		}
		select {
		case <-one.done:
			if !one.void {
				return one.value, one.err
			}
		case <-ctx.Done():
			var none V
			return none, leftWaiting(ctx)
		}
	}
}

func (f *flights[V]) join(key string) (one *flight[V], leads bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, ok := f.running[key]; ok {
		return one, false
	}
	if f.running == nil {
		f.running = map[string]*flight[V]{}
	}
	one = &flight[V]{done: make(chan struct{}), void: true}
	f.running[key] = one
	return one, true
}

func (f *flights[V]) lead(ctx context.Context, key string, one *flight[V], call func(context.Context) (V, error)) (V, error) {
	defer func() {
		f.mu.Lock()
		delete(f.running, key)
		f.mu.Unlock()
		close(one.done)
	}()
	one.value, one.err = call(ctx)
	one.void = one.err != nil && ctx.Err() != nil
	return one.value, one.err
}

// leftWaiting is the error of a caller that gave up while another one's call was under way.
func leftWaiting(ctx context.Context) error {
	code := wire.CodeTimeout
	if errors.Is(ctx.Err(), context.Canceled) {
		code = wire.CodeCanceled
	}
	return &vendors.Error{Code: code, Err: fmt.Errorf("waiting for another call about the same: %w", ctx.Err())}
}

// maxKept bounds the memory of a [shared]; beyond it the oldest answers go early.
const maxKept = 10_000

// shared gives several polls of one flow one answer, for a while. Errors are shared with those who wait for them, and
// never kept.
type shared struct {
	keep    time.Duration
	flights flights[commands.Reply]

	mu   sync.Mutex
	kept map[string]keptReply
	// order are the keys of kept, oldest first.
	order []string
}

type keptReply struct {
	reply commands.Reply
	until time.Time
}

// ask returns the answer under key, made by call if there is none. The caller may change what it gets.
func (s *shared) ask(ctx context.Context, key string, call func(context.Context) (commands.Reply, error)) (commands.Reply, error) {
	if s.keep <= 0 {
		return call(ctx)
	}
	reply, err := s.flights.do(ctx, key, func(ctx context.Context) (commands.Reply, error) {
		// Looked up in here, so that whoever just missed a flight finds what it brought.
		if reply, ok := s.find(key, time.Now()); ok {
			return reply, nil
		}
		reply, err := call(ctx)
		if err == nil {
			s.put(key, reply, time.Now())
		}
		return reply, err
	})
	reply.Fields, reply.Extra = maps.Clone(reply.Fields), maps.Clone(reply.Extra)
	return reply, err
}

func (s *shared) find(key string, now time.Time) (commands.Reply, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[key]
	return k.reply, ok && now.Before(k.until)
}

// put keeps an answer and forgets those that are over; since all are kept equally long, they stand at the front.
func (s *shared) put(key string, reply commands.Reply, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]keptReply{}
	}
	for len(s.order) > 0 && (len(s.order) >= maxKept || !now.Before(s.kept[s.order[0]].until)) {
		delete(s.kept, s.order[0])
		s.order = s.order[1:]
	}
	if _, ok := s.kept[key]; !ok {
		s.order = append(s.order, key)
	}
	s.kept[key] = keptReply{reply: reply, until: now.Add(s.keep)}
}
