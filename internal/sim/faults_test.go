package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// faults is what may still go wrong in a run: a budget that ends.
type faults struct {
	left int
	// often is in percent of the calls that a fault may strike, rarely in per mille of the steps at which something may
	// happen to a whole process, the store or the group.
	often, rarely int
	// only, if set, are the kinds that are struck.
	only []kind
	// from and until are when faults strike.
	from, until time.Duration
	early       bool // from has not come
	// back is in percent of the writes under which the store may go back: it does so only where a group is at rest.
	back int
	// intents is in percent of the intents under which a process stands still until just before its lease is over, while
	// something befalls the store or the group.
	intents int
	// unreached: the first submission of each command finds no connection.
	unreached bool
	// text, if set, is what befalls one text message instead of all else.
	text *text
	// steps: the store starts again from earlier states rather than anything else.
	steps bool
	// clocks: the clocks of processes are set while they submit.
	clocks bool
}

func newFaults(rng *rand.Rand, s *scenario) faults {
	f := faults{left: rng.IntN(25), often: 2 + rng.IntN(20), rarely: rng.IntN(40), until: faultsEnd}
	if s.late && rng.IntN(2) == 0 {
		f.from, f.until = lateFaults, lateFaults+faultsEnd+time.Minute
	}
	switch rng.IntN(10) {
	case 0:
		f.only, f.often = []kind{kindDial, kindReceive, kindReply, kindCallback}, 10+rng.IntN(40)
	case 1:
		f.only, f.often = []kind{kindLoad, kindSwap, kindPublish}, 5+rng.IntN(30)
	case 2:
		if rng.IntN(2) == 0 {
			f.back, f.rarely = 20+rng.IntN(40), 0
			f.only = []kind{kindSwap, kindDial, kindReply}
		}
	case 3, 4:
		f.atIntents(rng, s)
	case 5, 6:
		if s.has(cardTopic) {
			f.text = &text{atOnce: rng.IntN(2) == 0}
			f.left, f.rarely = 0, 0
		}
	case 7:
		s.pace = easy()
		f.steps, f.rarely, f.left = true, 20+rng.IntN(60), 10+rng.IntN(25)
		f.only, f.often = []kind{kindDial, kindReply}, 20+rng.IntN(40)
	case 8:
		f.clocks, f.rarely, f.left = true, 0, 10+rng.IntN(25)
		f.only, f.often = []kind{kindDial, kindReceive, kindReply}, 20+rng.IntN(40)
	}
	return f
}

// odds lists what may strike a kind of call; what stands there twice is twice as likely.
func odds(k kind) []fault {
	switch k {
	case kindLoad:
		return []fault{unavailable, slow}
	case kindSwap:
		return []fault{unavailable, lostReply, lostReply, late, slow, stalled}
	case kindPublish:
		return []fault{unavailable, lostReply, lostReply, late, slow}
	case kindFetch, kindJoin:
		return []fault{unavailable, slow}
	case kindCommit:
		// Never slow: after a wait both ends of a select in stream.Serve would be ready, and Go tosses a coin there.
		return []fault{unavailable, lostReply}
	case kindPrepare:
		return []fault{unavailable}
	case kindDial:
		return []fault{unavailable, slow}
	case kindReceive:
		return []fault{lostRequest, lostRequest, reset, slow}
	case kindReply:
		return []fault{lostReply, lostReply, reset, status500, garbage, slow, crossed}
	case kindAnswer:
		return []fault{stalled}
	case kindCallback:
		return []fault{unavailable, lostReply, slow, crossed}
	}
	return nil
}

// strike decides what happens to a call that goes on now.
func (f *faults) strike(rng *rand.Rand, c *call) fault {
	switch {
	case f.strikesIntent(rng, c):
		return stalled
	case f.reachesNobody(c):
		return unavailable
	case f.dawdles(rng, c):
		return slow
	case f.text != nil:
		return f.text.strike(c)
	}
	all := odds(c.kind)
	if c.held {
		all = slices.DeleteFunc(all, func(f fault) bool { return f == slow })
	}
	if !crosses(c) {
		all = slices.DeleteFunc(all, func(f fault) bool { return f == crossed })
	}
	if f.only != nil && !slices.Contains(f.only, c.kind) {
		return none
	}
	if f.early || f.left == 0 || len(all) == 0 || rng.IntN(100) >= f.often {
		return none
	}
	f.left--
	if f.intents > 0 && slices.Contains(all, slow) && (c.kind == kindDial || rng.IntN(2) == 0) {
		return slow
	}
	return all[rng.IntN(len(all))]
}

// goesBack reports whether the store goes back under a write.
func (w *world) goesBack(c *call) bool {
	f := &w.faults
	if f.back == 0 || f.left == 0 || c.kind != kindSwap || !w.mayGoBack(c) || w.rng.IntN(100) >= f.back {
		return false
	}
	f.left--
	return true
}

