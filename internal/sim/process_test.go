package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/handover"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/memstream"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/esign"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

// The times of a run. settle exceeds wireDelay and queryLag together, as the policy asks, and by little: a request that
// leaves after its lease, or a settle delay that begins too early, is seen.
const (
	settle        = 17 * time.Second
	wireDelay     = 8 * time.Second // the longest a request is on its way once it was written
	queryLag      = 8 * time.Second // the longest a charge is hidden from queries
	deadline      = 4 * time.Minute
	maxSends      = 3
	storeTimeout  = 3 * time.Second
	sessionExpiry = 20 * time.Second // a member that is silent for so long is expelled
)

// onceDeadline is how long a command of effect once may wait to be sent, queryDeadline how long a question about an order
// may stay without an answer.
const (
	onceDeadline  = 45 * time.Second
	queryDeadline = 40 * time.Second
)

const (
	ua           = "ua_sim"
	aesKey       = "0123456789abcdef"
	base         = "https://pay.example.com"
	gatewayHost  = "gateway.example.com"
	identityHost = "identity.example.com"
)

// pace is how long a submission may take, and how long a copy waits.
type pace struct {
	timeout, lease time.Duration
	tiers          []time.Duration
}

// easy leaves much time between the end of a submission and the moment at which a missing order counts.
func easy() pace {
	return pace{6 * time.Second, 10 * time.Second, []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second}}
}

// tight leaves as little as the policy allows: a lease of nearly the settle delay, and tiers that end just after a missing
// order counts, without a lease before it and with one.
func tight() pace {
	return pace{15 * time.Second, 16 * time.Second, []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 11 * time.Second, 21 * time.Second, 37 * time.Second,
	}}
}

// process is a place where one incarnation after another runs.
type process struct {
	name  string
	start func(*process) *incarnation
	// of is its deployment; nil for callback-ingest.
	of *deployment

	mu    sync.Mutex
	count int
	inc   *incarnation
	// stopping is the scheduler's.
	stopping bool
}

func (p *process) current() *incarnation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inc
}

// run starts the next incarnation.
func (p *process) run() {
	p.mu.Lock()
	p.count++
	p.inc = nil
	p.mu.Unlock()
	inc := p.start(p)
	p.mu.Lock()
	p.inc = inc
	p.mu.Unlock()
}

// incarnation is one life of a process, from its start to its end or its kill.
type incarnation struct {
	name string
	of   *deployment // of its process
	// dead is guarded by the gate's lock.
	dead   bool
	cancel context.CancelFunc
	done   chan struct{}
	// stillUntil is when the latest stall of the process is over; guarded by the gate's lock.
	stillUntil time.Time
	// clock is its wall clock; guarded by the gate's lock.
	clock clock
	// handler is set for callback-ingest.
	handler http.Handler

	mu    sync.Mutex
	conns []net.Conn
	calls map[string]int
}

func newIncarnation(p *process) *incarnation {
	return &incarnation{name: fmt.Sprintf("%s.%d", p.name, p.count), of: p.of, done: make(chan struct{}), calls: map[string]int{}}
}

// numbered names a vendor call after its message and a count: a message may ask again while an earlier request of it
// is still at the vendor.
func (i *incarnation) numbered(ctx context.Context, what string) context.Context {
	i.mu.Lock()
	defer i.mu.Unlock()
	name := nameOf(ctx)
	i.calls[name]++
	return named(ctx, fmt.Sprintf("%s %s#%d", name, what, i.calls[name]))
}

func (i *incarnation) keep(c net.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conns = append(i.conns, c)
}

// cut closes all connections, as the end of a process does.
func (i *incarnation) cut() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.conns {
		_ = c.Close()
	}
}

func (w *world) policy(spec commands.Spec, owner string) commands.Policy {
	p := commands.Policy{
		Spec: spec, Owner: owner, Lease: w.scenario.pace.lease, Settle: settle, MaxSends: maxSends, Tiers: w.scenario.pace.tiers,
		Lifetime: w.scenario.lifetime, Margin: margin, BackWindow: time.Hour,
	}
	p.Deadline, p.Patience = deadlineOf(spec), w.patience
	return p
}

// tolerance is how far a clock may be off without anyone noticing.
func tolerance() time.Duration { return commands.Policy{Settle: settle}.Tolerance() }

func deadlineOf(spec commands.Spec) time.Duration {
	switch spec.Topic {
	case cardTopic:
		return onceDeadline
	case queryTopic:
		return queryDeadline
	}
	return deadline
}

// longest is the longest time for which a copy waits.
func (p pace) longest() time.Duration { return p.tiers[len(p.tiers)-1] }

