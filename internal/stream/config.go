package stream

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/semaphore"
)

// Config says how [Serve] runs the partitions of a generation. Zero fields take the values of [Defaults].
type Config struct {
	// InFlight bounds the handlers that run at once in one partition.
	InFlight int
	// Waiting bounds the messages of one partition that were handed over and wait for a place or for their key. 0 takes
	// twice InFlight.
	Waiting int
	// Window bounds the messages of one partition between the first unfinished and the last handed over, so that a
	// slow key cannot grow the memory or the amount that is handled again after a crash.
	Window int
	// WindowBytes bounds the bytes of a partition's unfinished messages. A single message may exceed it.
	WindowBytes int64
	// Budget, when set, is shared with other partitions (and other Serve calls) of the process.
	Budget *Budget

	// CommitEvery is the time between commits of finished prefixes.
	CommitEvery time.Duration
	// DrainBudget is how long handlers may go on after the generation ended. It must cover Grace and the longest call that
	// a handler makes, and stay below the group's rebalance timeout less one heartbeat.
	DrainBudget time.Duration
	// Grace is how long after the generation ended a message may still begin that later ones of its partition have
	// overtaken. It is bounded by DrainBudget.
	Grace time.Duration
	// Due says when a message may be handled: until then its lane waits, and with it what stands behind the message. A time
	// that is zero or past holds nothing back, as does a nil Due. It is called once a message, from many goroutines, and
	// must bound what it says: this package believes it.
	Due func(Message) time.Time
	// StuckAfter is how long the first unfinished message of a partition may hold back its commits before a log line
	// says so, and again each time that it passes.
	StuckAfter time.Duration
	// RetryMin and RetryMax bound the delay before a failed fetch or handler is tried again.
	RetryMin, RetryMax time.Duration
	// Jitter returns a number in [0,1) for the attempt (1, 2, …) of something named like "topic/partition@offset".
	// It must be safe for concurrent use; a function of its arguments alone makes a run repeatable.
	Jitter func(name string, attempt int) float64

	Logger  *slog.Logger
	Observe Observer
}

// Observer holds optional hooks for metrics. They are called from many goroutines and must not block.
type Observer struct {
	// Fetched: messages came from a partition.
	Fetched func(topic string, messages int, bytes int64)
	// Running: a handler started (+1) or returned (-1).
	Running func(topic string, delta int)
	// Handled: a handler returned; an error means that the same message will be tried again.
	Handled func(topic string, took time.Duration, err error)
	// Panicked: a handler panicked; Handled follows with an error.
	Panicked func(topic string)
	// Holding: a message waits for its due time (+1) or no longer does (-1).
	Holding func(topic string, delta int)
	// Held: how long the message that a partition holds back has waited for its due time; told at each CommitEvery, 0 when
	// it holds none, or when the partition was given up.
	Held func(topic string, partition int, age time.Duration)
	// FetchFailed and CommitFailed: the log did not answer as it should; both are tried again.
	FetchFailed  func(topic string)
	CommitFailed func()
	// Head: how long the first unfinished message of a partition has held back its commits; told at each CommitEvery,
	// 0 when it does not, or when the partition was given up.
	Head func(topic string, partition int, age time.Duration)
	// Drained: a generation ended.
	Drained func(Drain)
}

// Drain tells how a generation ended.
type Drain struct {
	Took time.Duration
	// Left are the messages that were left to the next owner before their call began, Again those that were finished and
	// stand behind one of them, so that they are delivered again too.
	Left, Again int
	// Cut are the messages whose handlers the end of the drain budget cancelled.
	Cut int
}

// Defaults are the settings of a small service on a group with a rebalance timeout of 10 s.
func Defaults() Config {
	return Config{
		InFlight:    64,
		Window:      1024,
		WindowBytes: 16 << 20,
		CommitEvery: 200 * time.Millisecond,
		DrainBudget: 7 * time.Second,
		Grace:       time.Second,
		StuckAfter:  time.Minute,
		RetryMin:    100 * time.Millisecond,
		RetryMax:    5 * time.Second,
		Jitter:      func(string, int) float64 { return rand.Float64() }, //nolint:gosec // spreads retries, guards nothing
		Logger:      slog.New(slog.DiscardHandler),
		Observe: Observer{
			Fetched:      func(string, int, int64) {},
			Running:      func(string, int) {},
			Handled:      func(string, time.Duration, error) {},
			Panicked:     func(string) {},
			Holding:      func(string, int) {},
			Held:         func(string, int, time.Duration) {},
			FetchFailed:  func(string) {},
			CommitFailed: func() {},
			Head:         func(string, int, time.Duration) {},
			Drained:      func(Drain) {},
		},
	}
}