// delay is how long a slow call takes.
func (f *faults) delay(rng *rand.Rand, c *call, timeout time.Duration) time.Duration {
	longest := 2 * timeout
	if c.kind == kindDial {
		longest = timeout
	}
	if c.kind == kindReceive {
		longest = wireDelay
	}
	if c.kind == kindCallback {
		longest = time.Minute
	}
	if f.intents > 0 && rng.IntN(3) > 0 {
		return longest - between(rng, time.Millisecond, 200*time.Millisecond)
	}
	return time.Duration(1+rng.Int64N(int64(longest/time.Millisecond)-1)) * time.Millisecond
}

// misfortune lets something happen to a whole process, the store or the group, now and then.
func (w *world) misfortune() bool {
	f := &w.faults
	if time.Since(w.watch.started) > f.until {
		f.left = 0
	}
	f.early = time.Since(w.watch.started) < f.from
	if w.calmed() || w.denies() || f.early || f.left == 0 || w.rng.IntN(1000) >= f.rarely {
		return false
	}
	living := w.living()
	if len(living) == 0 {
		return false
	}
	victim := living[w.rng.IntN(len(living))]
	if f.steps && w.rng.IntN(3) > 0 {
		return w.steps(living)
	}
	happened := true
	switch w.rng.IntN(18) {
	case 0, 1, 2:
		w.kill(victim)
	case 3:
		w.wipe()
	case 4:
		w.kill(victim)
		w.wipe()
	case 5:
		for _, p := range living {
			w.kill(p)
		}
		w.wipe()
	case 6, 7:
		happened = w.rebalance(victim)
	case 8:
		happened = w.restart(victim)
	case 9, 10:
		w.stats.events["forged callback"]++
		w.forge()
	case 12:
		happened = w.setClock(victim)
	case 13:
		w.loseReplicas()
	case 14:
		happened = !f.steps && w.rewind()
	case 15, 16:
		happened = w.deny()
	case 17:
		return w.steps(living)
	case 11:
		happened = w.replay()
		w.stats.events["old callback"]++
	}
	if happened {
		f.left--
	}
	return happened
}

// living are the processes that run and are not being stopped.
func (w *world) living() []*process {
	var living []*process
	for _, p := range append(slices.Clone(w.dispatchers), w.callback) {
		if inc := p.current(); inc != nil && !w.gate.isDead(inc) && !p.stopping {
			living = append(living, p)
		}
	}
	return living
}

// kill ends a process without a word; its member stays in the group until its session expires.
func (w *world) kill(p *process) {
	inc := p.current()
	w.stats.events["crash"]++
	w.say("KILL %s", inc.name)
	w.gate.kill(inc)
	inc.cancel()
	inc.cut()
	w.upsets()
	w.silence(inc)
	w.later(time.Duration(w.rng.IntN(20_000))*time.Millisecond, fmt.Sprintf("start %s again", p.name), func() { w.start(p) })
}

// silence expels a member that no longer sends heartbeats once its session expires.
func (w *world) silence(inc *incarnation) {
	if inc.of == nil {
		return
	}
	w.later(sessionExpiry, "the session of "+inc.name+" expires", func() {
		w.upsets()
		w.broker.Expel(inc.of.group, inc.name)
	})
}

// wipe loses everything: as FLUSHALL does, or because the server's clock jumps beyond the lifetime of all that it keeps.
func (w *world) wipe() {
	if w.rng.IntN(3) > 0 {
		w.flush()
		return
	}
	w.say("The store's clock JUMPS beyond every lifetime")
	w.records.Jump(longLived)
	w.lost()
}

// flush loses everything as FLUSHALL does.
func (w *world) flush() {
	w.say("WIPE the store")
	w.records.Forget()
	w.lost()
}

// lost notes that the store holds nothing any more.
func (w *world) lost() {
	w.stats.events["wipe"]++
	w.watch.wiped()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshots = nil // with the epochs of that memory: who meets them sees a loss
}

// rebalance ends a living member's generation, and so everyone's.
func (w *world) rebalance(p *process) bool {
	if p == w.callback || !w.broker.Expel(p.of.group, p.current().name) {
		return false
	}
	w.stats.events["rebalance"]++
	w.upsets()
	w.say("EXPEL %s", p.current().name)
	return true
}

// restart stops a dispatcher as SIGTERM does, and starts it again when it is done.
func (w *world) restart(p *process) bool {
	if p == w.callback {
		return false
	}
	inc := p.current()
	w.stats.events["restart"]++
	w.watch.upset()
	w.say("STOP %s", inc.name)
	p.stopping = true
	w.upsets()
	inc.cancel()
	w.later(30*time.Second, fmt.Sprintf("start %s again", p.name), func() {
		// A pod's grace is over: what still runs is killed.
		w.gate.kill(inc)
		inc.cut()
		w.silence(inc)
		p.stopping = false
		w.start(p)
	})
	return true
}
