// Package withhold is a strict double of the withhold gateway (seed 001) that tells on us: it checks every envelope,
// sign and ciphertext, charges every submission that it accepts, the same biz_order_no twice included, keeps a ledger
// of it, sends a text message for every pre-tied-card that it accepts and keeps a ledger of those too, misbehaves by
// script and sends callbacks.
//
// It is built from the document alone and shares no code with the adapter, not even the cipher, so that a mistake in
// one does not hide in the other. It knows AES-128, -192 and -256-ECB by the key's length; other settings need
// [Config.Open].
//
// It rolls no dice and reads no clock but through the time package, so it runs in a synctest bubble; [Config.Gate] lets
// a simulation decide the order of its actions and which of them get lost. It is for the sandbox, tests and the bench:
// nothing of it belongs into a service.
//
// Callers must Close it, and must not serve requests afterwards.
package withhold

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Verdict is what a gate lets happen.
type Verdict uint8

const (
	// Proceed is the zero value.
	Proceed Verdict = iota
	// Drop loses the request or the reply: the connection closes.
	Drop
	// Hang loses it silently: nothing comes until the client gives up.
	Hang
)

// Config of a [Gateway]. The zero value but Accounts is usable.
type Config struct {
	// Accounts are the keys by ua.
	Accounts map[string]string
	// Open decrypts args; nil means AES-ECB with PKCS7 in Base64, sized by the key.
	Open func(key, args string) ([]byte, error)
	// RefuseDuplicates refuses a biz_order_no that has an order, with "-1". Without it each submission is a charge.
	RefuseDuplicates bool
	// Latency passes before each request is acted on.
	Latency time.Duration
	// NotFound is the message of a query for an unknown order; "" means 订单不存在.
	NotFound string
	// Script decides the fate of the attempt-th submission (from 1) of an order; nil means success at once.
	Script func(order string, attempt int) Plan
	// CardScript decides the fate of the attempt-th submission (from 1) of a request of pre-tied-card or
	// confirm-tied-card; nil means success at once. What a Plan says of orders and callbacks does not count.
	CardScript func(method, requestID string, attempt int) Plan
	// Gate is asked before each action and before each reply, on the handler's goroutine; nil means Proceed. Ops are
	// "<method>/<order>/<requestId>/act", ".../wake" (after a scripted wait), ".../reply" ("-" where a method has no
	// order), "settle/<order>" and
	// "callback/<order>/<try>". A gate that waits must return when ctx ends, which is when the gateway closes; that a
	// client has left does not stop a gateway from acting.
	Gate func(ctx context.Context, op string) Verdict
	// Callbacks sends the callbacks; nil means a client of its own with 5 s timeout.
	Callbacks *http.Client
	// CallbackRetry are the waits between tries; nil means 1 s, 5 s, 15 s, 1 min. A try succeeded when the answer is
	// HTTP 200 with the body "success".
	CallbackRetry []time.Duration
}

// Plan is the fate of one submission. The zero value: charged, success at once, answered, called back if asked to.
type Plan struct {
	// Refuse refuses before the charge, with status -1 and this message; nothing is recorded.
	Refuse string
	// DropRequest closes the connection before anything is done.
	DropRequest bool
	// Slow passes before the charge. The charge happens even if the client has left.
	Slow time.Duration

	// Final is "success" (also "") or "fail".
	Final string
	// Channel is channel_response of a failed order.
	Channel string
	// Pending answers pending and settles later: after After (if not 0), at the Queries-th query (if not 0), whichever
	// comes first; never, if both are 0.
	Pending bool
	After   time.Duration
	Queries int
	// QueryLag: queries do not know the order until this long after the charge.
	QueryLag time.Duration
	// QueryErrors: the first queries that meet the order, so many, get HTTP 502.
	QueryErrors int

	// The rest strikes the reply, after the charge.
	DropReply bool
	HangReply bool
	// SlowReply passes before the reply.
	SlowReply time.Duration
	// Status answers with this HTTP status instead of 200, and an HTML page.
	Status int
	// Garbage answers 200 with a body that is no reply.
	Garbage bool
	// RefuseAfter answers -1 with this message although the charge stands, as for a duplicate.
	RefuseAfter string

	// NoCallback sends none although notify_url is given.
	NoCallback bool
	// CallbackForm sends it as a form instead of JSON.
	CallbackForm bool
	// CallbackTwice sends it once more after its success.
	CallbackTwice bool
	// CallbackEarly sends it before the reply to the submission and waits for its first try.
	CallbackEarly bool
	// Forged sends, before the order's own callback, one with the contrary pay_status, a fitting sign and the last
	// segment of notify_url's path replaced: what someone without the token could send.
	Forged bool
}

