package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"paydispatch/internal/vendors/catalog"
	identity "paydispatch/internal/vendors/sim/esign"
	double "paydispatch/internal/vendors/sim/withhold"
)

// What the scenarios of the other kinds of commands are made of: polls (effect read), cards (effect once) and questions
// about orders (effect read, through operation.Relay).

const (
	pollTopic  = "identity.poll"
	queryTopic = "withhold.query"
	cardTopic  = "withhold.card.prebind"
)

const (
	appID     = "app_sim"
	appSecret = "secret of the app in sim"
	hintPath  = "/callbacks/esign"
)

// flow is one identity flow and its life at the vendor.
type flow struct {
	no   string
	plan identity.Plan
	// begins is when the vendor knows it, 0 for at the first question.
	begins time.Duration
	// byHand is when a person at the vendor ends it, 0 for never; so is how.
	byHand time.Duration
	so     bool
	// hints are when the vendor calls back though nothing has ended, and with which word.
	hints []hint
}

// hint is an authentic callback with a word that proves nothing: it may be about one step of the flow only.
type hint struct {
	at      time.Duration
	success bool
}

// polls adds identity flows and the polls of them.
func (s *scenario) polls(rng *rand.Rand) {
	s.specs = append(s.specs, catalog.IdentityPoll())
	for i := range 1 + rng.IntN(2) {
		f := newFlow(rng, fmt.Sprintf("F%d", i+1))
		s.flows[f.no] = f
		first := poll(fmt.Sprintf("P%d", i+1), f.no, "", at(rng))
		s.messages = append(s.messages, first)
		for range rng.IntN(3) {
			s.messages = append(s.messages, s.morePolls(rng, first))
		}
		if f.byHand > 0 && rng.IntN(2) == 0 {
			// Asked anew when the first poll has found no end.
			s.messages = append(s.messages, poll(fmt.Sprintf("A%d", i+1), f.no, "", first.at+deadline+between(rng, 5*time.Second, 40*time.Second)))
			s.late = true
		}
	}
}

func (s *scenario) morePolls(rng *rand.Rand, first message) message {
	m := first
	m.at = first.at + between(rng, 0, 90*time.Second)
	switch n := len(s.messages); rng.IntN(6) {
	case 0: // the producer wrote it twice
	case 1:
		m.key = ""
	case 2, 3:
		m = poll(fmt.Sprintf("D%d", n), first.order, "", m.at)
	case 4:
		m = poll(fmt.Sprintf("C%d", n), first.order, "main", m.at)
	case 5:
		m = poll(s.messages[0].request, first.order, "", m.at) // the requestId of a debit
	}
	return m
}

func poll(request, flowNo, account string, at time.Duration) message {
	fields := map[string]string{"requestId": request, "flowId": flowNo}
	if account != "" {
		fields["account"] = account
	}
	m := encoded(fields, at)
	m.topic, m.key, m.request, m.order, m.detail = pollTopic, flowNo, request, flowNo, account
	return m
}

// newFlow draws a life of some steps and an end, or none.
func newFlow(rng *rand.Rand, no string) *flow {
	f := &flow{no: no}
	p := &f.plan
	if rng.IntN(3) > 0 {
		p.NotifyURL = base + hintPath
	}
	p.NotifyFailure, p.Webhook = rng.IntN(2) == 0, rng.IntN(2) == 0
	p.CallbackTwice, p.Forged = rng.IntN(3) == 0, rng.IntN(2) == 0
	var after time.Duration
	for range rng.IntN(5) {
		after += between(rng, time.Second, 30*time.Second)
		step := identity.Step{After: after, Process: pick(rng, "INIT", "CREATED", "CREATED", "UN_RECEIVED", "PAY_FAILED", "UNHEARD_OF")}
		step.AuthLetter = pick(rng, "", "", "AUDITING", "REFUSED")
		if rng.IntN(10) == 0 {
			step.Code, step.Process = 30500002, "" // while the outline says that it goes on
		}
		p.Steps = append(p.Steps, step)
	}
	after += between(rng, time.Second, 40*time.Second)
	end := []identity.Step{
		{Process: "ORGANFINISHED"}, {Process: "ORGANFINISHED"}, {Process: "ORGANFINISHED", AuthLetter: "PASSED"},
		{Process: "PAY_FAILED", Outline: "FAIL", FailReason: "打款失败"},
		{Code: 30500002, Outline: "SUCCESS"}, {Code: 30500002, Outline: "FAIL"}, {Code: 30500003, Outline: "FAIL"},
	}
	if i := rng.IntN(len(end) + 2); i < len(end) {
		end[i].After = after
		p.Steps = append(p.Steps, end[i])
	} else {
		p.Steps = append(p.Steps, identity.Step{After: after, Process: "CREATED"})
		if rng.IntN(3) > 0 {
			f.byHand, f.so = deadline+between(rng, 10*time.Second, 90*time.Second), rng.IntN(2) == 0
		}
	}
	if rng.IntN(2) == 0 {
		f.begins = at(rng)
	}
	for range rng.IntN(3) {
		f.hints = append(f.hints, hint{between(rng, time.Second, time.Minute), rng.IntN(2) == 0})
	}
	return f
}

