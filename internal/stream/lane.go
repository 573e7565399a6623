package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"paydispatch/internal/handover"
)

// lane runs the messages of one partition: those of one key strictly one after another, the rest side by side.
type lane struct {
	cfg     Config
	handler Handler
	at      Assignment
	// ended is the generation's context: once over, a failed handler is not tried again, and no message begins that nothing
	// behind it has overtaken.
	ended context.Context
	// beginning outlives ended by the grace: once over, nothing begins.
	beginning context.Context
	// handling is given to handlers; it outlives ended by the drain budget.
	handling context.Context
	// running counts the handler goroutines of all lanes. A waiting item always has a running one before it, so it
	// reaches zero only when nothing waits either.
	running *sync.WaitGroup

	mu      sync.Mutex
	offsets tracker
	// last is the highest offset whose handler was called, -1 before the first one.
	last int64
	// behind holds, for each key with a message that is ready or running, the later ones in order.
	behind map[string][]*item
	// ready are free to run as soon as a place is, in the order of their offsets: what waited for its key comes before what
	// was handed over since, or the commit would wait for it the longer.
	ready  []*item
	active int
	// waiting counts the items that are ready or behind another one of their key.
	waiting int
	bytes   int64
	// held is since when the fetcher has held the next message back for its due time; zero while it does not.
	held time.Time
	room chan struct{} // holds a token when the window may have got smaller
}

// item is a message on its way through a lane.
type item struct {
	Message
	slot *slot
	size int64
}

func newLane(s *span, a Assignment, h Handler, cfg Config, running *sync.WaitGroup) *lane {
	return &lane{
		cfg: cfg, handler: h, at: a, running: running, ended: s.ended, beginning: s.beginning, handling: s.handling,
		offsets: newTracker(a.Offset), last: -1,
		behind: map[string][]*item{},
		room:   make(chan struct{}, 1),
	}
}

// push hands a message over, waiting while the window or the process's budget is full. It is called by one goroutine,
// in the order of offsets, and fails only because the generation ended; then the message was not taken.
func (l *lane) push(m Message) error {
	size := sizeOf(m)
	if err := l.waitForRoom(size); err != nil {
		return err
	}
	if err := l.cfg.Budget.takeBytes(l.ended, size); err != nil {
		return err
	}
	l.admit(m, size)
	return nil
}

// admit starts the message, or queues it behind its key.
func (l *lane) admit(m Message, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := &item{Message: m, slot: l.offsets.add(m.Offset), size: size}
	l.bytes += size
	l.waiting++
	if key := string(m.Key); key != "" {
		if queue, busy := l.behind[key]; busy {
			l.behind[key] = append(queue, it)
			return
		}
		l.behind[key] = nil
	}
	l.ready = append(l.ready, it) // it is the highest offset of all
	l.startReady()
}

func (l *lane) waitForRoom(size int64) error {
	for {
		if err := l.ended.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		fits := l.waiting < l.cfg.Waiting && l.offsets.size() < l.cfg.Window && (l.bytes == 0 || l.bytes+size <= l.cfg.WindowBytes)
		l.mu.Unlock()
		if fits {
			return nil
		}
		select {
		case <-l.room:
		case <-l.ended.Done():
		}
	}
}

// startReady starts what is ready while places are free. It is called with the lock held.
func (l *lane) startReady() {
	for it := l.next(); it != nil; it = l.next() {
		l.running.Go(func() { l.work(it) })
	}
}

// next takes a place for the first item that is ready and may begin; nil when there is no place or no such item. It is
// called with the lock held.
func (l *lane) next() *item {
	for l.active < l.cfg.InFlight && len(l.ready) > 0 {
		it := l.ready[0]
		l.ready[0] = nil
		l.ready = l.ready[1:]
		l.waiting--
		l.signal()
		if l.mayBegin(it) {
			l.active++
			return it
		}
		l.drop(it)
	}
	return nil
}

// mayBegin reports whether an item may still begin. Once the generation has ended, only what later messages of the
// partition have overtaken may: left undone, it would keep all of those from being committed. What nothing has
// overtaken costs nothing to leave. It is called with the lock held.
func (l *lane) mayBegin(it *item) bool {
	return l.ended.Err() == nil || it.Offset < l.last && l.beginning.Err() == nil
}

// begins notes that an item's handler is about to be called, unless it may not any more.
func (l *lane) begins(it *item) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mayBegin(it) {
		return handover.ErrBegun
	}
	l.last = max(l.last, it.Offset)
	return nil
}

// work handles one message after another while some are ready: a goroutine whose stack has grown goes on being used.
func (l *lane) work(it *item) {
	for it != nil {
		it = l.run(it)
	}
}

