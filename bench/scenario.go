package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"paydispatch/bench/gateway"
	"paydispatch/bench/load"
	"paydispatch/bench/report"
)

// scenario is a load, and what happens while it is under way.
type scenario struct {
	name    string
	systems []string
	plan    load.Plan
	// loopShare divides the commands that the loop gets: its rate does not depend on their number, only its run would
	// take minutes.
	loopShare  int
	partitions int
	inFlight   int
	// shipped leaves the dispatcher's limits at their defaults.
	shipped   bool
	behaviour gateway.Behaviour
	// instances is how many processes of the system run from the beginning on.
	instances int
	// preload writes all commands before the system starts; else they come once it is warm.
	preload bool
	// timeline keeps a sample a second.
	timeline bool
	// event happens while the load is under way; it returns once ctx ends or it has done its part.
	event func(ctx context.Context, r *trial)
	// quiet is how long to wait for late results after the last one.
	quiet time.Duration
}

// sane fills in what most scenarios have in common.
func (s scenario) sane() scenario {
	if s.systems == nil {
		s.systems = []string{report.Dispatcher, report.Loop, report.Pool}
	}
	s.loopShare = max(s.loopShare, 1)
	s.instances = max(s.instances, 1)
	if s.plan.Keys == 0 {
		s.plan.Keys = 1000
	}
	if s.partitions == 0 {
		s.partitions = 8
	}
	if s.inFlight == 0 {
		s.inFlight = 256
	}
	if s.behaviour == (gateway.Behaviour{}) {
		s.behaviour.Latency = 50 * time.Millisecond
	}
	if s.quiet == 0 {
		s.quiet = time.Second
	}
	return s
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios(1, 1) {
		names = append(names, s.name)
	}
	return names
}

// scenarios are all that the bench knows, in the order in which they run.
func scenarios(scale float64, backlog int) []scenario {
	n := func(commands int) int { return max(int(float64(commands)*scale), 100) }
	both := []string{report.Dispatcher, report.Pool}
	own := []string{report.Dispatcher}
	all := []scenario{
		{name: "drain", plan: load.Plan{Commands: n(20_000)}, loopShare: 10},
		{name: "drain1024", plan: load.Plan{Commands: n(40_000)}, inFlight: 1024, systems: both},
		{name: "latency", plan: load.Plan{Commands: n(30_000), Rate: 1000}, loopShare: 10},
		{
			// The slow keys get as many commands as a vendor that takes 2 s can answer (one in 2.5 s), so that what
			// waits for them stays bounded.
			name: "head", systems: both, behaviour: gateway.Behaviour{Latency: 50 * time.Millisecond, SlowKeys: 10, Slow: 2 * time.Second},
			plan: load.Plan{Commands: n(30_000), Rate: 1000, SparseKeys: 10, SparseEvery: 3},
		},
		{
			// Here they get twice as many as can be answered: what waits for them grows until the end.
			name: "headflood", systems: both, behaviour: gateway.Behaviour{Latency: 50 * time.Millisecond, SlowKeys: 10, Slow: 2 * time.Second},
			plan: load.Plan{Commands: n(30_000), Rate: 1000},
		},
	}
	for _, p := range []struct{ partitions, commands, share int }{{1, 10_000, 40}, {8, 20_000, 20}, {64, 20_000, 4}} {
		all = append(all, scenario{
			name: fmt.Sprintf("partitions%d", p.partitions), partitions: p.partitions, loopShare: p.share,
			plan: load.Plan{Commands: n(p.commands)},
		})
	}
	all = append(all,
		scenario{
			name: "join", systems: both, plan: load.Plan{Commands: n(40_000)}, inFlight: 64, event: joinOne, timeline: true,
			quiet: 3 * time.Second,
		},
		scenario{
			name: "sigterm", systems: both, plan: load.Plan{Commands: n(40_000)}, event: stopAndStart, quiet: 3 * time.Second,
		},
		scenario{
			name: "churn", systems: both, plan: load.Plan{Commands: n(90_000), Rate: 1500}, instances: 4, event: churn,
			behaviour: gateway.Behaviour{Spread: 60 * time.Millisecond}, quiet: 3 * time.Second,
		},
		scenario{
			name: "slowstop", systems: own, plan: load.Plan{Commands: n(9_000)}, preload: true, shipped: true, event: stopAndStart,
			behaviour: gateway.Behaviour{Latency: time.Second}, quiet: 3 * time.Second,
		},
		scenario{
			name: "together2", systems: own, plan: load.Plan{Commands: n(6_000)}, preload: true, shipped: true, instances: 2,
			behaviour: gateway.Behaviour{Latency: time.Second}, quiet: 3 * time.Second,
		},
		scenario{
			name: "together4", systems: own, plan: load.Plan{Commands: n(6_000)}, preload: true, shipped: true, instances: 4,
			behaviour: gateway.Behaviour{Latency: time.Second}, quiet: 3 * time.Second,
		},
		scenario{name: "backlog", systems: own, plan: load.Plan{Commands: backlog}, preload: true, timeline: true},
	)
	for i := range all {
		all[i] = all[i].sane()
	}
	return all
}

