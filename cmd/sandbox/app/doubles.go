package app

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/sim/withhold"
)

// notFound is the gateway's wording of "no such order", and what the dispatcher is told about it.
const notFound = "订单不存在"

// doubles are the three vendors, and which order, request, flow or receiver meets which fate.
type doubles struct {
	gateway  *withhold.Gateway
	identity *esign.Gateway
	alloc    *daxpay.Server

	gatewayURL, identityURL, allocURL string
	closers                           []func()

	mu    sync.Mutex
	fates map[string]fate
	// notifyURL is where the ends of flows are told.
	notifyURL string
	// asked counts the questions by receiver number.
	asked map[string]int
}

// fate is what a vendor does with one order, request, flow or receiver number; the zero value is success at once.
type fate struct {
	order    func(attempt int) withhold.Plan
	card     withhold.Plan
	flow     esign.Plan
	receiver func(attempt int) daxpay.Plan
}

// startDoubles serves the three vendors. Latency is small, so that no answer comes before it could have been overtaken.
func startDoubles(s secrets) (*doubles, error) {
	const latency = 20 * time.Millisecond
	d := &doubles{fates: map[string]fate{}, asked: map[string]int{}}
	d.gateway = withhold.New(withhold.Config{
		Accounts: map[string]string{s.ua: s.key}, NotFound: notFound, Latency: latency,
		Script: d.order, CardScript: d.card,
	})
	d.identity = esign.New(esign.Config{Apps: map[string]string{s.app: s.appSecret}, Latency: latency, Script: d.flow})
	d.alloc = daxpay.New(daxpay.Config{Secret: s.allocSecret, Latency: latency, Script: d.receiver})
	gateway, err := withhold.Listen(d.gateway, "")
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, gateway.Close)
	identity, err := esign.Listen(d.identity, "")
	if err != nil {
		d.close()
		return nil, err
	}
	d.closers = append(d.closers, identity.Close)
	alloc, err := daxpay.Listen(d.alloc, "")
	if err != nil {
		d.close()
		return nil, err
	}
	d.closers = append(d.closers, alloc.Close)
	d.gatewayURL, d.identityURL, d.allocURL = gateway.URL, identity.URL, alloc.URL
	return d, nil
}

func (d *doubles) close() {
	for _, c := range d.closers {
		c()
	}
}

// follow makes what the rows speak of meet their fates.
func (d *doubles) follow(rows []row) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rows {
		names := r.keys()
		if r.topic == catalog.AllocReceiverQuery().Topic {
			names = r.subjects() // DaxPay never hears of a requestId
		}
		for _, name := range names {
			d.fates[name] = r.fate
		}
		for _, found := range r.receivers {
			d.alloc.Add(found)
		}
	}
}

func (d *doubles) of(name string) fate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fates[name]
}

func (d *doubles) order(order string, attempt int) withhold.Plan {
	if f := d.of(order); f.order != nil {
		return f.order(attempt)
	}
	return withhold.Plan{}
}

func (d *doubles) card(_, requestID string, _ int) withhold.Plan { return d.of(requestID).card }

// flow is called back wherever it is not the dispatcher's polls that find its end: one that ends by time.
func (d *doubles) flow(flow string) esign.Plan {
	plan := d.of(flow).flow
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(plan.Steps, func(s esign.Step) bool { return s.After > 0 }) {
		plan.NotifyURL = d.notifyURL
	}
	return plan
}

// callAt says where the ends of flows are told.
func (d *doubles) callAt(url string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notifyURL = url
}

func (d *doubles) receiver(_ int, q daxpay.Query) daxpay.Plan {
	d.mu.Lock()
	d.asked[q.ReceiverNo]++
	attempt, f := d.asked[q.ReceiverNo], d.fates[q.ReceiverNo]
	d.mu.Unlock()
	if f.receiver != nil {
		return f.receiver(attempt)
	}
	return daxpay.Plan{}
}

// complaints are the requests that broke a vendor's document.
func (d *doubles) complaints() []string {
	return slices.Concat(d.gateway.Complaints(), d.identity.Complaints(), d.alloc.Complaints())
}

// tells is what the vendor itself says of what a command topic is about.
func (d *doubles) tells(topic string, subjects []string) string {
	switch topic {
	case catalog.CardPrebind().Topic:
		return d.messages(subjects)
	case catalog.CardConfirm().Topic:
		return d.ties(subjects)
	case catalog.IdentityPoll().Topic:
		return d.outcome(subjects)
	case catalog.AllocReceiverQuery().Topic:
		return d.questions(subjects)
	}
	return money(d.moves(subjects))
}

// moves returns the amounts that moved for orders, from the gateway's ledger.
func (d *doubles) moves(orders []string) []string {
	var moved []string
	for _, e := range d.gateway.Ledger() {
		if slices.Contains(orders, e.Order) && e.Status == "success" {
			moved = append(moved, e.Amount)
		}
	}
	return moved
}

// messages counts the text messages that the gateway sent for requests.
func (d *doubles) messages(requests []string) string {
	n := 0
	for _, r := range requests {
		n += d.gateway.Messages(r)
	}
	return count(n, "SMS", "SMS")
}

// ties counts the cards that were tied by the text messages of requests.
func (d *doubles) ties(requests []string) string {
	n := 0
	for _, t := range d.gateway.Ties() {
		if slices.Contains(requests, t.RequestID) && t.Protocol != "" {
			n++
		}
	}
	return count(n, "card tied", "cards tied")
}

// outcome is how flows ended.
func (d *doubles) outcome(flows []string) string {
	for _, f := range flows {
		if d.of(f).flow.Missing {
			return "no such flow"
		}
		if ended := d.identity.Outcome(f); ended != "" {
			return "ended: " + ended
		}
	}
	return "goes on"
}

// questions counts those about receiver numbers that the server read.
func (d *doubles) questions(numbers []string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, no := range numbers {
		n += d.asked[no]
	}
	return count(n, "question", "questions")
}

func count(n int, one, more string) string {
	switch n {
	case 0:
		return "nothing"
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
