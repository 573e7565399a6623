package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/sim/withhold"
)

// What the doubles tell of persons: a receiver, and the accounts in an identity flow.
const (
	receiverAccount = "oGFfksxV31m0-WBPzPPXyABcDEFg"
	receiverName    = "上官收款"
	payeeNumber     = "30206857000001"
	payerNumber     = "1105011111111000018"
	payerName       = "XXXXX有限公司"
	wrongCode       = "Zx9Kq1wW"
)

// Every command topic with every way in which its commands can go, on one house: what the results say, what the vendors
// were asked, and what of all that must not be seen anywhere.
func TestEveryTopic(t *testing.T) {
	asked := counter{}
	h := open(t, stage{
		// No flow that stands still for two polls is polled a third time before the test is over.
		set:   map[string]string{"IDENTITY_TIERS": "300ms,600ms,10m"},
		order: func(order string, _ int) withhold.Plan { return orders()[order] },
		card:  func(_, request string, _ int) withhold.Plan { return cards()[request] },
		flow: func(flow string) esign.Plan {
			plan := flows()[flow]
			if slices.Contains([]string{"F-called-back", "F-told-fail", "F-waits"}, flow) {
				plan.NotifyURL = asked.url()
			}
			return plan
		},
		receiver: func(_ int, q daxpay.Query) daxpay.Plan {
			if asked.next(q.ReceiverNo) == 1 {
				return receivers()[q.ReceiverNo]
			}
			return daxpay.Plan{}
		},
		receivers: stored(),
	})
	h.ingest()
	asked.callAt(h.settings["CALLBACK_BASE_URL"] + "/callbacks/esign")
	h.dispatcher()
	for _, part := range []struct {
		name string
		test func(*house)
	}{
		{"withhold.query", (*house).testQueries},
		{"withhold.card", (*house).testCards},
		{"identity.poll", (*house).testPolls},
		{"a forged identity callback", (*house).testForgedHint},
		{"alloc.receiver.query", (*house).testReceivers},
		{"second accounts", (*house).testSecondAccounts},
		{"the same again, and another content", (*house).testRepetitions},
		{"nothing personal", (*house).testNothingPersonal},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(h.in(t)) }) {
			return
		}
	}
	require.Empty(t, slices.Concat(h.double.Complaints(), h.esign.Complaints(), h.alloc.Complaints(), h.alloc2.Complaints()),
		"a double found something wrong on the wire")
}

func orders() map[string]withhold.Plan {
	return map[string]withhold.Plan{"B-declined": {Final: "fail", Channel: "余额不足"}}
}

// testQueries asks about orders that the gateway knows, and about one that it does not.
func (h *house) testQueries() {
	query := func(request, order string, more ...string) string {
		return object(append([]string{"requestId", request, "biz_order_no", order}, more...)...)
	}
	h.send(command("R-settled", "B-settled", "1.00"), command("R-declined", "B-declined", "2.00"))
	orders := h.results(30*time.Second, settled("B-settled", "B-declined"))
	h.sendTo("withhold.query", query("Q-settled", "B-settled"), query("Q-declined", "B-declined"), query("Q-nowhere", "B-nowhere"))
	all := h.results(30*time.Second, settled("Q-settled", "Q-declined", "Q-nowhere"))
	for request, want := range map[string][3]string{
		"Q-settled": {"B-settled", "succeeded", "success"}, "Q-declined": {"B-declined", "failed", "fail"}, "Q-nowhere": {"B-nowhere", "missing", ""},
	} {
		answer := of(all, request)
		require.Equal(h.t, "answered", kinds(answer), request)
		said := answer[0].Data
		require.Equal(h.t, want, [3]string{said["biz_order_no"], said["state"], said["pay_status"]}, request)
	}
	require.Equal(h.t, of(orders, "B-settled")[0].Data["pay_order_no"], of(all, "Q-settled")[0].Data["pay_order_no"])
	require.Equal(h.t, "succeeded", kinds(of(all, "B-settled")), "the order's own verdict stands")
	require.Empty(h.t, of(all, "B-nowhere"), "an order that we never had stays nobody's")
}

