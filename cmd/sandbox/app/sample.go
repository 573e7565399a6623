package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/sim/daxpay"
)

// row is one story: what is sent, what the vendor does, and what is promised.
type row struct {
	// topic takes the row's commands.
	topic, title string
	sends        []send
	fate         fate
	// receivers are put into DaxPay's store.
	receivers []daxpay.Receiver
	// about is what the vendor knows the matter by (orders, flows, receiver numbers); nil means the Kafka keys.
	about []string
	// vendor is the promise about what the vendor itself tells in the end.
	vendor string
	// events are the promised words: kinds of result events and what they say, once for each event id, and deadLetter.
	events []string
	// by, when set, is the code that the verdict must carry: who brought it.
	by string
	// copies is how often an event must be published at least, under one id.
	copies int
}

// send is one message.
type send struct {
	// after holds it back until so many events of wait were published; wait is the row's own keys when nil.
	after int
	wait  []string
	key   string
	value []byte
	// make, when set, makes the value out of the events that were waited for.
	make func(seen []event) []byte
}

// deadLetter is the word for a dead letter among events.
const deadLetter = "dead letter"

// nothing is what a vendor tells where no money moved, no message was sent and no question was put.
const nothing = "nothing"

// keys are the Kafka keys of the row's messages, which its results carry too.
func (r row) keys() []string {
	var keys []string
	for _, s := range r.sends {
		if !slices.Contains(keys, s.key) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// subjects is what the vendor is held to.
func (r row) subjects() []string {
	if r.about != nil {
		return r.about
	}
	return r.keys()
}

// message makes a command; change may break it.
func message(key string, fields map[string]any, change func(fields map[string]any)) send {
	if change != nil {
		change(fields)
	}
	return send{key: key, value: encode(fields)}
}

func encode(fields map[string]any) []byte {
	value, err := json.Marshal(fields)
	if err != nil { // strings always encode
		panic(err)
	}
	return value
}

// later holds a message back until the first event was published, under the row's own keys or under others.
func (s send) later(wait ...string) send { s.after, s.wait = 1, wait; return s }

// sample is the stories that are told, under names of this run.
func sample(run string) []row {
	t := teller(run)
	return slices.Concat(
		of(catalog.Withhold().Topic, t.withholds()), of(catalog.WithholdQuery().Topic, t.queries()),
		of(catalog.CardPrebind().Topic, t.prebinds()), of(catalog.CardConfirm().Topic, t.confirms()),
		of(catalog.IdentityPoll().Topic, t.polls()), of(catalog.AllocReceiverQuery().Topic, t.receivers()),
	)
}

func of(topic string, rows []row) []row {
	for i := range rows {
		rows[i].topic = topic
	}
	return rows
}

// teller tells the stories of one run.
type teller string

// name is an order, flow or receiver number of this run; request is a requestId.
func (t teller) name(of string) string { return of + "-" + string(t) }

func (t teller) request(of string, n int) string { return fmt.Sprintf("req-%s-%s-%d", of, t, n) }

// verdict compares what happened with the promise; "" means that it was kept.
func (r row) verdict(vendor string, seen []event) string {
	var wrong []string
	if vendor != r.vendor {
		wrong = append(wrong, "the vendor should say "+r.vendor)
	}
	words := make([]string, len(seen))
	for i, e := range seen {
		words[i] = e.word
	}
	if !sameWords(words, r.events) {
		wrong = append(wrong, "the events should be "+strings.Join(r.events, ", "))
	}
	for _, e := range seen {
		if e.word == "succeeded" && r.by != "" && e.code != r.by {
			wrong = append(wrong, "the verdict should come by "+r.by)
		}
		if e.word == "succeeded" && e.copies < r.copies {
			wrong = append(wrong, "the same event should come twice")
		}
	}
	return strings.Join(wrong, ", ")
}

// complete reports whether everything promised has come; more may come, which then breaks the promise.
func (r row) complete(seen []event) bool {
	copies := 0
	for _, e := range seen {
		copies = max(copies, e.copies)
	}
	return len(seen) >= len(r.events) && copies >= r.copies
}

func sameWords(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// money writes moves as "1 × 100.00".
func money(moves []string) string {
	if len(moves) == 0 {
		return nothing
	}
	same := len(slices.Compact(slices.Clone(moves))) == 1
	if same {
		return fmt.Sprintf("%d × %s", len(moves), moves[0])
	}
	return strings.Join(moves, " + ")
}