// dispatcher starts one as cmd/dispatcher does, on twins.
func (w *world) dispatcher(p *process) *incarnation {
	inc := newIncarnation(p)
	ctx, cancel := context.WithCancel(context.Background())
	inc.cancel = cancel
	inc.clock.little = w.little(inc.name)
	gated := &gatedStore{w: w, owner: inc, view: memstore.New(w.records, memstore.Config{Lifetime: w.scenario.lifetime})}
	store := w.mutated.store(w, gated)
	publisher := w.mutated.publisher(&gatedPublisher{w: w, owner: inc})
	routes, closes := w.routes(inc, p.of, store, publisher, gated.view.Fit)
	d := dispatch.New(dispatch.Config{
		Routes: routes, Store: store, Publisher: publisher,
		Validator: compiled(), Fingerprints: w.fingerprints, MaxBytes: 64 << 10, Logger: slog.New(slog.DiscardHandler),
	})
	consumer := w.broker.Consumer(p.of.group, d.Topics(), memstream.ConsumerConfig{
		Member: inc.name, Prepare: w.mutated.prepare(gated.prepare), Gates: w.gates(inc), Witnesses: w.witnesses(p.of),
		Stream: stream.Config{
			Due: func(m stream.Message) time.Time { return w.heldUntil(inc, d.Due(m)) }, InFlight: 8, Window: 64, CommitEvery: time.Second, DrainBudget: 7 * time.Second,
			RetryMin: 100 * time.Millisecond, RetryMax: 5 * time.Second,
			Jitter: func(name string, attempt int) float64 { return w.unit(fmt.Sprint(inc.name, name, attempt)) },
		},
	})
	handler := w.mutated.handler(stream.HandlerFunc(d.Handle))
	go func() {
		defer close(inc.done)
		_ = consumer.Run(ctx, stream.HandlerFunc(func(ctx context.Context, m stream.Message) error {
			defer w.take(m)()
			ctx, done := w.notice(named(ctx, fmt.Sprintf("%s %s/%d@%d", inc.name, m.Topic, m.Partition, m.Offset)), inc)
			defer done()
			return handler.Handle(ctx, w.stamped(m))
		}))
		closes()
	}()
	return inc
}

// routes joins the topics of the scenario as cmd/dispatcher/app/vendors.go does.
func (w *world) routes(
	inc *incarnation, of *deployment, store idempotency.Store, publisher stream.Publisher, fit func() error,
) ([]dispatch.Route, func()) {
	client, err := withhold.New(withhold.Config{
		URL:      "http://" + gatewayHost + "/gateway",
		Accounts: accounts(), DefaultAccount: home,
		MissingWords: []string{"订单不存在"}, MaxAmount: "50000.00",
		NotifyURL: func(order string) string { return callback.URL(base, "withhold", w.tokens, order) },
		HTTP:      wire.Config{Timeout: w.scenario.pace.timeout, DialContext: w.dial(inc)},
	})
	must(err)
	flows := w.esign(inc, w.shareFor)
	var routes []dispatch.Route
	route := func(
		spec commands.Spec, v vendors.Vendor, check func(commands.Command) error, account func(string) string,
	) *operation.Driver {
		v = w.mutated.vendor(spec.Topic, v)
		c := operation.Config{
			Store: store, Publisher: publisher, Policy: w.policy(spec, inc.name), Timeout: w.scenario.pace.timeout, Logger: slog.New(slog.DiscardHandler),
			Keys: w.fingerprints, Now: func() time.Time { return w.now(inc) }, Fit: func() error { return w.fit(inc, fit) },
		}
		if spec.Effect != commands.EffectRead {
			c.Sender = v
		}
		if spec.Effect != commands.EffectOnce {
			c.Asker = v
		}
		driver, err := operation.New(c)
		must(err)
		w.mutated.policy(&driver.Policy)
		routes = append(routes, dispatch.Route{Driver: driver, Check: check, Account: account})
		return driver
	}
	orders := route(catalog.Withhold(), caller{Sender: client, Asker: client, owner: inc, world: w}, client.Check, client.Account)
	for _, spec := range w.scenario.specs[1:] {
		switch spec.Topic {
		case queryTopic:
			query := client.Query()
			asks := w.mutated.vendor(queryTopic+" asker", caller{Asker: query, owner: inc, world: w})
			relay := operation.Relay{Asker: asks, Orders: orders, OrderField: "biz_order_no", Account: client.Account}
			route(spec, both{Asker: relay}, query.Check, client.Account)
		case cardTopic:
			route(spec, caller{Sender: client.Prebind(), owner: inc, world: w}, client.Prebind().Check, client.Account)
		case pollTopic:
			route(spec, caller{Asker: &crowd{Asker: flows, asking: map[commands.OperationKey]int{}}, owner: inc, world: w}, flows.Check, flows.Account)
		}
	}
	routes = slices.DeleteFunc(routes, func(r dispatch.Route) bool { return !of.serves(r.Driver.Policy.Spec.Topic) })
	return routes, func() { client.Close(); flows.Close() }
}