func cards() map[string]withhold.Plan {
	return map[string]withhold.Plan{
		"P-refused": {Refuse: "卡种不支持 " + card},
		"P-lost":    {DropReply: true}, "P-never-came": {DropRequest: true}, "P-slow": {Slow: 1300 * time.Millisecond},
		"P-502": {Status: 502}, "P-garbage": {Garbage: true},
		"C-lost": {DropReply: true},
	}
}

func prebind(request string, more ...string) string {
	return object(append([]string{
		"requestId", request, "pay_type", "101", "name", person, "id_card_number", identity, "mobile", phone, "bank_card_number", card,
	}, more...)...)
}

// testCards: each submission of a prebind is a text message to a person, and none is ever made twice.
func (h *house) testCards() {
	const topic, method = "withhold.card.prebind", "pre-tied-card"
	want := map[string]struct {
		kind     string
		messages int
	}{
		"P-ok": {"succeeded", 1}, "P-other": {"succeeded", 1}, "P-third": {"succeeded", 1}, "P-refused": {"failed", 0},
		"P-lost": {"unknown", 1}, "P-never-came": {"unknown", 0}, "P-slow": {"unknown", 1}, "P-502": {"unknown", 1}, "P-garbage": {"unknown", 1},
	}
	var requests []string
	for request := range want {
		requests = append(requests, request)
		h.sendTo(topic, prebind(request))
	}
	all := h.resultsOf("withhold.card.result", 30*time.Second, settled(requests...))
	for request, w := range want {
		said := of(all, request)
		require.Equal(h.t, w.kind, kinds(said), request)
		require.Equal(h.t, 1, h.double.Submissions(method, request), "%s was sent again", request)
		if w.kind == "unknown" {
			require.Contains(h.t, said[0].Data["message"], "it was not sent again", "%s says why", request)
		}
	}
	require.Eventually(h.t, func() bool { return h.double.Messages("P-slow") == 1 }, 10*time.Second, 20*time.Millisecond)
	for request, w := range want {
		require.Equal(h.t, w.messages, h.double.Messages(request), request)
	}

	code := func(request string) string { return of(all, request)[0].Data["unique_code"] }
	confirm := func(request, code, unique string) string {
		return object("requestId", request, "pay_type", "101", "bank_card_number", card, "verification_code", code, "unique_code", unique)
	}
	h.sendTo("withhold.card.confirm", confirm("C-ok", withhold.Code, code("P-ok")), confirm("C-wrong", wrongCode, code("P-other")),
		confirm("C-lost", withhold.Code, code("P-third")))
	all = h.resultsOf("withhold.card.result", 30*time.Second, settled("C-ok", "C-wrong", "C-lost"))
	for request, kind := range map[string]string{"C-ok": "succeeded", "C-wrong": "failed", "C-lost": "unknown"} {
		require.Equal(h.t, kind, kinds(of(all, request)), request)
		require.Equal(h.t, 1, h.double.Submissions("confirm-tied-card", request), "%s was sent again", request)
	}
	ties := map[string]withhold.Tie{}
	for _, tie := range h.double.Ties() {
		ties[tie.RequestID] = tie
	}
	require.Equal(h.t, ties["P-ok"].Protocol, of(all, "C-ok")[0].Data["protocol_no"])
	require.NotEmpty(h.t, ties["P-ok"].Protocol)
	require.Empty(h.t, ties["P-other"].Protocol, "the wrong code tied nothing")
	require.NotEmpty(h.t, ties["P-third"].Protocol, "what is unknown may have happened")
	for _, topic := range []string{"withhold.card.prebind", "withhold.card.confirm"} {
		h.requireEmpty(topic+".delay.1s", topic+".delay.3s")
	}
}

