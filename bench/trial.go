package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"paydispatch/bench/load"
	"paydispatch/bench/process"
	"paydispatch/bench/report"
)

const (
	// patience is how long a member may take to end.
	patience = 25 * time.Second
	// standstill is how long a run goes on without a result before it is given up; parkedFor is that of a run with
	// parked operations, which may come back from the delay topic of 5 minutes.
	standstill = 45 * time.Second
	parkedFor  = 8 * time.Minute
)

// trial is one system in one scenario under way.
type trial struct {
	*world
	scenario

	system   string
	group    string
	commands int
	ledger   *load.Ledger
	producer *load.Producer
	began    time.Time
	// written is closed when the broker has all commands.
	written chan struct{}

	mu      sync.Mutex
	members []*process.Process // by slot
	gone    process.Usage      // of those that were replaced
	notes   []string
}

// measure runs one system through one scenario.
func (w *world) measure(ctx context.Context, s scenario, system string) (m report.Run, err error) {
	if system == report.Loop {
		s.plan.Commands /= s.loopShare
	}
	r := &trial{
		world: w, scenario: s, system: system, commands: s.plan.Commands, written: make(chan struct{}),
		group: fmt.Sprintf("bench-%s-%s-%d", s.name, system, w.groups.Add(1)),
	}
	fmt.Fprintf(w.progress, "%s, %s: %d commands\n", s.name, system, r.commands)
	defer r.end()
	if err := r.prepare(ctx); err != nil {
		return m, err
	}
	before, asked := r.costs(), r.requested(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var side sync.WaitGroup
	defer side.Wait()
	defer cancel()
	var writing error
	if !s.preload {
		side.Go(func() {
			writing = r.producer.Run(ctx, s.plan, r.ledger)
			close(r.written)
		})
	}
	if s.event != nil {
		side.Go(func() { s.event(ctx, r) })
	}
	timeline, err := r.follow(ctx)
	after, answered := r.costs(), r.requested(ctx)
	if err == nil {
		r.pause(ctx, s.quiet)
	}
	cancel()
	side.Wait()
	if writing != nil && !errors.Is(writing, context.Canceled) {
		err = errors.Join(err, writing)
	}
	m, counted := r.result(context.WithoutCancel(ctx), before, after)
	m.PerCommand, m.Timeline = perCommand(asked, answered, m.Commands), timeline
	return m, errors.Join(err, counted)
}

// prepare empties the parts, starts the members and brings them to work.
func (r *trial) prepare(ctx context.Context) error {
	if err := r.admin.Renew(ctx, r.partitions); err != nil {
		return err
	}
	if _, err := r.redis.do(ctx, "FLUSHALL"); err != nil {
		return err
	}
	if err := r.vendor.Reset(ctx, r.behaviour); err != nil {
		return err
	}
	var err error
	if r.ledger, err = load.NewLedger(r.brokers, r.commands); err != nil {
		return err
	}
	if r.producer, err = load.NewProducer(r.brokers); err != nil {
		return err
	}
	if r.preload {
		if err := r.producer.Run(ctx, r.plan, r.ledger); err != nil {
			return err
		}
		close(r.written)
	}
	for range r.instances {
		if err := r.startMember(); err != nil {
			return err
		}
	}
	if r.preload {
		r.began = time.Now()
		return r.until(ctx, 60*time.Second, func() bool { return r.ledger.Progress().Got > 0 })
	}
	return r.warmUp(ctx)
}

// warmUp waits until every partition is served, so that neither joining nor dialling is measured.
func (r *trial) warmUp(ctx context.Context) error {
	n := 32 * r.partitions
	if err := r.producer.WarmUp(ctx, n); err != nil {
		return err
	}
	if err := r.until(ctx, 90*time.Second, func() bool { return r.ledger.Warm() >= n }); err != nil {
		return fmt.Errorf("warming up: %d of %d results: %w", r.ledger.Warm(), n, err)
	}
	r.pause(ctx, 500*time.Millisecond) // the last commits
	r.began = time.Now()
	return r.vendor.Reset(ctx, r.behaviour)
}

// follow waits for all results, telling how it goes on, and returns a sample a second.
func (r *trial) follow(ctx context.Context) ([]report.Sample, error) {
	var timeline []report.Sample
	told, sampled := time.Now(), time.Now()
	last := r.ledger.Progress()
	for {
		p := r.ledger.Progress()
		now := time.Now()
		if passed := now.Sub(sampled); passed >= time.Second || p.Got == r.commands {
			s := report.Sample{At: now.Sub(r.began).Seconds(), Rate: float64(p.Got-last.Got) / passed.Seconds(), MB: megabytes(r.memory())}
			if r.timeline {
				timeline = append(timeline, s)
			}
			sampled, last = now, p
			if now.Sub(told) >= 5*time.Second {
				told = now
				fmt.Fprintf(r.progress, "  %d of %d, %.0f/s, %.0f MB\n", p.Got, r.commands, s.Rate, s.MB)
			}
		}
		switch {
		case p.Got == r.commands:
			return timeline, nil
		case ctx.Err() != nil:
			return timeline, ctx.Err()
		case now.Sub(latest(p.Last, r.began)) > r.tolerance(ctx, now.Sub(latest(p.Last, r.began))):
			return timeline, fmt.Errorf("no result for %v, given up at %d of %d", now.Sub(p.Last).Round(time.Second), p.Got, r.commands)
		}
		r.pause(ctx, min(20*time.Millisecond+now.Sub(latest(p.Last, r.began))/50, time.Second))
	}
}

// tolerance is how long the run may stand still, given how long it has.
func (r *trial) tolerance(ctx context.Context, stood time.Duration) time.Duration {
	if stood <= standstill {
		return standstill
	}
	if parked, err := r.admin.Written(ctx, r.partitions, load.Tiers()...); err != nil || parked == 0 {
		return standstill
	}
	return parkedFor
}

// result puts together what was measured.
func (r *trial) result(ctx context.Context, before, after map[string]process.Usage) (report.Run, error) {
	p := r.ledger.Progress()
	from := r.began
	if r.preload {
		from = p.First
	}
	seconds := max(p.Last.Sub(from).Seconds(), 0.001)
	m := report.Run{
		Scenario: r.name, System: r.system, Commands: r.commands, Seconds: seconds, Rate: float64(p.Got) / seconds,
		Paced: r.plan.Rate > 0, Stall: p.Gap.Seconds(), Lost: r.commands - p.Got,
		Doubled: p.Extra.Repeated + p.Extra.OtherID, OtherID: p.Extra.OtherID, Kinds: p.Kinds, Cores: map[string]float64{},
	}
	quantiles := r.ledger.Added(r.behaviour.SlowKeys, 0.5, 0.99)
	m.P50, m.P99 = milliseconds(quantiles[0]), milliseconds(quantiles[1])
	for name, u := range after {
		used := u.CPU - before[name].CPU
		m.Cores[name] = used.Seconds() / seconds
		if name == "system" {
			m.CPU = float64(used.Microseconds()) / float64(max(p.Got, 1))
			m.Peak = megabytes(u.Peak)
		}
	}
	m.Cores["others"] = others(m.Cores)
	stats, err := r.vendor.Stats(ctx)
	m.Overlaps, m.Reorders, m.Twice, m.Asks, m.AtOnce, m.Cut = stats.Overlaps, stats.Reorders, stats.Twice, stats.Asks, stats.AtOnce, stats.Cut
	if m.Complaints = stats.Complaints; m.Complaints > 0 {
		r.note("the vendor double refused %d requests, the first because: %s", stats.Complaints, stats.Complaint)
	}
	var dead, parked error
	m.Dead, dead = r.admin.Written(ctx, r.partitions, load.Dead)
	m.Parked, parked = r.admin.Written(ctx, r.partitions, load.Tiers()...)
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Notes = r.notes
	return m, errors.Join(err, dead, parked)
}

// end stops the members and drops what the trial held.
func (r *trial) end() {
	var stopping sync.WaitGroup
	for slot := range r.members {
		stopping.Go(func() { r.stopMember(slot) })
	}
	stopping.Wait()
	if r.producer != nil {
		r.producer.Close()
	}
	if r.ledger != nil {
		r.ledger.Close()
	}
}

// startMember starts one more process of the system, in the next slot.
func (r *trial) startMember() error {
	p, err := r.startSystem(context.Background(), r.system, r.group, r.scenario)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(r.members, p)
	return nil
}

// restartMember puts a new process into a slot whose process was stopped.
func (r *trial) restartMember(slot int) error {
	p, err := r.startSystem(context.Background(), r.system, r.group, r.scenario)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.members[slot].Usage()
	r.gone.CPU += old.CPU
	r.gone.Peak = max(r.gone.Peak, old.Peak)
	r.members[slot] = p
	return nil
}

// stopMember ends a member and returns how long that took.
func (r *trial) stopMember(slot int) (time.Duration, bool) {
	r.mu.Lock()
	p := r.members[slot]
	r.mu.Unlock()
	return p.Stop(patience)
}

// costs is what every party has cost so far; of the system the CPU of all members and the most memory of one.
func (r *trial) costs() map[string]process.Usage {
	all := maps.Clone(r.usage())
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := r.gone
	for _, p := range r.members {
		u := p.Usage()
		sum.CPU += u.CPU
		sum.Peak = max(sum.Peak, u.Peak)
	}
	all["system"] = sum
	return all
}

// memory is what the largest member has now.
func (r *trial) memory() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := int64(0)
	for _, p := range r.members {
		most = max(most, p.Usage().RSS)
	}
	return most
}

