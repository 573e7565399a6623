package app

import (
	"time"

	double "paydispatch/internal/vendors/sim/withhold"
)

// Whoever appears in commands is made up.
const (
	nobody       = "Nobody"
	nobodyID     = "000000190001010000"
	nobodyMobile = "10000000000"
	nobodyCard   = "6200000000000000"
)

// command makes a withhold.request.
func command(request, order string, change func(fields map[string]any)) send {
	return message(order, map[string]any{
		"requestId": request, "biz_order_no": order, "amount": "100.00", "pay_type": "101",
		"name": nobody, "id_card_number": nobodyID, "mobile": nobodyMobile, "bank_card_number": nobodyCard,
	}, change)
}

func (t teller) one(name string, change func(map[string]any)) []send {
	return []send{command(t.request(name, 1), t.name(name), change)}
}

func amount(text string) func(map[string]any) {
	return func(fields map[string]any) { fields["amount"] = text }
}

func planned(p double.Plan) fate { return fate{order: func(int) double.Plan { return p }} }

// withholds are the stories of single-withhold.
func (t teller) withholds() []row {
	const charged = "1 × 100.00"
	success := planned(double.Plan{NoCallback: true})
	return []row{
		{
			title: "success", sends: t.one("success", nil), fate: success,
			vendor: charged, events: []string{"succeeded"},
		}, {
			title: "declined", sends: t.one("declined", nil),
			fate:   planned(double.Plan{Final: "fail", Channel: "insufficient balance", NoCallback: true}),
			vendor: nothing, events: []string{"failed"},
		}, {
			title: "refused by the gateway", sends: t.one("refused", nil), fate: planned(double.Plan{Refuse: "pay_type is not open"}),
			vendor: nothing, events: []string{"failed"},
		}, {
			title: "pending, settled by callback", sends: t.one("pending-callback", nil), by: "callback",
			fate:   planned(double.Plan{Pending: true, After: 1500 * time.Millisecond, QueryErrors: 1000}),
			vendor: charged, events: []string{"pending", "succeeded"},
		}, {
			title: "pending, settled by query", sends: t.one("pending-query", nil),
			fate:   planned(double.Plan{Pending: true, Queries: 2, NoCallback: true}),
			vendor: charged, events: []string{"pending", "succeeded"},
		}, {
			title: "reply lost after the charge", sends: t.one("lost-reply", nil),
			fate:   planned(double.Plan{DropReply: true, NoCallback: true}),
			vendor: charged, events: []string{"succeeded"},
		}, {
			title: "502 after the charge, query lags", sends: t.one("lagging-query", nil),
			fate:   planned(double.Plan{Status: 502, QueryLag: time.Second, NoCallback: true}),
			vendor: charged, events: []string{"succeeded"},
		}, {
			title: "request lost before the charge", sends: t.one("lost-request", nil),
			fate: fate{order: func(attempt int) double.Plan {
				return double.Plan{DropRequest: attempt == 1, NoCallback: true}
			}},
			vendor: charged, events: []string{"succeeded"},
		}, {
			title:  "same command again",
			sends:  []send{t.one("again", nil)[0], t.one("again", nil)[0].later()},
			fate:   success,
			vendor: charged, events: []string{"succeeded"}, copies: 2,
		}, {
			title:  "duplicate: same order, new requestId",
			sends:  []send{t.one("duplicate", nil)[0], command(t.request("duplicate", 2), t.name("duplicate"), nil)},
			fate:   success,
			vendor: charged, events: []string{"succeeded", "duplicate"},
		}, {
			title:  "conflict: same order, new amount",
			sends:  []send{t.one("conflict", nil)[0], command(t.request("conflict", 2), t.name("conflict"), amount("999.00"))},
			fate:   success,
			vendor: charged, events: []string{"succeeded", "rejected", deadLetter},
		}, {
			title:  "requestId reused for another order",
			sends:  []send{t.one("reused", nil)[0], command(t.request("reused", 1), t.name("reused-other"), nil).later()},
			fate:   success,
			vendor: charged, events: []string{"succeeded", "rejected", deadLetter},
		}, {
			title: "forged callback says \"fail\" first", sends: t.one("forged", nil), by: "callback",
			fate:   planned(double.Plan{Pending: true, After: 1500 * time.Millisecond, QueryErrors: 1000, Forged: true}),
			vendor: charged, events: []string{"pending", "succeeded"},
		}, {
			title:  "invalid: amount 1e2, unknown field",
			sends:  t.one("invalid", func(f map[string]any) { f["amount"], f["currency"] = "1e2", "CNY" }),
			fate:   success,
			vendor: nothing, events: []string{"rejected", deadLetter},
		}, {
			title:  "invalid: not JSON",
			sends:  []send{{key: t.name("not-json"), value: []byte("amount=100.00")}},
			fate:   success,
			vendor: nothing, events: []string{"rejected", deadLetter},
		},
	}
}

