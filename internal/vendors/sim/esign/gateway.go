// Package esign is a strict double of the e签宝 gateway (seed 000) for identity flows: it rebuilds each request's
// signature from the headers that it received, knows the OAuth2 tokens that it gave, answers as the real gateway does
// (401 bodies, 403 for addresses, business codes in HTTP 200), plays flows by script, counts every call, misbehaves by
// script and sends callbacks.
//
// It is built from the documents alone and shares no code with the adapter, so that a mistake in one does not hide in
// the other.
//
// It rolls no dice and reads no clock but through the time package, so it runs in a synctest bubble; [Config.Gate] lets
// a simulation decide the order of its actions and which of them get lost. It is for the sandbox, tests and the bench:
// nothing of it belongs into a service.
//
// Callers must Close it, and must not serve requests afterwards.
package esign

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
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

// Config of a [Gateway]. The zero value but Apps is usable.
type Config struct {
	// Apps are the secrets by app id.
	Apps map[string]string
	// Script decides the life of a flow when it is first heard of; nil means finished at once.
	Script func(flow string) Plan
	// Latency passes before each request is acted on.
	Latency time.Duration
	// Window is how far a request's timestamp may be off; 0 means 15 minutes.
	Window time.Duration
	// TokenLife is how long a token lives; 0 means 2 hours. TokenGrace is how long the one before the newest goes on
	// living; 0 means 5 minutes.
	TokenLife, TokenGrace time.Duration
	// Allowed reports whether a caller's address is on the list; nil means that all are.
	Allowed func(r *http.Request) bool
	// Gate is asked before each action and before each reply, on the handler's goroutine; nil means Proceed. Ops are
	// "<query|outline|token>/<flow or app>/<peer>/<n>/act" and "…/reply", n counting this kind's calls for this flow or
	// app and peer, "turn/<flow>" when a flow ends by time, and "callback/<flow>/<try>". A gate that waits must return
	// when ctx ends, which is when the gateway closes.
	Gate func(ctx context.Context, op string) Verdict
	// Peer names a request's sender in ops, so that two at once can be told apart; nil means "-".
	Peer func(r *http.Request) string
	// Callbacks sends the callbacks; nil means a client of its own with 5 s timeout.
	Callbacks *http.Client
	// CallbackRetry are the waits between tries; nil means 1 s and 5 s. A try succeeded when the answer is HTTP 200.
	CallbackRetry []time.Duration
}

// Plan is the life of one flow. The zero value: finished with success at the first query.
type Plan struct {
	// App owns the flow, others do not find it; "" means that each app finds it. Its secret signs callbacks, that of the
	// first app by name if "".
	App string
	// Missing: there is no such flow.
	Missing bool
	// Steps are what the flow goes through. The last one whose After and Queries are both reached counts; before the
	// first, the flow is INIT.
	Steps []Step

	// NotifyURL is where the end is told; "" means nowhere.
	NotifyURL string
	// NotifyFailure tells a failure too, which is off by default at the vendor.
	NotifyFailure bool
	// Webhook adds action to the payload, as the platform's subscription does.
	Webhook bool
	// CallbackTwice sends it once more after its success.
	CallbackTwice bool
	// Forged sends, before the true callback, one with the contrary word and a signature that does not fit.
	Forged bool
}

// Step is a stretch of a flow's life.
type Step struct {
	// After is the time since the flow was first heard of, Queries the number of the query (1 for the first), from which
	// the step counts.
	After   time.Duration
	Queries int

	// Process is the answer's process, Message its message; AuthLetter and Auditing likewise. "" is null.
	Process, Message, AuthLetter, Auditing string
	// Code answers with this business code instead.
	Code int
	// Outline is the outline's flowStatus; "" derives it: SUCCESS for ORGANFINISHED, INIT for INIT, else ING.
	Outline string
	// FailReason is the outline's.
	FailReason string
	// OutlineCode answers outlines with this business code instead.
	OutlineCode int
	// Fault strikes the queries of this step, OutlineFault its outlines.
	Fault, OutlineFault Fault
}

// Fault is a misbehaviour. The zero value is none.
type Fault struct {
	// Slow passes before the reply.
	Slow time.Duration
	// Drop closes the connection instead of a reply, Hang says nothing, Reset ends it by a TCP reset where it can.
	Drop, Hang, Reset bool
	// Status answers with this HTTP status and an HTML page.
	Status int
	// Garbage answers 200 with a body that is no reply.
	Garbage bool
	// Auth refuses with HTTP 401 and this message although the request is right.
	Auth string
}

// flow is one flow that was heard of.
type flow struct {
	id     string
	plan   Plan
	began  time.Time
	counts Counts
	// told: its end was called back, or there is nothing to tell.
	told bool
}

// Counts are the calls about one flow that passed authorization.
type Counts struct{ Queries, Outlines int }