func flows() map[string]esign.Plan {
	steps := func(s ...esign.Step) esign.Plan { return esign.Plan{Steps: s} }
	return map[string]esign.Plan{
		"F-progress": steps(esign.Step{Process: "INIT"}, esign.Step{Queries: 2, Process: "CREATED", AuthLetter: "ING"},
			esign.Step{Queries: 3, Process: "UN_RECEIVED", AuthLetter: "FAIL", Auditing: "名称不符 " + payerNumber}, esign.Step{Queries: 4, Process: "ORGANFINISHED"}),
		"F-failed":   steps(esign.Step{Process: "PAY_FAILED", Outline: "FAIL", FailReason: "账户 " + payeeNumber + " 已销户"}),
		"F-goes-on":  steps(esign.Step{Process: "PAY_FAILED"}, esign.Step{Queries: 2, Process: "ORGANFINISHED"}),
		"F-ended":    steps(esign.Step{Code: 30500002, Outline: "SUCCESS"}),
		"F-expired":  steps(esign.Step{Code: 30500003}),
		"F-missing":  {Missing: true},
		"F-new-word": steps(esign.Step{Process: "SOMETHING_NEW"}, esign.Step{Queries: 2, Process: "ORGANFINISHED"}),
		"F-troubled": steps(esign.Step{Process: "INIT", Fault: esign.Fault{Status: 502}},
			esign.Step{Queries: 2, Process: "INIT", Fault: esign.Fault{Auth: "INVALID_TIMESTAMP"}}, esign.Step{Queries: 3, Process: "ORGANFINISHED"}),
		"F-outline-away": steps(esign.Step{Process: "PAY_FAILED", OutlineFault: esign.Fault{Drop: true}},
			esign.Step{Queries: 2, Process: "PAY_FAILED", Outline: "FAIL"}),
		// Its end comes while the next poll is ten minutes away.
		"F-called-back": {Forged: true, CallbackTwice: true, Steps: []esign.Step{{Process: "INIT"}, {After: 2 * time.Second, Process: "ORGANFINISHED"}}},
		"F-told-fail": {NotifyFailure: true, Steps: []esign.Step{
			{Process: "INIT"}, {After: 2 * time.Second, Process: "PAY_FAILED", Outline: "FAIL"},
		}},
		"F-waits":  steps(esign.Step{Process: "INIT"}),
		"F-second": {App: app2},
		"F-theirs": {App: app2},
	}
}

func poll(request, flow string, more ...string) string {
	return object(append([]string{"requestId", request, "flowId", flow}, more...)...)
}

// testPolls follows flows to their ends.
func (h *house) testPolls() {
	want := map[string]string{
		"F-progress": "pending INIT, pending CREATED, pending UN_RECEIVED, answered ORGANFINISHED",
		"F-failed":   "failed PAY_FAILED", "F-goes-on": "pending PAY_FAILED, answered ORGANFINISHED",
		"F-ended": "answered", "F-expired": "failed", "F-missing": "failed",
		"F-new-word": "pending SOMETHING_NEW, answered ORGANFINISHED", "F-troubled": "answered ORGANFINISHED",
		"F-outline-away": "failed PAY_FAILED",
		"F-called-back":  "pending INIT, answered ORGANFINISHED", "F-told-fail": "pending INIT, failed PAY_FAILED",
	}
	var keys []string
	for flow := range want {
		keys = append(keys, flow)
		h.sendTo("identity.poll", poll("R-"+flow, flow))
	}
	all := h.resultsOf("identity.result", 30*time.Second, settled(keys...))
	for flow, story := range want {
		require.Equal(h.t, story, told(of(all, flow)), flow)
	}
	require.Equal(h.t, esign.Counts{Queries: 1, Outlines: 1}, h.esign.Counts("F-failed"), "a failed payment is confirmed by the outline")
	require.Equal(h.t, "fail", h.esign.Outcome("F-failed"))
	require.Eventually(h.t, func() bool { return h.esign.Callbacks() == 4 }, 10*time.Second, 20*time.Millisecond,
		"a forged one, a true one twice; and the failure")
	require.Equal(h.t, 2, h.esign.Counts("F-outline-away").Outlines, "nothing final was said before the outline answered")

	end := of(all, "F-progress")[3]
	var fields map[string]any
	require.NoError(h.t, json.Unmarshal([]byte(end.Raw), &fields))
	for _, name := range []string{
		"process", "message", "subAccount", "subAccountChannelName", "mainAccountName", "oppAccountNo", "oppAccountName", "oppBankName",
		"payAmount", "tradeTime", "createTime", "modifyTime", "bizFlowNo", "auditing", "authLetterAuditStatus",
	} {
		require.Contains(h.t, fields, name, "every field of the vendor arrives under its name")
	}
	require.Equal(h.t, "***0018", fields["oppAccountNo"])
	require.Equal(h.t, "0.01", fields["payAmount"])
	var waiting map[string]any
	require.NoError(h.t, json.Unmarshal([]byte(of(all, "F-progress")[2].Raw), &waiting))
	require.Nil(h.t, waiting["payAmount"], `the word "null" is null`)
	require.Contains(h.t, waiting, "payAmount")
}

