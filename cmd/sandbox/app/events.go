package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

// event is what was published under one id about one order.
type event struct {
	id string
	// word is the kind, and what it says where the kind alone says little, such as "answered succeeded".
	word string
	// uniqueCode is what a prebind was answered with.
	uniqueCode string
	// code is the vendor's or our word in the data, "callback" when a callback brought the verdict.
	code   string
	copies int
	at     time.Time
}

// events gathers what is published, by Kafka key.
type events struct {
	mu     sync.Mutex
	byKey  map[string][]event
	change chan struct{} // closed and replaced at each new event
	log    []arrival     // in the order in which they came
}

// arrival is the first copy of an event.
type arrival struct {
	key string
	event
}

func newEvents() *events { return &events{byKey: map[string][]event{}, change: make(chan struct{})} }

// of returns the events of keys, and a channel that closes at the next one.
func (e *events) of(keys ...string) ([]event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []event
	for _, k := range keys {
		all = append(all, e.byKey[k]...)
	}
	return all, e.change
}

// wait returns the events of keys when there are so many.
func (e *events) wait(ctx context.Context, n int, keys ...string) ([]event, error) {
	for {
		seen, more := e.of(keys...)
		if len(seen) >= n {
			return seen, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// from returns the events from the n-th on, and a channel that closes at the next one.
func (e *events) from(n int) ([]arrival, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log[n:], e.change
}

func (e *events) add(key string, found event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := false
	for i := range e.byKey[key] {
		if e.byKey[key][i].id == found.id {
			e.byKey[key][i].copies++
			known = true
		}
	}
	if !known {
		found.copies, found.at = 1, time.Now()
		e.byKey[key] = append(e.byKey[key], found)
		e.log = append(e.log, arrival{key, found})
	}
	close(e.change)
	e.change = make(chan struct{})
}

// watch reads a topic from its start until ctx ends.
func (e *events) watch(ctx context.Context, client *kafkastream.Admin, topic string, read func(stream.Message) event) (*sync.WaitGroup, error) {
	spans, err := client.Spans(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", topic, err)
	}
	var readers sync.WaitGroup
	for _, s := range spans {
		readers.Go(func() {
			next := s.First
			for ctx.Err() == nil {
				_ = client.Read(ctx, topic, s.Partition, next, func(m stream.Message) bool {
					next = m.Offset + 1
					e.add(string(m.Key), read(m))
					return true
				})
			}
		})
	}
	return &readers, nil
}

// result reads a result event.
func result(m stream.Message) event {
	header := func(name string) string { v, _ := m.Header(name); return string(v) }
	var data said
	_ = json.Unmarshal(m.Value, &data) // what does not say these things shows none
	word := commands.Result{Type: header("ce_type")}.Kind()
	if more := data.more(); more != "" && word != commands.KindDuplicate {
		word += " " + more
	}
	return event{id: header("ce_id"), word: word, code: data.Code, uniqueCode: data.UniqueCode}
}

// said is what of a result's data is shown.
type said struct {
	Code       string
	State      string
	Process    string
	Receivers  *[]any
	UniqueCode string `json:"unique_code"`
}

func (s said) more() string {
	switch {
	case s.State != "":
		return s.State
	case s.Process != "":
		return s.Process
	case s.Receivers != nil && len(*s.Receivers) == 1:
		return "1 receiver"
	case s.Receivers != nil:
		return fmt.Sprintf("%d receivers", len(*s.Receivers))
	}
	return ""
}

// letter reads a dead letter; its origin is its identity.
func letter(m stream.Message) event {
	origin, _ := m.Header(dispatch.HeaderOrigin)
	return event{id: string(origin), word: deadLetter}
}

// describe writes the events of one row, such as "pending, succeeded (callback)".
func describe(seen []event) string {
	var words []string
	for _, e := range seen {
		w := e.word
		if e.code == "callback" {
			w += " (by callback)"
		}
		if e.copies > 1 {
			w += fmt.Sprintf(" ×%d, one id", e.copies)
		}
		words = append(words, w)
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
