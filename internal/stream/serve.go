package stream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"paydispatch/internal/handover"
)

// renewEvery is the time between commits while a generation drains. No heartbeats go out then, and a commit renews the
// member's session, so one is sent even when nothing moved.
const renewEvery = time.Second

// finalCommits is how often the last commit of a generation is tried. What it fails to store is handled again.
const finalCommits = 3

// Serve runs one generation: it fetches each assigned partition, hands the messages to h (one key in order, different
// keys side by side), and commits finished prefixes. When ctx ends it stops fetching at once, lets what has begun
// finish, commits, and returns; only then may the partitions go to another member. What has not begun is left to the next
// owner. But what later messages of its partition have overtaken may still begin for the grace, or those would be handled
// again; after it a handler that has not come to its call yet is told so (package handover), and the others go on.
//
// A failed fetch, commit or handler is tried again; the error returned tells only of a last commit that failed, after
// which finished messages will be delivered again. Serve waits for every handler to return, so a handler that ignores
// the end of its ctx holds the member (and its shutdown) up.
func Serve(ctx context.Context, gen Generation, h Handler, cfg Config) error {
	cfg = cfg.WithDefaults()
	times, end := newSpan(ctx, cfg)
	s := &session{cfg: cfg, gen: gen}
	for _, a := range gen.Assignments() {
		s.lanes = append(s.lanes, newLane(times, a, h, cfg, &s.running))
		s.committed = append(s.committed, a.Offset)
	}
	var budget, fetchers sync.WaitGroup
	defer budget.Wait()
	defer end()
	budget.Go(func() { times.pass(s.cutOff) })
	for _, l := range s.lanes {
		fetchers.Go(func() { s.fetch(ctx, l) })
	}
	s.commitUntil(ctx)
	fetchers.Wait()
	return s.drain(context.WithoutCancel(ctx))
}

// span is how long the work of one generation goes on, in three steps: ended, when the generation is; beginning, the
// grace later; handling, the whole drain budget later.
type span struct {
	cfg                        Config
	ended, beginning, handling context.Context
	handOver, cancel           context.CancelFunc
}

// newSpan begins a span; end lets go of what it holds.
func newSpan(ctx context.Context, cfg Config) (s *span, end func()) {
	s = &span{cfg: cfg, ended: ctx}
	outliving := context.WithoutCancel(ctx)
	s.beginning, s.handOver = context.WithCancel(outliving)
	s.handling, s.cancel = context.WithCancel(handover.With(outliving, s.beginning))
	return s, func() {
		s.cancel()
		s.handOver()
	}
}

// pass goes through the steps until all handlers have returned; cutOff is told of those that have not by the last one.
func (s *span) pass(cutOff func()) {
	<-s.ended.Done()
	if wait(s.handling, s.cfg.Grace) != nil {
		return
	}
	s.handOver()
	if wait(s.handling, s.cfg.DrainBudget-s.cfg.Grace) != nil {
		return
	}
	cutOff()
	s.cancel()
}

// session is one run of Serve. Its commits are made by Serve's own goroutine.
type session struct {
	cfg       Config
	gen       Generation
	lanes     []*lane
	committed []int64        // next offset known to be stored, by lane
	running   sync.WaitGroup // handler goroutines of all lanes
	cut       atomic.Int64   // handlers that the end of the drain budget cancelled
}

// cutOff counts the handlers that are still at work.
func (s *session) cutOff() {
	for _, l := range s.lanes {
		s.cut.Add(int64(l.atWork()))
	}
	s.cfg.Logger.Warn("drain budget used up, handlers are cancelled", "handlers", s.cut.Load())
}

// fetch feeds one lane until the generation ends.
func (s *session) fetch(ctx context.Context, l *lane) {
	name := fmt.Sprintf("%s/%d", l.at.Topic, l.at.Partition)
	backoff := s.cfg.Backoff()
	from := l.at.Offset
	for failures := 0; ctx.Err() == nil; {
		messages, next, err := s.gen.Fetch(ctx, l.at, from)
		if ctx.Err() != nil {
			return
		}
		if err != nil || next <= from {
			failures++
			s.cfg.Observe.FetchFailed(l.at.Topic)
			s.cfg.Logger.Warn("fetch failed, trying again", "partition", name, "from", from, "attempt", failures, "error", err)
			_ = backoff.Wait(ctx, name, failures)
			continue
		}
		failures = 0
		if s.handOver(ctx, l, messages, from) != nil {
			return
		}
		l.skip(next)
		from = next
	}
}

