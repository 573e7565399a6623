package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// What is decided by moments where nobody can be asked: the store forgets a command of effect once while the vendor's
// answer is on its way, and the command is written again.

// text is what befalls one command of effect once.
type text struct {
	// twin: the command was written twice at one moment, the one at which the store forgets it. Else it is written again
	// after the loss, and sent while the first process still stands still with its refusal.
	twin bool
	// over: it happened. slowed: so did the second submission's reply.
	over, slowed bool
}

// texts prepares the cards of a run for it.
func (s *scenario) texts(rng *rand.Rand, t *text) {
	s.relents = true
	for i, m := range s.messages {
		if m.topic != cardTopic || !m.valid {
			continue
		}
		s.refused[m.request] = !t.twin
		s.messages[i].skew = margin // its producer's clock is as far ahead as it may be
		if t.twin {
			again := s.messages[i]
			again.key = ""
			s.messages = append(s.messages, again)
		}
		if rng.IntN(2) == 0 {
			break
		}
	}
}

// strike delays the reply to the second submission, and has the process that hears the first refusal stand still.
func (t *text) strike(c *call) fault {
	if t.twin || !strings.Contains(c.name, " "+cardTopic+"/") || !strings.Contains(c.name, " send#") {
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
	if t.twin {
		moment = kindReply
	}
	if t.over || c.kind != moment || !strings.Contains(c.name, " "+cardTopic+"/") {
		return
	}
	t.over = true
	w.later(0, "the store loses everything under a text message", w.wipe)
	if !t.twin {
		m := w.watch.namedBy(c.name)
		m.key, m.skew = "", margin
		w.later(between(w.rng, time.Second, 3*time.Second), "write "+m.request+" again", func() { w.again(m) })
	}
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
		return w.standstill(owner, name, spread(name, 4*time.Second, w.scenario.pace.timeout))
	}
	return w.stalledCall(owner, name)
}