// WithDefaults returns the configuration with its zero fields filled from [Defaults].
func (c Config) WithDefaults() Config {
	d := Defaults()
	c.InFlight = orElse(c.InFlight, d.InFlight)
	c.Waiting = orElse(c.Waiting, 2*c.InFlight)
	c.Window = max(orElse(c.Window, d.Window), 1)
	c.WindowBytes = orElse(c.WindowBytes, d.WindowBytes)
	c.CommitEvery = orElse(c.CommitEvery, d.CommitEvery)
	c.DrainBudget = orElse(c.DrainBudget, d.DrainBudget)
	c.Grace = min(orElse(c.Grace, d.Grace), c.DrainBudget)
	c.StuckAfter = orElse(c.StuckAfter, d.StuckAfter)
	c.RetryMin = orElse(c.RetryMin, d.RetryMin)
	c.RetryMax = max(orElse(c.RetryMax, d.RetryMax), c.RetryMin)
	c.Logger = orElse(c.Logger, d.Logger)
	if c.Jitter == nil {
		c.Jitter = d.Jitter
	}
	c.Observe = c.Observe.withDefaults(d.Observe)
	return c
}

func (o Observer) withDefaults(d Observer) Observer {
	if o.Fetched == nil {
		o.Fetched = d.Fetched
	}
	if o.Running == nil {
		o.Running = d.Running
	}
	if o.Handled == nil {
		o.Handled = d.Handled
	}
	if o.Panicked == nil {
		o.Panicked = d.Panicked
	}
	if o.Holding == nil {
		o.Holding = d.Holding
	}
	if o.Held == nil {
		o.Held = d.Held
	}
	if o.FetchFailed == nil {
		o.FetchFailed = d.FetchFailed
	}
	if o.CommitFailed == nil {
		o.CommitFailed = d.CommitFailed
	}
	if o.Head == nil {
		o.Head = d.Head
	}
	if o.Drained == nil {
		o.Drained = d.Drained
	}
	return o
}

func orElse[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Backoff returns the delays of this configuration, for adapters.
func (c Config) Backoff() Backoff {
	c = c.WithDefaults()
	return Backoff{Min: c.RetryMin, Max: c.RetryMax, Jitter: c.Jitter}
}

// Backoff computes growing delays between attempts.
type Backoff struct {
	Min, Max time.Duration
	Jitter   func(name string, attempt int) float64
}

// Delay is Min after the first attempt and doubles up to Max; the jitter takes off up to half of it.
func (b Backoff) Delay(name string, attempt int) time.Duration {
	d := b.Max
	if shift := max(attempt-1, 0); shift < 32 && b.Min<<shift>>shift == b.Min {
		d = min(b.Min<<shift, b.Max)
	}
	return d - time.Duration(b.Jitter(name, attempt)*float64(d)/2)
}

// Wait sleeps for the delay after an attempt; it returns ctx's error when ctx ends first.
func (b Backoff) Wait(ctx context.Context, name string, attempt int) error {
	return wait(ctx, b.Delay(name, attempt))
}

func wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Budget bounds what the partitions of a process have in hand together: handlers that run, and bytes of messages
// handed to lanes. Waiters are served in the order in which they came, so no partition starves another.
type Budget struct {
	running, bytes *semaphore.Weighted
	maxBytes       int64
}

// NewBudget allows this many running handlers and this many bytes. A single message above the limit takes all of it.
func NewBudget(running int, bytes int64) *Budget {
	running, bytes = max(running, 1), max(bytes, 1)
	return &Budget{
		running:  semaphore.NewWeighted(int64(running)),
		bytes:    semaphore.NewWeighted(bytes),
		maxBytes: bytes,
	}
}

func (b *Budget) takeBytes(ctx context.Context, n int64) error {
	if b == nil {
		return ctx.Err()
	}
	return b.bytes.Acquire(ctx, min(n, b.maxBytes))
}

func (b *Budget) giveBytes(n int64) {
	if b != nil {
		b.bytes.Release(min(n, b.maxBytes))
	}
}

func (b *Budget) takeRun(ctx context.Context) error {
	if b == nil {
		return ctx.Err()
	}
	return b.running.Acquire(ctx, 1)
}

func (b *Budget) giveRun() {
	if b != nil {
		b.running.Release(1)
	}
}