// handOver pushes fetched messages into the lane, each at its due time.
func (s *session) handOver(ctx context.Context, l *lane, messages []Message, from int64) error {
	var size int64
	for _, m := range messages {
		size += sizeOf(m)
	}
	s.cfg.Observe.Fetched(l.at.Topic, len(messages), size)
	for _, m := range messages {
		if m.Offset < from { // a batch may begin before the offset that was asked for
			continue
		}
		if err := s.hold(ctx, l, m); err != nil {
			return err
		}
		if err := l.push(m); err != nil {
			return err
		}
	}
	return nil
}

// hold waits until a message may be handled. Those behind it are due later, so waiting for the head delays no one.
func (s *session) hold(ctx context.Context, l *lane, m Message) error {
	if s.cfg.Due == nil {
		return nil
	}
	left := time.Until(s.cfg.Due(m))
	if left <= 0 {
		return nil
	}
	s.cfg.Observe.Holding(m.Topic, 1)
	l.hold(time.Now())
	defer func() {
		l.hold(time.Time{})
		s.cfg.Observe.Holding(m.Topic, -1)
	}()
	return wait(ctx, left)
}

// commitUntil commits finished prefixes until ctx ends.
func (s *session) commitUntil(ctx context.Context) {
	tick := time.NewTicker(s.cfg.CommitEvery)
	defer tick.Stop()
	dog := newWatchdog(s.cfg, s.lanes)
	defer dog.leave()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if ctx.Err() != nil {
				return
			}
			_ = s.commit(context.WithoutCancel(ctx), false)
			dog.look(time.Now())
		}
	}
}

// drain waits for what has begun, keeping the membership alive, and commits.
func (s *session) drain(ctx context.Context) error {
	began := time.Now()
	idle := make(chan struct{})
	go func() {
		s.running.Wait()
		close(idle)
	}()
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	for drained := false; !drained; {
		select {
		case <-idle:
			drained = true
		case <-renew.C:
			_ = s.commit(ctx, true)
		}
	}
	s.cfg.Observe.Drained(s.drained(time.Since(began)))
	return s.commitLast(ctx)
}

// drained tells of a drain that is over.
func (s *session) drained(took time.Duration) Drain {
	d := Drain{Took: took, Cut: int(s.cut.Load())}
	for _, l := range s.lanes {
		unfinished, finished := l.again()
		d.Left += unfinished
		d.Again += finished
	}
	d.Left = max(d.Left-d.Cut, 0) // what was cut off may have been finished all the same
	return d
}

func (s *session) commitLast(ctx context.Context) error {
	backoff := s.cfg.Backoff()
	for attempt := 1; ; attempt++ {
		err := s.commit(ctx, false)
		if err == nil {
			return nil
		}
		if attempt == finalCommits {
			return fmt.Errorf("last commit of the generation (finished messages will be delivered again): %w", err)
		}
		_ = backoff.Wait(ctx, "commit", attempt)
	}
}

// commit stores the positions that moved since they were last stored; with all also those that did not.
func (s *session) commit(ctx context.Context, all bool) error {
	var next []Assignment
	var lanes []int
	for i, l := range s.lanes {
		if p := l.position(); all || p > s.committed[i] {
			next = append(next, Assignment{Topic: l.at.Topic, Partition: l.at.Partition, Offset: p})
			lanes = append(lanes, i)
		}
	}
	if len(next) == 0 {
		return nil
	}
	if err := s.gen.Commit(ctx, next); err != nil {
		s.cfg.Observe.CommitFailed()
		s.cfg.Logger.Warn("commit failed", "partitions", len(next), "error", err)
		return err
	}
	for i, a := range next {
		s.committed[lanes[i]] = a.Offset
	}
	return nil
}
