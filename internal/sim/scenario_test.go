package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/catalog"
	double "paydispatch/internal/vendors/sim/withhold"
)

// What no record, result or header may hold.
const (
	person = "张三丰"
	card   = "6222021234567890123"
	idCard = "11010119900307123X"
	mobile = "13800138000"
)

// slowestDecision is how long the vendor takes at most to settle what it settles by itself.
const slowestDecision = time.Minute

func personal() []string { return []string{person, card, idCard, mobile} }

// order is one biz_order_no and what the vendor will do with it.
type order struct {
	no string
	// account is whose order it is, "" for the default one.
	account string
	plan    double.Plan
	// refusals is how many submissions meet plan.Refuse; later ones are accepted.
	refusals int
	// byHand is when a person at the vendor settles it, 0 for never.
	byHand time.Duration
}

// message is one Kafka message that a producer will write.
type message struct {
	at    time.Duration
	topic string
	key   string // "" for none
	value []byte
	// skew is what its producer's clock adds to the time at which it is written; replayed says that it was written before.
	skew     time.Duration
	replayed bool
	// valid messages pass the schema; the rest must be rejected.
	valid bool
	// order is the operation's key; detail is what else two commands of one operation must share: the amount, the
	// order that is asked about, the pay_type, or the account.
	request, order, detail string
}

// content is what two commands of one order must share not to be in conflict.
func (m message) content() string { return m.topic + " " + m.order + " " + m.detail }

// operation tells orders, flows and requests of different topics apart.
func (m message) operation() string { return m.topic + " " + m.order }

// scenario is what one seed asks of the service.
type scenario struct {
	pace pace
	// specs are the command topics that it has; the first one is withhold.request.
	specs    []commands.Spec
	orders   map[string]*order
	flows    map[string]*flow
	refused  map[string]bool // by requestId: the gateway refuses to tie the card
	relents  bool            // and does so once only
	messages []message
	tokens   commands.Keyring
	// late: something is asked for long after the first deadline.
	late bool
	// accounts: orders and questions name accounts, and another account has orders of the same numbers.
	accounts bool
	foreign  []foreignOrder
	lifetime time.Duration // of a record
	strange  []strange
}

func newScenario(rng *rand.Rand, tokens commands.Keyring) *scenario {
	s := &scenario{
		specs: []commands.Spec{catalog.Withhold()}, tokens: tokens,
		orders: map[string]*order{}, flows: map[string]*flow{}, refused: map[string]bool{},
	}
	s.pace = easy()
	if rng.IntN(3) == 0 {
		s.pace = tight()
	}
	s.accounts = rng.IntN(4) == 0
	// More kinds of commands mean fewer of each, so that all seeds cost about the same.
	var others []func(*rand.Rand)
	for _, o := range []struct {
		add    func(*rand.Rand)
		chance int // in percent
	}{{s.polls, 33}, {s.cards, 45}, {s.queries, 33}} {
		if rng.IntN(100) < o.chance {
			others = append(others, o.add)
		}
	}
	if len(others) == 0 {
		s.debits(rng, 2+rng.IntN(3), 2+rng.IntN(5))
	} else {
		s.debits(rng, 1+rng.IntN(3), rng.IntN(4))
	}
	for _, add := range others {
		add(rng)
	}
	s.clocks(rng)
	s.strangers(rng)
	s.replays(rng)
	return s
}

// has reports whether commands of a topic are written.
func (s *scenario) has(topic string) bool {
	return slices.ContainsFunc(s.specs, func(spec commands.Spec) bool { return spec.Topic == topic })
}

// debits adds withhold orders and the messages beside the ordinary ones.
func (s *scenario) debits(rng *rand.Rand, n, extras int) {
	var firsts []message
	for i := range n {
		o := newOrder(rng, fmt.Sprintf("B%d", i+1))
		s.orders[o.no] = o
		s.abroad(rng, o)
		firsts = append(firsts, s.command(fmt.Sprintf("R%d", i+1), o.no, fmt.Sprintf("%d.50", 100+i), at(rng)))
	}
	s.messages = append(s.messages, firsts...)
	for range extras {
		s.more(rng, firsts[rng.IntN(n)])
	}
}

func at(rng *rand.Rand) time.Duration { return time.Duration(rng.IntN(20_000)) * time.Millisecond }

// between draws a duration to the millisecond.
func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.IntN(int((high-low)/time.Millisecond)))*time.Millisecond
}