// joinOne starts a second member once a third is done.
func joinOne(ctx context.Context, r *trial) {
	if !r.await(ctx, r.commands/3) {
		return
	}
	before := r.ledger.Progress()
	rate := float64(before.Got) / time.Since(r.began).Seconds()
	if err := r.startMember(); err != nil {
		r.note("the second instance did not start: %v", err)
		return
	}
	began := time.Now()
	if !r.await(ctx, r.commands/2) {
		return
	}
	settled := time.Now()
	if !r.await(ctx, r.commands*9/10) {
		return
	}
	after := float64(r.commands*9/10-r.commands/2) / time.Since(settled).Seconds()
	r.note("%.0f/s with one instance, %.0f/s with two (the second half of the run, which began %.1f s after the second was started)",
		rate, after, settled.Sub(began).Seconds())
}

// stopAndStart ends the one member with SIGTERM up to five times under full load, each time that it has worked off a
// twelfth of the commands, and starts it anew at once.
func stopAndStart(ctx context.Context, r *trial) {
	var exits []time.Duration
	for range 5 {
		next := r.ledger.Progress().Got + r.commands/12
		if next > r.commands*9/10 || !r.await(ctx, next) {
			break
		}
		took, killed := r.stopMember(0)
		exits = append(exits, took)
		if killed {
			r.note("did not end within %v and was killed", patience)
		}
		if err := r.restartMember(0); err != nil {
			r.note("did not start again: %v", err)
			return
		}
	}
	r.note("%d times exit after SIGTERM under load: %s", len(exits), span(exits))
}

// churn restarts all members but the first every 2 to 5 s until all commands are written.
func churn(ctx context.Context, r *trial) {
	var mu sync.Mutex
	var exits []time.Duration
	var restarting sync.WaitGroup
	for slot := 1; slot < 4; slot++ {
		restarting.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-r.written:
					return
				case <-time.After(2*time.Second + rand.N(3*time.Second)): //nolint:gosec // no secret
				}
				took, killed := r.stopMember(slot)
				mu.Lock()
				exits = append(exits, took)
				mu.Unlock()
				if killed {
					r.note("a member did not end within %v and was killed", patience)
				}
				if err := r.restartMember(slot); err != nil {
					r.note("a member did not start again: %v", err)
					return
				}
			}
		})
	}
	back := r.watchOffsets(ctx)
	restarting.Wait()
	r.note("%d restarts, exit after SIGTERM: %s; committed offsets moved back %d times", len(exits), span(exits), back())
}

func span(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	return fmt.Sprintf("%.2f to %.2f s, median %.2f s", all[0].Seconds(), all[len(all)-1].Seconds(), all[len(all)/2].Seconds())
}