// witnesses are the topics in which whoever executed something with an effect left something, and the command topics
// that only others serve: who died over the first command of all left nothing else.
func (w *world) witnesses(of *deployment) []string {
	var names []string
	for _, s := range w.scenario.specs {
		if s.Effect == commands.EffectRead {
			continue
		}
		names = append(append(names, s.ResultTopic, s.DeadLetterTopic()), operation.DelayTopics(s.Topic, w.scenario.pace.tiers)...)
		if !of.serves(s.Topic) {
			names = append(names, s.Topic)
		}
	}
	return names
}

// both makes a vendor of parts, of which one may be nil.
type both struct {
	vendors.Sender
	vendors.Asker
}

func (w *world) esign(inc *incarnation, shareFor time.Duration) *esign.Client {
	client, err := esign.New(esign.Config{
		URL:      "http://" + identityHost,
		Accounts: map[string]esign.Account{"main": {AppID: appID, Secret: appSecret}}, DefaultAccount: "main",
		HTTP: wire.Config{Timeout: w.scenario.pace.timeout, DialContext: w.dial(inc)}, ShareFor: shareFor,
	})
	must(err)
	return client
}

// notice hands the end of a handler's ctx, and the handover, on through the gate: a process that stands still notices
// neither, and when it goes on it may be about to send before it does.
func (w *world) notice(ctx context.Context, inc *incarnation) (context.Context, func()) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := w.noticed(ctx, ctx, inc, "end", cancel)
	over := handover.Of(ctx)
	if over == nil {
		return own, func() { stop(); cancel() }
	}
	ownOver, begin := context.WithCancel(context.Background())
	deaf := w.noticed(ctx, over, inc, "handover", begin)
	return handover.With(own, ownOver), func() { stop(); deaf(); cancel(); begin() }
}

// noticed calls then once a process notices that a context has ended; stop keeps it from doing so.
func (w *world) noticed(handler, of context.Context, inc *incarnation, what string, then func()) (stop func() bool) {
	name := nameOf(handler) + " notices the " + what
	if n := w.count(name); n > 1 {
		name = fmt.Sprintf("%s #%d", name, n)
	}
	return context.AfterFunc(of, func() {
		w.gate.park(&call{
			name: name, owner: inc, ctx: context.Background(), held: true,
			until: w.gate.stillUntil(inc), deaf: true,
		})
		then()
	})
}

// callbackIngest starts one as cmd/callback-ingest does, on twins.
func (w *world) callbackIngest(p *process) *incarnation {
	inc := newIncarnation(p)
	inc.cancel = func() {}
	close(inc.done)
	gated := &gatedStore{w: w, owner: inc, view: memstore.New(w.records, memstore.Config{Lifetime: w.scenario.lifetime})}
	store := w.mutated.store(w, gated)
	publisher := w.mutated.publisher(&gatedPublisher{w: w, owner: inc})
	mux := http.NewServeMux()
	take := func(pattern, answer string, reader callback.Reader, spec commands.Spec, asker vendors.Asker) {
		driver, err := operation.New(operation.Config{
			Store: store, Publisher: publisher, Policy: w.policy(spec, inc.name), Asker: asker, Timeout: w.scenario.pace.timeout,
			Logger: slog.New(slog.DiscardHandler),
		})
		must(err)
		mux.Handle(pattern, callback.New(callback.Config{
			Store: store, Driver: driver, Reader: w.mutated.reader(reader), MaxBody: 16 << 10, Timeout: 10 * time.Second,
			Limit: rate.NewLimiter(rate.Inf, 1), Answer: answer, Logger: slog.New(slog.DiscardHandler),
		}))
	}
	take(callback.Pattern("withhold"), "success", callback.Tokened{Tokens: w.tokens, Decoder: decoder{}}, catalog.Withhold(), nil)
	flows := w.esign(inc, 0)
	take(callback.SignedPattern("esign"), esign.CallbackAnswer, callback.Signed{Verify: verify(flows)}, catalog.IdentityPoll(),
		w.mutated.vendor(pollTopic, caller{Asker: flows, owner: inc, world: w}))
	inc.handler = w.mutated.callbacks(w, mux)
	return inc
}

// verify adapts the adapter's verifier to the shell's port, as the wiring does.
func verify(client *esign.Client) func(http.Header, url.Values, []byte) (commands.OperationKey, error) {
	return func(header http.Header, query url.Values, body []byte) (commands.OperationKey, error) {
		c, err := client.VerifyCallback(header, query, body)
		switch {
		case errors.Is(err, esign.ErrCallbackSignature):
			return "", fmt.Errorf("%w: %w", callback.ErrForged, err)
		case err != nil:
			return "", fmt.Errorf("%w: %w", callback.ErrMalformed, err)
		}
		return commands.OperationKey(c.FlowID), nil
	}
}

// decoder adapts the adapter's decoder to the shell's port, as the wiring does.
type decoder struct{}

func (decoder) Decode(_ string, body []byte) (string, commands.Reply, error) {
	c, err := withhold.DecodeCallback(body)
	if err != nil {
		return "", commands.Reply{}, err
	}
	reply, err := c.Reply()
	return c.BizOrderNo, reply, err
}

// must is for what only a mistake in this package can break.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