// run handles one message until its handler is content or leaves it to the next owner, and returns the next one.
func (l *lane) run(it *item) *item {
	unstored := false
	for attempt := 1; ; attempt++ {
		err := l.attempt(it, attempt)
		switch {
		case err == nil:
			return l.finish(it)
		case errors.Is(err, handover.ErrBegun):
			return l.abandon(it)
		}
		unstored = unstored || handover.IsUnstored(err)
		name := fmt.Sprintf("%s/%d@%d", it.Topic, it.Partition, it.Offset)
		if l.ended.Err() == nil {
			l.cfg.Logger.Warn("handler failed, the message is tried again",
				"message", name, "attempt", attempt, "error", err)
		}
		if l.pause(name, attempt, unstored) != nil {
			return l.abandon(it)
		}
	}
}

// pause waits until a failed handler may be tried again. When the generation is over that is only where the handler knows
// what the next owner cannot.
func (l *lane) pause(name string, attempt int, unstored bool) error {
	err := l.cfg.Backoff().Wait(l.ended, name, attempt)
	if err != nil && unstored {
		return wait(l.handling, l.cfg.RetryMin)
	}
	return err
}

// attempt calls the handler once, inside the process's budget. The first time it does so only if the message may begin.
func (l *lane) attempt(it *item, attempt int) error {
	m, turn := it.Message, l.handling
	if attempt == 1 {
		turn = l.beginning
	}
	if err := l.cfg.Budget.takeRun(turn); err != nil {
		return handover.ErrBegun
	}
	defer l.cfg.Budget.giveRun()
	if attempt == 1 {
		if err := l.begins(it); err != nil {
			return err
		}
	}
	l.cfg.Observe.Running(m.Topic, 1)
	began := time.Now()
	err := l.call(m)
	l.cfg.Observe.Running(m.Topic, -1)
	if !errors.Is(err, handover.ErrBegun) {
		l.cfg.Observe.Handled(m.Topic, time.Since(began), err)
	}
	return err
}

// call turns a panic into an error. The panic's value may quote the message, so only the runtime's own words are kept.
func (l *lane) call(m Message) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		l.cfg.Observe.Panicked(m.Topic)
		what := fmt.Sprintf("%T", p)
		if r, ok := p.(runtime.Error); ok {
			what = r.Error()
		}
		err = fmt.Errorf("handler panicked: %s\n%s", what, debug.Stack())
	}()
	return l.handler.Handle(l.handling, m)
}

// finish lets the next message of the key run and the offset be committed. It returns what runs in its place.
func (l *lane) finish(it *item) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offsets.finish(it.slot)
	l.forget(it)
	key := string(it.Key)
	if queue := l.behind[key]; len(queue) > 0 {
		at, _ := slices.BinarySearchFunc(l.ready, queue[0].Offset, func(it *item, offset int64) int { return cmp.Compare(it.Offset, offset) })
		l.ready = slices.Insert(l.ready, at, queue[0])
		l.behind[key] = queue[1:]
	} else {
		delete(l.behind, key)
	}
	l.active--
	l.signal()
	return l.next()
}

// abandon leaves a message that has a place, and all of its key behind it, to the next owner of the partition. It returns
// what runs in its place.
func (l *lane) abandon(it *item) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(it)
	l.active--
	l.signal()
	return l.next()
}

// drop gives back what the lane holds for a message that is left to the next owner, and for all of its key behind it.
// It is called with the lock held.
func (l *lane) drop(it *item) {
	l.forget(it)
	for _, later := range l.behind[string(it.Key)] {
		l.waiting--
		l.forget(later)
	}
	// One more of the key, which the fetcher may be about to push, has overtaken nothing: it does not begin.
	delete(l.behind, string(it.Key))
}

// forget gives back the bytes of a message. It is called with the lock held.
func (l *lane) forget(it *item) {
	l.bytes -= it.size
	l.cfg.Budget.giveBytes(it.size)
}

// signal tells push that there may be room.
func (l *lane) signal() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// skip lets the position pass what lies below an offset once all that was pushed is finished.
func (l *lane) skip(next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offsets.skip(next)
}

// position is the offset that may be committed.
func (l *lane) position() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offsets.position()
}

// head is the position, and whether a message stands there that is not finished.
func (l *lane) head() (position int64, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offsets.position(), l.offsets.size() > 0
}

// hold notes since when the next message is held back; the zero time: it no longer is.
func (l *lane) hold(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = since
}

// holding is for how long the next message has been held back, 0 when none is.
func (l *lane) holding(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held.IsZero() {
		return 0
	}
	return now.Sub(l.held)
}

// again counts the messages that the next owner will see again.
func (l *lane) again() (unfinished, finished int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.offsets.slots {
		if s.done {
			finished++
		} else {
			unfinished++
		}
	}
	return unfinished, finished
}

// atWork counts the messages that have a place.
func (l *lane) atWork() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active
}

func sizeOf(m Message) int64 {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}