// watchOffsets looks at the group's committed offsets until ctx ends; the returned function tells how often one was
// lower than before.
func (r *trial) watchOffsets(ctx context.Context) (back func() int) {
	var mu sync.Mutex
	n := 0
	go func() {
		highest := make([]int64, r.partitions)
		for ctx.Err() == nil {
			offsets, err := r.admin.Committed(ctx, r.group, r.partitions)
			for p, offset := range offsets {
				if err == nil && offset < highest[p] {
					mu.Lock()
					n++
					mu.Unlock()
				}
				highest[p] = max(highest[p], offset)
			}
			r.pause(ctx, 100*time.Millisecond)
		}
	}()
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// await waits until so many commands have a result; false when ctx ended before.
func (r *trial) await(ctx context.Context, commands int) bool {
	return r.until(ctx, time.Hour, func() bool { return r.ledger.Progress().Got >= commands }) == nil
}

// until waits for a condition; it also fails when a member that nobody stopped has ended.
func (r *trial) until(ctx context.Context, patience time.Duration, met func() bool) error {
	for end := time.Now().Add(patience); !met(); {
		if time.Now().After(end) {
			return errors.New("it took too long")
		}
		r.pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (r *trial) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *trial) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
	fmt.Fprintf(r.progress, "  "+format+"\n", args...)
}

// others takes what the parties used off what the whole machine did, which it removes.
func others(cores map[string]float64) float64 {
	left := cores[machineUsage]
	delete(cores, machineUsage)
	for _, used := range cores {
		left -= used
	}
	return max(left, 0)
}

// requested counts what the parts have been asked so far, and the bytes that went through the topics.
func (r *trial) requested(ctx context.Context) map[string]float64 {
	all := r.requests(ctx)
	all["bytes of command"], all["bytes of result"] = float64(r.producer.Bytes()), float64(r.ledger.Bytes())
	return all
}

func perCommand(before, after map[string]float64, commands int) map[string]float64 {
	all := map[string]float64{}
	for name, n := range after {
		if more := (n - before[name]) / float64(max(commands, 1)); more >= 0.005 {
			all[name] = more
		}
	}
	return all
}

func megabytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
