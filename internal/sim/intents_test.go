package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
)

// What is decided by moments: a process stores its intent, stands still until its lease is nearly over, and then sends.
// Meanwhile the store forgets, the group goes on without the process, or another message of the order is handled.

// atIntents lets faults strike where an intent is stored, and calls take as long as they may.
func (f *faults) atIntents(rng *rand.Rand, s *scenario) {
	s.pace = tight()
	f.intents, f.left, f.rarely, f.often = 30+rng.IntN(60), 1+rng.IntN(8), 0, 10+rng.IntN(40)
	f.only = []kind{kindDial, kindReceive}
	if rng.IntN(2) == 0 {
		f.only = []kind{kindDial, kindReceive, kindReply, kindAnswer}
	}
	f.unreached = rng.IntN(3) == 0
}

// reachesNobody reports whether a command's first submission finds the vendor away, so that the next one is a copy's.
func (f *faults) reachesNobody(c *call) bool {
	return f.unreached && c.kind == kindDial && strings.HasSuffix(c.name, " send#1 dial") && !strings.Contains(c.name, ".delay.")
}

// strikesIntent reports whether a process stands still with an intent that it is about to store.
func (f *faults) strikesIntent(rng *rand.Rand, c *call) bool {
	if !c.intent || f.intents == 0 || f.early || f.left == 0 || rng.IntN(100) >= f.intents {
		return false
	}
	f.left--
	return true
}

// dawdles reports whether a submission takes its time, on the way to the vendor or before it.
func (f *faults) dawdles(rng *rand.Rand, c *call) bool {
	onWay := c.kind == kindDial || c.kind == kindReceive
	return f.intents > 0 && onWay && !c.held && strings.Contains(c.name, " send#") && rng.IntN(5) < 2
}

// twins has every debit written twice, to any partition, so that two processes may work on one order, and lets the vendor
// hide most orders for as long as it may.
func (s *scenario) twins(rng *rand.Rand) {
	for _, m := range slices.Clone(s.messages) {
		if m.topic != commandTopic || !m.valid || m.replayed {
			continue
		}
		m.key, m.at = "", m.at+between(rng, 0, 5*time.Second)
		s.messages = append(s.messages, m)
		o := s.orders[m.order]
		if o == nil {
			continue
		}
		if rng.IntN(4) > 0 {
			o.plan.QueryLag = queryLag
		}
		if rng.IntN(4) == 0 {
			o.plan.Refuse, o.plan.Pending, o.plan.RefuseAfter = "", false, "订单号重复 "+mobile
		}
	}
}

// befall is what happens while a process stands still with its intent stored.
func (w *world) befall(inc *incarnation) {
	switch w.rng.IntN(7) {
	case 0:
		w.later(0, "the store loses everything under an intent", w.flush)
	case 1:
		w.later(0, "the group goes on without "+inc.name, func() { w.expel(inc) })
	case 2, 3:
		w.later(0, "the group goes on without "+inc.name, func() { w.expel(inc) })
		w.later(time.Millisecond, "the store loses everything under an intent", w.flush)
	}
}

// expel ends a member's generation, and so everyone's.
func (w *world) expel(inc *incarnation) {
	if w.broker.Expel(inc.of.group, inc.name) {
		w.upsets()
	}
}

// stalledSwap is a process that stands still after a write: after an intent mostly until shortly before its lease is over.
func (w *world) stalledSwap(owner *incarnation, name string, intent bool) *call {
	if w.faults.intents > 0 && intent && w.unit(name+" until its lease") < 0.8 {
		return w.standstill(owner, name, w.spread(name, w.scenario.pace.lease-500*time.Millisecond, w.scenario.pace.lease))
	}
	return w.stalledCall(owner, name)
}

// intends reports whether a write that a process makes now says that it is about to send. A copy that waits for a
// submission is counted in a record that says so too, and began earlier, or in this moment by the intent that stands.
func (w *world) intends(owner *incarnation, was idempotency.Record, value []byte) bool {
	s, err := commands.DecodeState(value)
	if err != nil || s.Phase != commands.Sending || !s.SentAt.Equal(w.now(owner)) {
		return false
	}
	stands, err := commands.DecodeState(was.Value)
	return err != nil || stands.Phase != commands.Sending || stands.Owner != s.Owner
}

// little is how far the clock of a process is always off: a little, or as far as nobody notices.
func (w *world) little(name string) time.Duration {
	little := w.spread(name+" clock", -tolerance(), tolerance())
	switch {
	case w.faults.intents == 0:
		return little
	case little < 0:
		return -tolerance()
	}
	return tolerance()
}
