package dispatch

import (
	"container/list"
	"slices"
	"sync"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
)

// maxMemories bounds the operations that are remembered. It is far above those whose messages a process tries at one
// time, so that what goes first is left of partitions that other processes have now.
const maxMemories = 16 << 10

// memories is what this process did to operations whose message it is going to try again. The store may fail at that
// moment and come back without its latest writes; what was done is known all the same.
type memories struct {
	mu sync.Mutex
	// byKey finds an operation by its record key in recent, which has the one remembered last at its back.
	byKey  map[string]*list.Element
	recent *list.List
}

// remembered is what the messages of one operation left, each under its origin.
type remembered struct {
	key  string
	left []left
}

type left struct {
	origin string
	state  commands.State
}

func newMemories() *memories {
	return &memories{byKey: map[string]*list.Element{}, recent: list.New()}
}

// keep remembers how a message left its operation, in place of what it left before.
func (m *memories) keep(key, origin string, s commands.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.byKey[key]
	if !known {
		e = m.recent.PushBack(&remembered{key: key})
		m.byKey[key] = e
	}
	m.recent.MoveToBack(e)
	of := at(e)
	of.left = append(without(of.left, origin), left{origin, s})
	if m.recent.Len() > maxMemories {
		oldest := m.recent.Front()
		delete(m.byKey, at(oldest).key)
		m.recent.Remove(oldest)
	}
}

// forget drops what a message left, once it needs nothing more.
func (m *memories) forget(key, origin string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.byKey[key]
	if !known {
		return
	}
	of := at(e)
	if of.left = without(of.left, origin); len(of.left) == 0 {
		delete(m.byKey, key)
		m.recent.Remove(e)
	}
}

// of returns what is remembered of an operation under one content, joined into one state; ok is false when that is
// nothing. other is what is remembered of it under another content, which is no news about this one.
func (m *memories) of(key string, fingerprints []string) (state commands.State, ok bool, other *commands.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.byKey[key]
	if !known {
		return commands.State{}, false, nil
	}
	for _, l := range at(e).left {
		switch {
		case !slices.Contains(fingerprints, l.state.Fingerprint):
			other = &l.state
		case !ok:
			state, ok = l.state, true
		default:
			state, _ = state.Joined(l.state)
		}
	}
	return state, ok, other
}

func at(e *list.Element) *remembered {
	r, _ := e.Value.(*remembered) // nothing else is ever put in
	return r
}

func without(all []left, origin string) []left {
	return slices.DeleteFunc(all, func(l left) bool { return l.origin == origin })
}

// recall returns the state to go on from: what this process remembers of the operation, what the message carries (a
// parked copy; else a state that is New), and what is on record, joined. It is New when nothing is known at all. Where
// nothing else is known of a new message, another content that this process had a hand in came first.
func (t *task) recall(carried commands.State, record idempotency.Record) (commands.State, error) {
	believed := carried
	memory, ok, other := t.memories.of(record.Key, t.job.Command.Fingerprints)
	switch {
	case !ok && other != nil && !other.Untouched() && record.Version == 0 && carried.Phase == commands.New:
		return *other, nil
	case ok:
		believed = memory
		if carried.Phase != commands.New {
			believed, _ = memory.Joined(carried)
			believed.Parks = max(believed.Parks, carried.Parks)
		}
	}
	if record.Version == 0 && carried.Phase == commands.New && believed.Untouched() {
		return carried, nil
	}
	return t.route.Driver.Recall(believed, record, t.job.Command.Fingerprints)
}

// knows reports whether this process carried on the very command before: then its claim was good, whoever has the requestId
// since the store forgot.
func (t *task) knows(c commands.Command) bool {
	memory, ok, _ := t.memories.of(operation.Key(*t.spec, c.Key), c.Fingerprints)
	return ok && memory.RequestID == c.RequestID
}

// remember keeps what is known of an operation whose message is going to be tried again, and forgets it once the message
// needs nothing more.
func (t *task) remember(err error) {
	if t.job.Record.Key == "" {
		return
	}
	switch {
	case err == nil:
		t.memories.forget(t.job.Record.Key, t.origin)
	case t.job.Memory != nil:
		t.memories.keep(t.job.Record.Key, t.origin, *t.job.Memory)
	}
}