// told writes events in words, each id once, in the order in which they came.
func told(all []event) string {
	var words []string
	seen := map[string]bool{}
	for _, e := range all {
		if !seen[e.ID] {
			seen[e.ID] = true
			words = append(words, strings.TrimSpace(e.Kind+" "+e.Data["process"]))
		}
	}
	return strings.Join(words, ", ")
}

// testForgedHint posts what a stranger could about a flow that is waited for: it does not even lead to a question.
func (h *house) testForgedHint() {
	h.sendTo("identity.poll", poll("R-waits", "F-waits"))
	h.resultsOf("identity.result", 20*time.Second, func(all []event) bool { return len(of(all, "F-waits")) > 0 })
	require.Eventually(h.t, func() bool { return h.esign.Counts("F-waits").Queries == 3 }, 20*time.Second, 20*time.Millisecond,
		"it was polled until the next delay is ten minutes")
	for name, header := range map[string]map[string]string{
		"no signature": {},
		"another signature": {
			"X-Tsign-Open-App-Id": app2, "X-Tsign-Open-TIMESTAMP": "1722300000000", "X-Tsign-Open-SIGNATURE-ALGORITHM": "hmac-sha256",
			"X-Tsign-Open-SIGNATURE": strings.Repeat("0", 64),
		},
	} {
		require.Equal(h.t, http.StatusNotFound, h.post("/callbacks/esign", header, `{"flowId":"F-waits","serviceId":"F-waits","success":true,"status":true}`), name)
	}
	require.Equal(h.t, 3, h.esign.Counts("F-waits").Queries)
	all := h.resultsOf("identity.result", 20*time.Second, func(all []event) bool { return len(of(all, "F-waits")) > 0 })
	require.Equal(h.t, "pending INIT", told(of(all, "F-waits")))

	require.NoError(h.t, h.esign.Finish("F-waits", true), "and the true one still counts")
	all = h.resultsOf("identity.result", 20*time.Second, settled("F-waits"))
	require.Equal(h.t, "pending INIT, answered ORGANFINISHED", told(of(all, "F-waits")))
}

// post calls callback-ingest and returns the status.
func (h *house) post(path string, header map[string]string, body string) int {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.settings["CALLBACK_BASE_URL"]+path, strings.NewReader(body))
	require.NoError(h.t, err)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(h.t, err)
	require.NoError(h.t, res.Body.Close())
	return res.StatusCode
}

func stored() []daxpay.Receiver {
	receiver := func(no, channel string) daxpay.Receiver {
		return daxpay.Receiver{
			ReceiverNo: no, Channel: channel, ReceiverType: "wx_personal", ReceiverAccount: receiverAccount, ReceiverName: receiverName,
			RelationType: "STAFF", RelationName: "员工",
		}
	}
	all := []daxpay.Receiver{receiver("A-two", "ali_pay"), receiver("A-two", "wechat_pay")}
	for no := range receivers() {
		all = append(all, receiver(no, "ali_pay"))
	}
	return append(all, receiver("A-second", "ali_pay"))
}

// receivers are the fates of the first question about a number.
func receivers() map[string]daxpay.Plan {
	return map[string]daxpay.Plan{
		"A-wrong-sign": {WrongSign: true}, "A-unsigned": {Unsigned: true}, "A-502": {Status: 502}, "A-garbage": {Garbage: true},
		"A-drop": {DropReply: true}, "A-system": {Fail: 10001, Message: "系统错误"}, "A-refused": {Refuse: "通道未开通"},
	}
}

func alloc(request string, more ...string) string {
	return object(append([]string{"requestId", request}, more...)...)
}