// Gateway is the double. It is an http.Handler and safe for concurrent use.
type Gateway struct {
	config Config
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu         sync.Mutex
	flows      map[string]*flow
	tokens     map[string][]token
	seen       map[string]int
	complaints []string
	requests   int
	callbacks  int
}

// New returns a running gateway.
func New(c Config) *Gateway {
	if c.Script == nil {
		c.Script = func(string) Plan { return Plan{} }
	}
	if c.Window == 0 {
		c.Window = 15 * time.Minute
	}
	if c.TokenLife == 0 {
		c.TokenLife = 2 * time.Hour
	}
	if c.TokenGrace == 0 {
		c.TokenGrace = 5 * time.Minute
	}
	if c.Allowed == nil {
		c.Allowed = func(*http.Request) bool { return true }
	}
	if c.Gate == nil {
		c.Gate = func(context.Context, string) Verdict { return Proceed }
	}
	if c.Peer == nil {
		c.Peer = func(*http.Request) string { return "-" }
	}
	if c.Callbacks == nil {
		c.Callbacks = &http.Client{Timeout: 5 * time.Second}
	}
	if c.CallbackRetry == nil {
		c.CallbackRetry = []time.Duration{time.Second, 5 * time.Second}
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Gateway{
		config: c, ctx: ctx, stop: stop, flows: map[string]*flow{}, tokens: map[string][]token{}, seen: map[string]int{},
	}
}

// Close stops turning flows and calling back, cuts requests short and waits for all of it.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	g.work.Wait()
	g.config.Callbacks.CloseIdleConnections()
}

// Start lets a flow begin before its first query, so that its times run and its callbacks come without one.
func (g *Gateway) Start(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tell(g.flow(id))
}

// Finish ends a flow by hand, with ORGANFINISHED or with an outline that says FAIL, and calls back. It is an error if
// the flow has ended.
func (g *Gateway) Finish(id string, success bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.flow(id)
	if f.ended() != "" {
		return errors.New("finishing: the flow has ended")
	}
	end := Step{Process: "ORGANFINISHED"}
	if !success {
		end = Step{Process: "PAY_FAILED", Outline: "FAIL", FailReason: "打款失败"}
	}
	f.plan.Steps = append(slices.Clone(f.plan.Steps), end)
	g.tell(f)
	return nil
}

// Counts returns the calls about a flow.
func (g *Gateway) Counts(id string) Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.flows[id]; ok {
		return f.counts
	}
	return Counts{}
}

// Outcome is "success", "fail" or "" for a flow that has not ended, or was never heard of.
func (g *Gateway) Outcome(id string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.flows[id]; ok {
		return f.ended()
	}
	return ""
}

// Flows lists the flows that were heard of.
func (g *Gateway) Flows() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.flows))
}

// Complaints are the requests that broke the documents: wrong signature, stale timestamp, unknown path …
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

// Tokens is how many tokens were given.
func (g *Gateway) Tokens() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, all := range g.tokens {
		n += len(all)
	}
	return n
}

// Callbacks is how many callbacks were tried, forged ones included.
func (g *Gateway) Callbacks() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.callbacks
}

// flow returns a flow, which begins now if it was not heard of before. The caller holds the lock.
func (g *Gateway) flow(id string) *flow {
	if f, ok := g.flows[id]; ok {
		return f
	}
	f := &flow{id: id, plan: g.config.Script(id), began: time.Now()}
	if len(f.plan.Steps) == 0 {
		f.plan.Steps = []Step{{Process: "ORGANFINISHED"}}
	}
	g.flows[id] = f
	for _, s := range f.plan.Steps {
		if s.After > 0 && s.Queries == 0 {
			g.background(func() { g.turn(f, s.After) })
		}
	}
	return f
}

// turn looks after a flow that may end by time alone.
func (g *Gateway) turn(f *flow, after time.Duration) {
	if !g.sleep(after) || g.config.Gate(g.ctx, "turn/"+f.id) != Proceed {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tell(f)
}

// step is the stretch that the flow is in.
func (f *flow) step() Step {
	now := Step{Process: "INIT"}
	for _, s := range f.plan.Steps {
		if time.Since(f.began) >= s.After && f.counts.Queries >= s.Queries {
			now = s
		}
	}
	return now
}

// ended is the flow's outcome, "" while it goes on.
func (f *flow) ended() string {
	switch f.step().flowStatus() {
	case "SUCCESS":
		return "success"
	case "FAIL":
		return "fail"
	}
	return ""
}

func (s Step) flowStatus() string {
	switch {
	case s.Outline != "":
		return s.Outline
	case s.Process == "ORGANFINISHED":
		return "SUCCESS"
	case s.Process == "INIT":
		return "INIT"
	}
	return "ING"
}

// background runs f on a goroutine that Close waits for; nothing starts after Close. The caller holds the lock.
func (g *Gateway) background(f func()) {
	if g.ctx.Err() == nil {
		g.work.Go(f)
	}
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