// Entry is one submission that the gateway accepted: one line of the ledger.
type Entry struct {
	Order      string
	PayOrderNo string
	UA         string
	// Amount is the decimal text that was submitted.
	Amount  string
	PayType string
	// At is when it was accepted.
	At time.Time
	// Status is pending, success or fail; success means that the money moved.
	Status string
	// Queries are the queries that were answered with this entry.
	Queries int

	plan    Plan
	notify  string
	settled time.Time
	denied  time.Time // queries do not know it until then
}

// account is an order as one ua knows it: two accounts may have orders of one number, and neither sees the other's.
type account struct{ ua, order string }

// Gateway is the double. It is an http.Handler and safe for concurrent use.
type Gateway struct {
	config Config
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	entries  []*Entry
	byOrder  map[string][]*Entry // of all accounts
	attempts map[string]int      // by order, of all accounts
	tried    map[account]int
	ties     []*Tie
	// cardAttempts are the submissions of the card methods by "<method>/<requestId>".
	cardAttempts map[string]int
	complaints   []string
	requests     int
	callbacks    int
}

// New returns a running gateway.
func New(c Config) *Gateway {
	if c.NotFound == "" {
		c.NotFound = "订单不存在"
	}
	if c.Open == nil {
		c.Open = openECB
	}
	if c.Gate == nil {
		c.Gate = func(context.Context, string) Verdict { return Proceed }
	}
	if c.Script == nil {
		c.Script = func(string, int) Plan { return Plan{} }
	}
	if c.CardScript == nil {
		c.CardScript = func(string, string, int) Plan { return Plan{} }
	}
	if c.Callbacks == nil {
		c.Callbacks = &http.Client{Timeout: 5 * time.Second}
	}
	if c.CallbackRetry == nil {
		c.CallbackRetry = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute}
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Gateway{
		config: c, ctx: ctx, stop: stop,
		byOrder: map[string][]*Entry{}, attempts: map[string]int{}, tried: map[account]int{}, cardAttempts: map[string]int{},
	}
}

// Close stops settling and calling back, cuts requests short and waits for all of it.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	g.work.Wait()
	g.config.Callbacks.CloseIdleConnections()
}

// Ledger returns all accepted submissions in order.
func (g *Gateway) Ledger() []Entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Entry, len(g.entries))
	for i, e := range g.entries {
		out[i] = *e
	}
	return out
}

// Summary is one order's part of the ledger.
type Summary struct {
	Order  string
	Amount string
	// Status of the latest submission.
	Status string
	// Accepted submissions, and those of them that moved money; more than one is a double charge.
	Accepted, Moved int
	// Attempts are all submissions, refused and lost ones included.
	Attempts int
}

// Orders returns a summary of each order that was ever submitted, by order number.
func (g *Gateway) Orders() []Summary {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Summary
	for order := range g.attempts {
		out = append(out, g.summary(order))
	}
	slices.SortFunc(out, func(a, b Summary) int { return strings.Compare(a.Order, b.Order) })
	return out
}

// Order returns the summary of one order in all accounts; all is zero but its number if it was never submitted.
func (g *Gateway) Order(order string) Summary {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.summary(order)
}

