package app

import (
	"time"

	"paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/sim/esign"
)

// polls are the stories of e签宝's identity flows.
func (t teller) polls() []row {
	poll := func(name string) []send {
		return []send{message(t.name(name), map[string]any{"requestId": t.request(name, 1), "flowId": t.name(name)}, nil)}
	}
	return []row{
		{
			title: "progress, then finished", sends: poll("finishing"),
			fate: fate{flow: esign.Plan{Steps: []esign.Step{
				{Process: "INIT"}, {Queries: 2, Process: "CREATED"}, {Queries: 3, Process: "ORGANFINISHED"},
			}}},
			vendor: "ended: success", events: []string{"pending INIT", "pending CREATED", "answered ORGANFINISHED"},
		}, {
			title: "PAY_FAILED, confirmed by the outline", sends: poll("pay-failed"),
			fate:   fate{flow: esign.Plan{Steps: []esign.Step{{Process: "PAY_FAILED", Outline: "FAIL", FailReason: "account closed"}}}},
			vendor: "ended: fail", events: []string{"failed PAY_FAILED"},
		}, {
			title: "PAY_FAILED, but the flow goes on", sends: poll("paid-again"),
			fate: fate{flow: esign.Plan{Steps: []esign.Step{
				{Process: "PAY_FAILED"}, {Queries: 2, Process: "ORGANFINISHED"},
			}}},
			vendor: "ended: success", events: []string{"pending PAY_FAILED", "answered ORGANFINISHED"},
		}, {
			// The next poll after the flow's end would come in ten minutes.
			title: "forged callback, then a signed one", sends: poll("called-back"),
			fate: fate{flow: esign.Plan{Forged: true, Steps: []esign.Step{
				{Process: "INIT"}, {After: 2500 * time.Millisecond, Process: "ORGANFINISHED"},
			}}},
			vendor: "ended: success", events: []string{"pending INIT", "answered ORGANFINISHED"},
		}, {
			title: "a flow that nobody knows", sends: poll("no-flow"), fate: fate{flow: esign.Plan{Missing: true}},
			vendor: "no such flow", events: []string{"failed"},
		},
	}
}

// receivers are the stories of DaxPay's receivers of a profit share.
func (t teller) receivers() []row {
	ask := func(name string, fields map[string]any) row {
		fields["requestId"] = t.request(name, 1)
		return row{sends: []send{message(t.request(name, 1), fields, nil)}, about: []string{t.name(name)}}
	}
	about := func(name string) row { return ask(name, map[string]any{"receiverNo": t.name(name)}) }
	stored := func(name, channel string) daxpay.Receiver {
		return daxpay.Receiver{
			ReceiverNo: t.name(name), Channel: channel, ReceiverType: "wx_personal", ReceiverAccount: "oNobody000000001",
			ReceiverName: nobody, RelationType: "STAFF", RelationName: "staff",
		}
	}
	found, none, wrong := about("found"), about("none"), about("wrong-sign")
	neither := ask("neither", map[string]any{"clientIp": "127.0.0.1"})
	found.title, found.vendor, found.events = "found", "1 question", []string{"answered 2 receivers"}
	found.receivers = []daxpay.Receiver{stored("found", "ali_pay"), stored("found", "wechat_pay")}
	none.title, none.vendor, none.events = "nobody found", "1 question", []string{"answered 0 receivers"}
	wrong.title, wrong.vendor, wrong.events = "wrongly signed answer: asked again", "2 questions", []string{"answered 1 receiver"}
	wrong.receivers = []daxpay.Receiver{stored("wrong-sign", "ali_pay")}
	wrong.fate = fate{receiver: func(attempt int) daxpay.Plan { return daxpay.Plan{WrongSign: attempt == 1} }}
	neither.title, neither.vendor, neither.events = "invalid: neither channel nor number", nothing, []string{"rejected", deadLetter}
	return []row{found, none, wrong, neither}
}