// queries are the stories of single-order-query.
func (t teller) queries() []row {
	query := func(name, order string) send {
		return message(t.request(name, 1), map[string]any{"requestId": t.request(name, 1), "biz_order_no": order}, nil)
	}
	settled, unknown := t.name("success"), t.name("nowhere")
	return []row{
		{
			title: "about a settled order", sends: []send{query("query-settled", settled).later(settled)}, about: []string{settled},
			vendor: "1 × 100.00", events: []string{"answered succeeded"},
		}, {
			title: "about an order that nobody knows", sends: []send{query("query-unknown", unknown)}, about: []string{unknown},
			vendor: nothing, events: []string{"answered missing"},
		},
	}
}

func (t teller) prebind(name string) send {
	return message(t.request(name, 1), map[string]any{
		"requestId": t.request(name, 1), "pay_type": "101", "name": nobody, "id_card_number": nobodyID,
		"mobile": nobodyMobile, "bank_card_number": nobodyCard,
	}, nil)
}

// prebinds are the stories of pre-tied-card, of which each submission is a text message to a person.
func (t teller) prebinds() []row {
	const sent = "1 SMS"
	return []row{
		{
			title: "success", sends: []send{t.prebind("prebind")},
			vendor: sent, events: []string{"succeeded"},
		}, {
			title: "refused by the gateway", sends: []send{t.prebind("prebind-refused")},
			fate:   fate{card: double.Plan{Refuse: "the card is not supported"}},
			vendor: nothing, events: []string{"failed"},
		}, {
			title: "reply lost: not sent again", sends: []send{t.prebind("prebind-lost")},
			fate:   fate{card: double.Plan{DropReply: true}},
			vendor: sent, events: []string{"unknown"},
		}, {
			title: "same command again", sends: []send{t.prebind("prebind-again"), t.prebind("prebind-again").later()},
			vendor: sent, events: []string{"succeeded"}, copies: 2,
		},
	}
}

// confirms are the stories of confirm-tied-card; each needs the unique_code that a prebind was answered with.
func (t teller) confirms() []row {
	confirm := func(name, code, prebind string) row {
		s := send{key: t.request(name, 1), make: func(seen []event) []byte {
			return encode(map[string]any{
				"requestId": t.request(name, 1), "pay_type": "101", "bank_card_number": nobodyCard,
				"verification_code": code, "unique_code": seen[0].uniqueCode,
			})
		}}
		return row{sends: []send{s.later(t.request(prebind, 1))}, about: []string{t.request(prebind, 1)}}
	}
	right, wrong := confirm("confirm", double.Code, "prebind"), confirm("confirm-wrong", "000000", "prebind-again")
	right.title, right.vendor, right.events = "success", "1 card tied", []string{"succeeded"}
	wrong.title, wrong.vendor, wrong.events = "wrong verification code", nothing, []string{"failed"}
	return []row{right, wrong}
}
