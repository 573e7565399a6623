package memstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"paydispatch/internal/stream"
)

// RebalanceTimeout is how long a rebalance waits for members to drain before it goes on without them.
const RebalanceTimeout = 10 * time.Second

// ErrFenced is wrapped when a member commits that is not, or no longer, in the group's current generation.
var ErrFenced = errors.New("not a member of the current generation")

// spot names a partition.
type spot struct {
	topic     string
	partition int
}

// group is guarded by the broker's lock.
type group struct {
	name       string
	generation int
	named      int // members named by counter
	rounds     int // rebalances begun, so that a timeout knows its own
	members    map[string]*member
	offsets    map[spot]int64
}

// member is one Run of a consumer in its group.
type member struct {
	id     string
	topics []string
	// waiting is closed when the generation that the member waits for begins; nil while it is in one.
	waiting chan struct{}
	// end stops the member's part of its generation.
	end        context.CancelFunc
	generation int
	assigned   []stream.Assignment // offset -1: never committed
	expelled   bool
	replaced   bool // another member took the name: do not come back
}

func (b *Broker) group(name string) *group {
	g := b.groups[name]
	if g == nil {
		g = &group{name: name, members: map[string]*member{}, offsets: map[spot]int64{}}
		b.groups[name] = g
	}
	return g
}

// Committed returns the group's next offsets by topic and partition.
func (b *Broker) Committed(groupName string) map[string]map[int]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]map[int]int64{}
	for at, offset := range b.group(groupName).offsets {
		if all[at.topic] == nil {
			all[at.topic] = map[int]int64{}
		}
		all[at.topic][at.partition] = offset
	}
	return all
}

// Members returns the ids of a group's members, sorted.
func (b *Broker) Members(groupName string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.group(groupName).members))
}

// Expel removes a member as an expired session would: its commits are refused from now on and its partitions go to
// the others. The member itself notices, drains, and joins anew if it still runs. It reports whether there was one.
func (b *Broker) Expel(groupName, id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.group(groupName)
	m := g.members[id]
	if m == nil {
		return false
	}
	g.remove(m)
	b.rebalance(g)
	return true
}

func (g *group) remove(m *member) {
	m.expelled = true
	if m.end != nil {
		m.end()
	}
	delete(g.members, m.id)
}

// join makes the member wait for the next generation and returns when it begins, or when ctx or the membership ends.
func (b *Broker) join(ctx context.Context, g *group, m *member) error {
	b.mu.Lock()
	if m.replaced {
		b.mu.Unlock()
		return fmt.Errorf("member %s of group %s was replaced: %w", m.id, g.name, ErrFenced)
	}
	if other := g.members[m.id]; other != nil && other != m {
		other.replaced = true
		g.remove(other)
	}
	m.expelled = false
	m.waiting = make(chan struct{})
	began := m.waiting
	g.members[m.id] = m
	b.rebalance(g)
	b.mu.Unlock()
	select {
	case <-began:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave takes the member out of its group.
func (b *Broker) leave(g *group, m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.members[m.id] == m {
		g.remove(m)
		b.rebalance(g)
	}
}

// rebalance ends the members' generation and begins the next one once all of them wait for it. The broker's lock is
// held.
func (b *Broker) rebalance(g *group) {
	draining := false
	for _, m := range g.members {
		if m.waiting == nil {
			draining = true
			m.end()
		}
	}
	if !draining {
		b.begin(g)
		return
	}
	g.rounds++
	round := g.rounds
	time.AfterFunc(RebalanceTimeout, func() { b.giveUp(g, round) })
}

// giveUp removes the members that a rebalance waited for in vain.
func (b *Broker) giveUp(g *group, round int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.rounds != round {
		return
	}
	for _, m := range g.members {
		if m.waiting == nil {
			g.remove(m)
		}
	}
	b.begin(g)
}

// begin assigns the partitions round robin over the members by name. The broker's lock is held.
func (b *Broker) begin(g *group) {
	g.rounds++ // timeouts of earlier rounds are void
	g.generation++
	ids := slices.Sorted(maps.Keys(g.members))
	topics := map[string]bool{}
	for _, id := range ids {
		g.members[id].assigned = nil
		for _, name := range g.members[id].topics {
			topics[name] = true
		}
	}
	turn := 0
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		var wanting []*member
		for _, id := range ids {
			if slices.Contains(g.members[id].topics, name) {
				wanting = append(wanting, g.members[id])
			}
		}
		for p := range b.topics[name].partitions {
			m := wanting[turn%len(wanting)]
			turn++
			offset, ok := g.offsets[spot{name, p}]
			if !ok {
				offset = -1
			}
			m.assigned = append(m.assigned, stream.Assignment{Topic: name, Partition: p, Offset: offset})
		}
	}
	for _, id := range ids {
		m := g.members[id]
		m.generation = g.generation
		close(m.waiting)
		m.waiting = nil
	}
}

// commit stores offsets for a member of the current generation.
func (b *Broker) commit(g *group, m *member, generation int, next []stream.Assignment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.expelled || g.members[m.id] != m || g.generation != generation {
		return fmt.Errorf("commit of member %s, generation %d, in group %s: %w", m.id, generation, g.name, ErrFenced)
	}
	for _, a := range next {
		g.offsets[spot{a.Topic, a.Partition}] = a.Offset
	}
	return nil
}

// seen returns why commands may have been handled before: the group has a committed offset in one of the topics, or a
// witness was ever written to, or may not be looked at.
func (b *Broker) seen(g *group, topics, witnesses []string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := range g.offsets {
		if slices.Contains(topics, at.topic) {
			return fmt.Sprintf("group %s has committed offsets", g.name)
		}
	}
	for _, name := range witnesses {
		t := b.topics[name]
		switch {
		case b.denied[name]:
			return fmt.Sprintf("topic %s may not be looked at", name)
		case t == nil:
			continue
		}
		for i, p := range t.partitions {
			if len(p.log) > 0 {
				return fmt.Sprintf("%s/%d was written to", name, i)
			}
		}
	}
	return ""
}
