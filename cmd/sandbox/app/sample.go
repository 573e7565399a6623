package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	double "paydispatch/internal/vendors/sim/withhold"
)

// row is one story: what is sent, what the gateway does, and what is promised.
type row struct {
	title string
	sends []send
	// fate is what the gateway does at the attempt-th submission of an order of this row.
	fate func(attempt int) double.Plan
	// ledger is the promise about the gateway's ledger: the moves of money, one amount each, over all orders of the row.
	ledger []string
	// events are the promised words: kinds of result events, once for each event id, and deadLetter.
	events []string
	// by, when set, is the code that the verdict must carry: who brought it.
	by string
	// copies is how often an event must be published at least, under one id.
	copies int
}

// send is one message.
type send struct {
	// after holds it back until so many events of the row were published.
	after int
	key   string
	value []byte
}

// deadLetter is the word for a dead letter among events.
const deadLetter = "dead letter"

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

// command makes a valid command; all in it is made up. change may break it.
func command(request, order string, change func(fields map[string]any)) send {
	fields := map[string]any{
		"requestId": request, "biz_order_no": order, "amount": "100.00", "pay_type": "101",
		"name": "Nobody", "id_card_number": "000000190001010000", "mobile": "10000000000", "bank_card_number": "6200000000000000",
	}
	if change != nil {
		change(fields)
	}
	value, err := json.Marshal(fields)
	if err != nil { // strings always encode
		panic(err)
	}
	return send{key: order, value: value}
}

func (s send) when(events int) send { s.after = events; return s }

func amount(text string) func(map[string]any) {
	return func(fields map[string]any) { fields["amount"] = text }
}

// sample is the stories that are told, under order numbers of this run.
func sample(run string) []row {
	order := func(name string) string { return name + "-" + run }
	request := func(name string, n int) string { return fmt.Sprintf("req-%s-%s-%d", name, run, n) }
	one := func(name string, change func(map[string]any)) []send {
		return []send{command(request(name, 1), order(name), change)}
	}
	asPlanned := func(p double.Plan) func(int) double.Plan { return func(int) double.Plan { return p } }
	success := asPlanned(double.Plan{NoCallback: true})
	charged := []string{"100.00"}
	return []row{
		{
			title: "success", sends: one("success", nil), fate: success,
			ledger: charged, events: []string{"succeeded"},
		}, {
			title: "declined", sends: one("declined", nil), fate: asPlanned(double.Plan{Final: "fail", Channel: "insufficient balance", NoCallback: true}),
			events: []string{"failed"},
		}, {
			title: "refused by the gateway", sends: one("refused", nil), fate: asPlanned(double.Plan{Refuse: "pay_type is not open"}),
			events: []string{"failed"},
		}, {
			title: "pending, settled by callback", sends: one("pending-callback", nil), by: "callback",
			fate:   asPlanned(double.Plan{Pending: true, After: 1500 * time.Millisecond, QueryErrors: 1000}),
			ledger: charged, events: []string{"pending", "succeeded"},
		}, {
			title: "pending, settled by query", sends: one("pending-query", nil),
			fate:   asPlanned(double.Plan{Pending: true, Queries: 2, NoCallback: true}),
			ledger: charged, events: []string{"pending", "succeeded"},
		}, {
			title: "reply lost after the charge", sends: one("lost-reply", nil),
			fate:   asPlanned(double.Plan{DropReply: true, NoCallback: true}),
			ledger: charged, events: []string{"succeeded"},
		}, {
			title: "502 after the charge, query lags", sends: one("lagging-query", nil),
			fate:   asPlanned(double.Plan{Status: 502, QueryLag: time.Second, NoCallback: true}),
			ledger: charged, events: []string{"succeeded"},
		}, {
			title: "request lost before the charge", sends: one("lost-request", nil),
			fate:   func(attempt int) double.Plan { return double.Plan{DropRequest: attempt == 1, NoCallback: true} },
			ledger: charged, events: []string{"succeeded"},
		}, {
			title:  "same command again",
			sends:  []send{one("again", nil)[0], one("again", nil)[0].when(1)},
			fate:   success,
			ledger: charged, events: []string{"succeeded"}, copies: 2,
		}, {
			title:  "duplicate: same order, new requestId",
			sends:  []send{one("duplicate", nil)[0], command(request("duplicate", 2), order("duplicate"), nil)},
			fate:   success,
			ledger: charged, events: []string{"succeeded", "duplicate"},
		}, {
			title:  "conflict: same order, new amount",
			sends:  []send{one("conflict", nil)[0], command(request("conflict", 2), order("conflict"), amount("999.00"))},
			fate:   success,
			ledger: charged, events: []string{"succeeded", "rejected", deadLetter},
		}, {
			title:  "requestId reused for another order",
			sends:  []send{one("reused", nil)[0], command(request("reused", 1), order("reused-other"), nil).when(1)},
			fate:   success,
			ledger: charged, events: []string{"succeeded", "rejected", deadLetter},
		}, {
			title: "forged callback says \"fail\" first", sends: one("forged", nil), by: "callback",
			fate:   asPlanned(double.Plan{Pending: true, After: 1500 * time.Millisecond, QueryErrors: 1000, Forged: true}),
			ledger: charged, events: []string{"pending", "succeeded"},
		}, {
			title:  "invalid: amount 1e2, unknown field",
			sends:  one("invalid", func(f map[string]any) { f["amount"], f["currency"] = "1e2", "CNY" }),
			fate:   success,
			events: []string{"rejected", deadLetter},
		}, {
			title:  "invalid: not JSON",
			sends:  []send{{key: order("not-json"), value: []byte("amount=100.00")}},
			fate:   success,
			events: []string{"rejected", deadLetter},
		},
	}
}

// verdict compares what happened with the promise; "" means that it was kept.
func (r row) verdict(moves []string, seen []event) string {
	var wrong []string
	if !slices.Equal(moves, r.ledger) {
		wrong = append(wrong, fmt.Sprintf("the ledger should say %s", money(r.ledger)))
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
		return "nothing"
	}
	same := len(slices.Compact(slices.Clone(moves))) == 1
	if same {
		return fmt.Sprintf("%d × %s", len(moves), moves[0])
	}
	return strings.Join(moves, " + ")
}