func pick(rng *rand.Rand, words ...string) string { return words[rng.IntN(len(words))] }

// told is the body of an organization's end of identification.
func told(flowNo string, success bool) string {
	body, err := json.Marshal(map[string]any{"flowId": flowNo, "serviceId": flowNo, "success": success, "status": success})
	must(err)
	return string(body)
}

// signed are the headers of a callback under a secret.
func signed(secret, body string) http.Header {
	stamp := fmt.Sprintf("%013d", time.Now().UnixMilli())
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("X-Tsign-Open-App-Id", appID)
	h.Set("X-Tsign-Open-Timestamp", stamp)
	h.Set("X-Tsign-Open-Signature-Algorithm", "hmac-sha256")
	h.Set("X-Tsign-Open-Signature", signature(secret, stamp, body))
	return h
}

func signature(secret, stamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + body))
	return hex.EncodeToString(mac.Sum(nil))
}

// flowOf reads a signed callback, and whether its signature does not fit.
func flowOf(h http.Header, body string) (flowNo string, forged bool) {
	var fields struct{ FlowID string }
	must(json.Unmarshal([]byte(body), &fields))
	return fields.FlowID, h.Get("X-Tsign-Open-Signature") != signature(appSecret, h.Get("X-Tsign-Open-Timestamp"), body)
}

// cards adds requests to tie cards.
func (s *scenario) cards(rng *rand.Rand) {
	s.specs = append(s.specs, catalog.CardPrebind())
	for i := range 1 + rng.IntN(3) {
		first := tie(fmt.Sprintf("T%d", i+1), "101", mobile, at(rng))
		s.refused[first.request] = rng.IntN(4) == 0
		s.messages = append(s.messages, first)
		for range rng.IntN(3) {
			s.messages = append(s.messages, s.moreCards(rng, first))
		}
	}
}

func (s *scenario) moreCards(rng *rand.Rand, first message) message {
	m := first
	m.at = first.at + at(rng)
	switch n := len(s.messages); rng.IntN(7) {
	case 0, 1: // the producer wrote it twice
	case 2:
		m.key = ""
	case 3: // and again, much later
		m.at += between(rng, 20*time.Second, 100*time.Second)
	case 4:
		m = tie(first.request, "201", mobile, m.at)
	case 5:
		m = tie(fmt.Sprintf("I%d", n), "101", "no number", m.at)
		m.valid = false
	case 6:
		m = tie(s.messages[0].request, "101", mobile, m.at) // the requestId of a debit
	}
	return m
}

func tie(request, payType, phone string, at time.Duration) message {
	m := encoded(map[string]string{
		"requestId": request, "bank_card_number": card, "name": person, "id_card_number": idCard, "mobile": phone, "pay_type": payType,
	}, at)
	m.topic, m.key, m.request, m.order, m.detail = cardTopic, request, request, request, payType
	return m
}

// cardScript is the double's: a card is tied, or refused with words that quote it.
func (s *scenario) cardScript(_, request string, attempt int) double.Plan {
	if s.refused[request] && (attempt == 1 || !s.relents) {
		return double.Plan{Refuse: "预绑卡失败 " + card}
	}
	return double.Plan{}
}

// queries adds questions about the orders, some of them long after the orders were given up.
func (s *scenario) queries(rng *rand.Rand) {
	s.specs = append(s.specs, catalog.WithholdQuery())
	orders := s.messages
	for i := range 1 + rng.IntN(3) {
		about := orders[rng.IntN(len(orders))]
		when := between(rng, 0, time.Minute)
		if s.accounts && rng.IntN(2) == 0 { // while the order is under way
			when = about.at + between(rng, 0, 10*time.Second)
		}
		m := question(fmt.Sprintf("Q%d", i+1), about.order, s.asked(rng, about.order), when)
		if o := s.orders[about.order]; o != nil && o.plan.Pending && o.plan.After == 0 && o.plan.Queries == 0 {
			// Nobody but a question finds out what became of it after its deadline.
			o.plan.NoCallback = rng.IntN(2) == 0
			o.byHand = deadline + time.Minute
			m.at = o.byHand + between(rng, 0, time.Minute)
			s.late = true
		}
		s.messages = append(s.messages, m)
		for range rng.IntN(2) {
			s.messages = append(s.messages, s.moreQueries(rng, m))
		}
	}
}

func (s *scenario) moreQueries(rng *rand.Rand, first message) message {
	m := first
	m.at = first.at + at(rng)
	switch rng.IntN(4) {
	case 0: // the producer wrote it twice
	case 1:
		m.key = ""
	case 2:
		m = question(first.request, "B9", "", m.at)
	case 3:
		m = question(fmt.Sprintf("E%d", len(s.messages)), "B9", "", m.at) // nobody ever debited it
	}
	return m
}

func question(request, orderNo, account string, at time.Duration) message {
	fields := map[string]string{"requestId": request, "biz_order_no": orderNo}
	if account != "" {
		fields["account"] = account
	}
	m := encoded(fields, at)
	m.topic, m.key, m.request, m.order, m.detail = queryTopic, request, request, request, orderNo
	return m
}
