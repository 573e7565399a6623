package sim

import (
	"slices"
	"strings"
	"time"

	"paydispatch/internal/idempotency/memstore"
)

// What is decided by moments where nobody can be asked: the store forgets a command of effect once while the vendor's
// answer is on its way, and the command is written again.

// text is what befalls one command of effect once.
type text struct {
	// atOnce: the command is written again at the very moment of the loss, by a producer whose clock is as far ahead as it
	// may be. Else it is written shortly after, and sent while the first process still stands still with its refusal.
	atOnce bool
	// over: it happened. slowed: so did the second submission's reply.
	over, slowed bool
}

// texts prepares the cards of a run for it.
func (s *scenario) texts(t *text) {
	s.relents = true
	for _, m := range s.messages {
		if m.topic == cardTopic && m.valid {
			s.refused[m.request] = !t.atOnce
		}
	}
}

// strike delays the reply to the second submission, and has the process that hears the first refusal stand still.
func (t *text) strike(c *call) fault {
	if t.atOnce || !strings.Contains(c.name, " "+cardTopic+"/") || !strings.Contains(c.name, " send#") {
		return none
	}
	switch {
	case c.kind == kindAnswer && !t.over:
		return stalled
	case c.kind == kindReply && t.over && !t.slowed:
		t.slowed = true
		return slow
	}
	return none
}

// overtext is what happens at once when a command of effect once was answered, or has arrived.
func (w *world) overtext(c *call) {
	t := w.faults.text
	moment := kindAnswer
	if t.atOnce {
		moment = kindReply
	}
	if t.over || c.kind != moment || !strings.Contains(c.name, " "+cardTopic+"/") {
		return
	}
	t.over = true
	m := w.watch.namedBy(c.name)
	m.key, m.skew = "", margin
	if t.atOnce {
		w.later(0, "the store loses everything, and "+m.request+" is written again", func() { w.flush(); w.again(m) })
		return
	}
	w.later(0, "the store loses everything under a text message", w.flush)
	m.skew -= 2 * time.Second // beyond doubt
	w.later(time.Millisecond, "a process looks at the store", func() {
		_, err := memstore.New(w.records, memstore.Config{}).Load(w.quiet(), "o:"+cardTopic+":"+m.order)
		must(err)
	})
	w.later(between(w.rng, 2100*time.Millisecond, 4*time.Second), "write "+m.request+" again", func() { w.again(m) })
}

// namedBy finds the message on whose behalf a call is made.
func (w *watch) namedBy(name string) message {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.commands[cardTopic] {
		if strings.Contains(name, " "+place(m)+" ") {
			return w.meant(m.Value)
		}
	}
	panic("no message has the place in " + name)
}

// again has a producer write a message that the scenario did not foresee.
func (w *world) again(m message) {
	m.at = time.Since(w.watch.started)
	w.watch.mu.Lock()
	w.watch.messages = append(slices.Clone(w.watch.messages), m)
	w.watch.mu.Unlock()
	w.write(m)
}

// stalledAnswer is a process that stands still with an answer in hand.
func (w *world) stalledAnswer(owner *incarnation, name string) *call {
	if w.faults.text != nil {
		return w.standstill(owner, name, w.spread(name, 4*time.Second, 9*time.Second))
	}
	return w.stalledCall(owner, name)
}