// more adds one message beside the ordinary ones.
func (s *scenario) more(rng *rand.Rand, first message) {
	n := len(s.messages)
	m := first
	m.at = min(first.at+at(rng), 40*time.Second)
	switch rng.IntN(9) {
	case 0, 1: // the producer wrote it twice
	case 2: // and once without a key, so that another partition, and another process, may have it
		m.key = ""
	case 3, 4:
		m = s.command(fmt.Sprintf("D%d", n), first.order, first.detail, m.at)
	case 5:
		m = s.command(fmt.Sprintf("C%d", n), first.order, "999.99", m.at)
	case 6:
		o := newOrder(rng, fmt.Sprintf("X%d", n))
		s.orders[o.no] = o
		m = s.command(first.request, o.no, "77.00", m.at)
	case 7:
		bad := []string{"12.345", "0.00", "60000.00", "1e2"}[rng.IntN(4)]
		m = s.command(fmt.Sprintf("I%d", n), fmt.Sprintf("V%d", n), bad, m.at)
		m.valid = false
	case 8:
		m = message{at: m.at, topic: commandTopic, key: "junk", value: []byte(`{"requestId":"J1",`), order: "junk", request: "junk"}
	}
	if rng.IntN(4) == 0 && m.valid {
		m.key = ""
	}
	s.messages = append(s.messages, m)
}

func (s *scenario) command(request, orderNo, amount string, at time.Duration) message {
	fields := map[string]string{
		"requestId": request, "biz_order_no": orderNo, "amount": amount, "bank_card_number": card, "name": person,
		"id_card_number": idCard, "mobile": mobile, "pay_type": "101",
	}
	if o := s.orders[orderNo]; o != nil && o.account != "" {
		fields["account"] = o.account
	}
	m := encoded(fields, at)
	m.topic, m.key, m.request, m.order, m.detail = commandTopic, orderNo, request, orderNo, amount
	return m
}

// encoded is a valid message of these fields.
func encoded(fields map[string]string, at time.Duration) message {
	value, err := json.Marshal(fields)
	must(err)
	return message{at: at, value: value, valid: true}
}

func newOrder(rng *rand.Rand, no string) *order {
	seconds := func(low, high int) time.Duration {
		return time.Duration(low)*time.Second + time.Duration(rng.IntN((high-low)*1000))*time.Millisecond
	}
	o := &order{no: no}
	p := &o.plan
	p.NoCallback = rng.IntN(2) == 0
	p.CallbackForm, p.CallbackTwice = rng.IntN(3) == 0, rng.IntN(4) == 0
	p.CallbackEarly, p.Forged = rng.IntN(4) == 0, rng.IntN(3) == 0
	p.Channel = "余额不足 " + card
	if rng.IntN(3) == 0 {
		p.Final = "fail"
	}
	if rng.IntN(3) == 0 {
		p.QueryLag = min(seconds(0, 9), queryLag)
	}
	switch rng.IntN(12) {
	case 0, 1, 2:
		p.Pending, p.After = true, seconds(1, int(slowestDecision/time.Second))
	case 3:
		p.Pending, p.Queries = true, 1+rng.IntN(3)
	case 4:
		p.Pending = true // until the deadline, and perhaps for ever
		if rng.IntN(2) == 0 {
			o.byHand = deadline + time.Minute
		}
	case 5:
		p.Refuse, o.refusals = "余额校验失败 "+card, 1+rng.IntN(3)
	case 6:
		p.RefuseAfter = "订单号重复 " + mobile
	}
	return o
}

// script is the double's: the fate of the attempt-th submission.
func (s *scenario) script(orderNo string, attempt int) double.Plan {
	o, ok := s.orders[orderNo]
	if !ok {
		return double.Plan{}
	}
	plan := o.plan
	if attempt > o.refusals {
		plan.Refuse = ""
	}
	return plan
}

// about reads what a callback is about, and whether it is forged: a wrong token in its address, or a wrong signature.
func (s *scenario) about(path string, h http.Header, body string) (subject string, forged bool) {
	if path == hintPath {
		return flowOf(h, body)
	}
	return s.orderOfURL(path)
}

// orderOfURL reads a callback's address, and whether its token is not the order's.
func (s *scenario) orderOfURL(path string) (orderNo string, forged bool) {
	parts := strings.Split(path, "/")
	raw, err := base64.RawURLEncoding.DecodeString(parts[len(parts)-2])
	if err != nil {
		return "?", true
	}
	return string(raw), !s.tokens.VerifyToken(string(raw), parts[len(parts)-1])
}