// testReceivers asks for receivers, and asks again where the answer cannot be believed.
func (h *house) testReceivers() {
	want := map[string]struct {
		kind             string
		found, questions int
	}{
		"A-two": {"answered", 2, 1}, "A-none": {"answered", 0, 1}, "A-refused": {"failed", -1, 1},
		"A-wrong-sign": {"answered", 1, 2}, "A-unsigned": {"answered", 1, 2}, "A-502": {"answered", 1, 2}, "A-garbage": {"answered", 1, 2},
		"A-drop": {"answered", 1, 2}, "A-system": {"answered", 1, 2},
	}
	var keys []string
	for no := range want {
		keys = append(keys, no)
		h.sendTo("alloc.receiver.query", alloc(no, "receiverNo", no))
	}
	h.sendTo("alloc.receiver.query", alloc("A-neither"), alloc("A-blank", "channel", " "), alloc("A-both", "receiverNo", "A-two", "channel", "ali_pay"))
	all := h.resultsOf("alloc.receiver.result", 30*time.Second, func(all []event) bool {
		return settled(append(keys, "A-both")...)(all) && len(of(all, "A-neither")) > 0 && len(of(all, "A-blank")) > 0
	})
	questions := map[string]int{}
	for _, q := range h.alloc.Questions() {
		questions[q.ReceiverNo+q.Channel]++
	}
	for no, w := range want {
		require.Equal(h.t, w.kind, kinds(of(all, no)), no)
		require.Equal(h.t, w.questions, questions[no], no)
		require.Equal(h.t, w.found, found(h.t, of(all, no)[0]), no)
	}
	require.Equal(h.t, 1, found(h.t, of(all, "A-both")[0]), "both narrow it down")
	for _, refused := range []string{"A-neither", "A-blank"} {
		require.Equal(h.t, "rejected", kinds(of(all, refused)))
	}
	require.Zero(h.t, questions[""]+questions[" "], "neither channel nor receiverNo is refused before any call")
	require.Contains(h.t, of(all, "A-two")[0].Raw, `"receiverAccount":"****DEFg"`)
	h.read("alloc.receiver.query.dlq", 20*time.Second, func(m []stream.Message) bool { return len(m) == 2 })
}

// found counts the receivers of an answer, -1 for none given.
func found(t *testing.T, e event) int {
	t.Helper()
	var data struct{ Receivers []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(e.Raw), &data))
	if data.Receivers == nil {
		return -1
	}
	return len(data.Receivers)
}

// testSecondAccounts: each account has its own name and keys at its vendor, which the doubles hold the requests to.
func (h *house) testSecondAccounts() {
	h.send(command("R-second", "B-second", "3.00", "account", second))
	h.results(30*time.Second, settled("B-second"))
	h.sendTo("withhold.query", object("requestId", "Q-second", "biz_order_no", "B-second", "account", second))
	h.sendTo("withhold.card.prebind", prebind("P-second", "account", second))
	h.sendTo("identity.poll", poll("R-F-second", "F-second", "account", second), poll("R-F-theirs", "F-theirs"))
	h.sendTo("alloc.receiver.query", alloc("A-second", "receiverNo", "A-second", "account", second))
	require.Equal(h.t, "succeeded", of(h.results(30*time.Second, settled("Q-second")), "Q-second")[0].Data["state"])
	h.resultsOf("withhold.card.result", 30*time.Second, settled("P-second"))
	flows := h.resultsOf("identity.result", 30*time.Second, settled("F-second", "F-theirs"))
	h.resultsOf("alloc.receiver.result", 30*time.Second, settled("A-second"))

	i := slices.IndexFunc(h.double.Ledger(), func(e withhold.Entry) bool { return e.Order == "B-second" })
	require.Equal(h.t, ua2, h.double.Ledger()[i].UA)
	i = slices.IndexFunc(h.double.Ties(), func(tie withhold.Tie) bool { return tie.RequestID == "P-second" })
	require.Equal(h.t, ua2, h.double.Ties()[i].UA)
	require.Equal(h.t, "answered ORGANFINISHED", told(of(flows, "F-second")))
	require.Equal(h.t, "failed", told(of(flows, "F-theirs")), "a flow is found only by the application that made it")
	require.Len(h.t, h.alloc2.Questions(), 1, "the second installation was asked, in its own sign type")
}