// OrderOf is Order in the account of one ua; Attempts are those of all.
func (g *Gateway) OrderOf(ua, order string) Summary {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sum(order, g.of(ua, order))
}

// Enter writes an order into the ledger as if another client of the account had submitted it.
func (g *Gateway) Enter(ua, order, amount, payType string, plan Plan) {
	g.mu.Lock()
	e := g.accept(ua, withholdParams{BizOrderNo: order, Amount: amount, PayType: payType}, plan)
	g.mu.Unlock()
	g.follow(e)
}

// of returns the entries of an order in one account. The caller holds the lock.
func (g *Gateway) of(ua, order string) []*Entry {
	var own []*Entry
	for _, e := range g.byOrder[order] {
		if e.UA == ua {
			own = append(own, e)
		}
	}
	return own
}

// Moves is how many times money moved for the order.
func (g *Gateway) Moves(order string) int { return g.Order(order).Moved }

func (g *Gateway) summary(order string) Summary { return g.sum(order, g.byOrder[order]) }

func (g *Gateway) sum(order string, entries []*Entry) Summary {
	s := Summary{Order: order, Attempts: g.attempts[order]}
	for _, e := range entries {
		s.Accepted++
		s.Status, s.Amount = e.Status, e.Amount
		if e.Status == "success" {
			s.Moved++
		}
	}
	return s
}

// Complaints are the requests that broke the document: wrong sign, unsorted parameters, missing fields …
func (g *Gateway) Complaints() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.complaints)
}

// Requests is how many requests arrived.
func (g *Gateway) Requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// Callbacks is how many callbacks were tried, forged ones included.
func (g *Gateway) Callbacks() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.callbacks
}

// Settle gives the latest pending submission of an order its final status by hand and calls back. It is an error if there
// is none.
func (g *Gateway) Settle(order, final string) error {
	if final != "success" && final != "fail" {
		return fmt.Errorf("settling: %q is neither success nor fail", final)
	}
	g.mu.Lock()
	var e *Entry
	for _, each := range g.byOrder[order] {
		if each.Status == "pending" {
			e = each
		}
	}
	if e == nil {
		g.mu.Unlock()
		return errors.New("settling: the order is not pending")
	}
	e.plan.Final = final
	g.settle(e)
	g.mu.Unlock()
	g.startCallback(e)
	return nil
}

// Deny has queries of one account deny an order for a while, although it is in the ledger.
func (g *Gateway) Deny(ua, order string, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.of(ua, order) {
		e.denied = time.Now().Add(d)
	}
}

// accept writes one submission into the ledger.
func (g *Gateway) accept(ua string, p withholdParams, plan Plan) *Entry {
	e := &Entry{
		Order: p.BizOrderNo, UA: ua, Amount: p.Amount, PayType: p.PayType, At: time.Now(), Status: "pending",
		plan: plan, notify: p.NotifyURL,
	}
	g.entries = append(g.entries, e)
	g.byOrder[e.Order] = append(g.byOrder[e.Order], e)
	e.PayOrderNo = fmt.Sprintf("P%s-%d", e.Order, len(g.byOrder[e.Order]))
	if !plan.Pending {
		g.settle(e)
	}
	return e
}

// settle moves the money, or decides that it never will. The caller holds the lock.
func (g *Gateway) settle(e *Entry) {
	if e.Status != "pending" {
		return
	}
	e.Status, e.settled = "success", time.Now()
	if e.plan.Final == "fail" {
		e.Status = "fail"
	}
}

// background runs f on a goroutine that Close waits for; nothing starts after Close.
func (g *Gateway) background(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return
	}
	g.work.Go(f)
}

// sleep reports whether the time passed before Close.
func (g *Gateway) sleep(d time.Duration) bool {
	if d <= 0 {
		return g.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-g.ctx.Done():
		return false
	}
}
