package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
)

// What a store that went back in time does not know any more is known to the process that tries the message. It is the
// only one: so the store goes back under its hands (wentBack) only where that process keeps the message, and nothing
// befalls it until the record is written again.

// calm is while one process alone knows of an order.
type calm struct {
	key   string
	until time.Time
}

// restAfter is how long a group is at rest after its last change: a rebalance waits so long for its members.
const restAfter = 11 * time.Second

func (w *world) upsets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.upset = time.Now()
	if time.Since(w.watch.started) > restAfter { // before that the processes only come together
		w.watch.upset()
	}
}

func (w *world) calmed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm != nil && !time.Now().Before(w.calm.until) {
		w.calm = nil
	}
	return w.calm != nil
}

// take notes that a message is being handled; the function that it returns, that it is not any more.
func (w *world) take(m stream.Message) func() { return w.busyWith(w.watch.orderOf(m)) }

func (w *world) busyWith(order string) func() {
	add := func(n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy[order] += n
	}
	add(1)
	return func() { add(-1) }
}

// orderOf is the order that a debit is about, "" for other messages.
func (w *watch) orderOf(m stream.Message) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if what := w.meant(m.Value); what.topic == commandTopic {
		return what.order
	}
	return ""
}

// mayGoBack reports whether the store may go back under a write: the group is at rest, and the message that is written
// for is the order's own, and the last one, which nobody else speaks of. A question about the order does not keep what it
// brought up.
func (w *world) mayGoBack(c *call) bool {
	_, order, ok := strings.Cut(c.name, " swap o:withhold:")
	if !ok || w.calmed() || c.owner == nil || c.owner.of == nil || !w.atRest(c.owner.of) || !w.alone(order, 1) {
		return false
	}
	at := strings.Fields(c.name)[1]
	return strings.HasPrefix(at, commandTopic) && w.watch.only(at, order)
}

// atRest reports whether all processes of a deployment run in one generation, and nothing is about to end it.
func (w *world) atRest(of *deployment) bool {
	w.mu.Lock()
	upset := w.upset
	w.mu.Unlock()
	if time.Since(upset) < restAfter {
		return false
	}
	for _, t := range w.agenda {
		if strings.HasPrefix(t.name, "start ") || strings.HasPrefix(t.name, "the session ") {
			return false
		}
	}
	var members []string
	for _, p := range w.dispatchers {
		if p.of == of {
			members = append(members, p.current().name)
		}
	}
	slices.Sort(members)
	return slices.Equal(members, w.broker.Members(of.group))
}

// alone reports whether no more than so many handlers are at work on an order, and no write of its record is still on
// its way: a record that went back may come to the version that it had before, and such a write would take it for that.
// Where one is at work nobody else may speak of the order, for the same reason.
func (w *world) alone(order string, most int) bool {
	w.mu.Lock()
	busy := w.busy[order]
	w.mu.Unlock()
	if o := w.scenario.orders[order]; busy > most || busy > 0 && (o == nil || !o.plan.NoCallback || w.scenario.questioned(order)) {
		return false
	}
	return !w.gate.waits(func(name string) bool {
		return strings.HasPrefix(name, "late ") && strings.Contains(name, " swap "+recordOf(order)+" ")
	})
}

func recordOf(order string) string { return "o:withhold:" + order }

func (s *scenario) questioned(order string) bool {
	return slices.ContainsFunc(s.messages, func(m message) bool { return m.topic == queryTopic && m.detail == order })
}

func (g *gate) waits(which func(name string) bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.parked, func(c *call) bool { return which(c.name) })
}

// only reports whether a message, named by topic, partition and offset, is the last one of its order that is not
// committed.
func (w *watch) only(at, order string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.messages {
		if m.topic == commandTopic && m.order == order && time.Since(w.started) <= m.at {
			return false
		}
	}
	for topic, all := range w.commands {
		for _, m := range all {
			if topic == commandTopic && w.meant(m.Value).order == order && w.open(m) && !w.strange[place(m)] && place(m) != at {
				return false
			}
		}
	}
	for _, all := range w.parked {
		for _, m := range all {
			if what := w.meant(m.Value); what.topic == commandTopic && what.order == order && w.open(m) && !w.strange[place(m)] && place(m) != at {
				return false
			}
		}
	}
	return true
}

// open reports whether a message is not committed.
func (w *watch) open(m stream.Message) bool { return w.offsets[m.Topic][m.Partition] <= m.Offset }

func place(m stream.Message) string { return fmt.Sprintf("%s/%d@%d", m.Topic, m.Partition, m.Offset) }

// rewindOne takes the record under a write back to an earlier moment.
func (w *world) rewindOne(key string) {
	w.mu.Lock()
	all := slices.Clone(w.snapshots)
	w.calm = &calm{key, time.Now().Add(2 * time.Minute)}
	w.mu.Unlock()
	if len(all) > 0 {
		to := all[int(w.unit(fmt.Sprint("back to", key, len(all), time.Since(w.watch.started)))*float64(len(all)))]
		w.back(to, []string{key})
	}
}

// known ends the calm: the record says again what was done.
func (w *world) known(key string, value []byte) {
	s, err := commands.DecodeState(value)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm != nil && w.calm.key == key && err == nil && s.Topic == commandTopic {
		w.calm = nil
	}
}