// testRepetitions: a request again gets the same event, byte for byte, and no vendor hears of it; the same request with
// another content is refused; another request for the same flow is told of the first.
func (h *house) testRepetitions() {
	before := h.double.Requests() + h.esign.Requests() + h.alloc.Requests()
	for _, c := range []struct{ topic, key, again, other, reason string }{
		{"withhold.query", "Q-settled", object("requestId", "Q-settled", "biz_order_no", "B-settled"), object("requestId", "Q-settled", "biz_order_no", "B-declined"), "request_reused"},
		{"withhold.card.prebind", "P-ok", prebind("P-ok"), prebind("P-ok", "account", second), "request_reused"},
		{"withhold.card.prebind", "P-lost", prebind("P-lost"), prebind("P-lost", "account", second), "request_reused"},
		{"identity.poll", "F-progress", poll("R-F-progress", "F-progress"), poll("R-stranger", "F-progress", "account", second), "order_reused"},
		{"alloc.receiver.query", "A-two", alloc("A-two", "receiverNo", "A-two"), alloc("A-two", "channel", "ali_pay"), "request_reused"},
	} {
		spec, _ := catalog.Find(c.topic)
		h.sendTo(c.topic, c.again, c.other)
		all := h.resultsOf(spec.ResultTopic, 30*time.Second, func(all []event) bool {
			return len(verdicts(of(all, c.key))) == 2 && slices.ContainsFunc(of(all, c.key), rejected)
		})
		said := verdicts(of(all, c.key))
		require.Equal(h.t, said[0], said[1], "%s: byte for byte, under one id", c.key)
		i := slices.IndexFunc(of(all, c.key), rejected)
		require.Equal(h.t, c.reason, of(all, c.key)[i].Data["reason"], c.key)
		h.read(c.topic+".dlq", 20*time.Second, func(m []stream.Message) bool { return find(m, c.other) != nil }) // with the original bytes
	}
	h.sendTo("identity.poll", poll("R-also", "F-progress"))
	all := h.resultsOf("identity.result", 30*time.Second, func(all []event) bool {
		return slices.ContainsFunc(of(all, "F-progress"), func(e event) bool { return e.Kind == commands.KindDuplicate })
	})
	i := slices.IndexFunc(all, func(e event) bool { return e.Kind == commands.KindDuplicate })
	require.Equal(h.t, "R-F-progress", all[i].Data["first_requestId"])
	require.Equal(h.t, verdicts(of(all, "F-progress"))[0].ID, all[i].Data["event_id"])
	require.Equal(h.t, before, h.double.Requests()+h.esign.Requests()+h.alloc.Requests(), "no vendor heard of any of it")
}

func rejected(e event) bool { return e.Kind == commands.KindRejected }

func verdicts(all []event) []event {
	return slices.DeleteFunc(slices.Clone(all), func(e event) bool { return !verdict(e) })
}

// testNothingPersonal looks at all that the house has logged, published and stored.
func (h *house) testNothingPersonal() {
	var all []event
	for _, topic := range []string{"withhold.result", "withhold.card.result", "identity.result", "alloc.receiver.result"} {
		all = append(all, h.resultsOf(topic, 20*time.Second, func(all []event) bool { return len(all) > 0 })...)
	}
	h.requireNothingPersonal(all)
	results := ""
	for _, e := range all {
		results += e.Raw
	}
	log := h.log.String()
	require.Contains(h.t, log, `"LOG_LEVEL":"DEBUG"`, "the log is as talkative as it can be")
	require.Contains(h.t, log, "vendor call failed", "and tells of what the vendors said")
	for _, unseen := range []string{receiverAccount, receiverName, payeeNumber, payerNumber, wrongCode} {
		for place, text := range map[string]string{"a log line": log, "a result": results, "Redis": h.remembered(h.t)} {
			require.NotContains(h.t, text, unseen, "in %s", place)
		}
	}
	// What a result must say is still not for the log.
	tokens := []string{payerName}
	for _, tie := range h.double.Ties() {
		tokens = append(tokens, tie.UniqueCode)
		if tie.Protocol != "" {
			tokens = append(tokens, tie.Protocol)
		}
	}
	for _, unseen := range tokens {
		require.NotContains(h.t, log, unseen)
	}
	alone := regexp.MustCompile(`(^|[^0-9A-Za-z.])` + withhold.Code + `([^0-9A-Za-z]|$)`)
	require.NotRegexp(h.t, alone, log, "the verification code")
	require.NotRegexp(h.t, alone, results, "the verification code")
}
