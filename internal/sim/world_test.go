package sim

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/memstream"
	identity "paydispatch/internal/vendors/sim/esign"
	double "paydispatch/internal/vendors/sim/withhold"
	"paydispatch/schemas"
)

const commandTopic = "withhold.request"

const (
	// maxSteps and maxTime are far beyond what a run needs: reaching them means that it never settles.
	maxSteps = 20_000
	maxTime  = time.Hour
	// grace lets late callbacks and their retries come after everything was handled.
	grace = 100 * time.Second
	// faultsEnd is when faults stop even if some are left; in some runs they begin at lateFaults only, so that they meet
	// what goes on when operations are given up.
	faultsEnd  = 2 * time.Minute
	lateFaults = deadline - 30*time.Second
)

// compiled are the schemas: they are the same for all runs and take long to compile.
var compiled = sync.OnceValue(func() *schemas.Set {
	set, err := schemas.Load()
	must(err)
	return set
})

// world is one run.
type world struct {
	rng      *rand.Rand
	trace    strings.Builder
	gate     *gate
	watch    *watch
	scenario *scenario
	mutated  mutation

	fingerprints, tokens commands.Keyring
	records              *memstore.Server
	broker               *memstream.Broker
	gateway              *double.Gateway
	identity             *identity.Gateway
	listener             *pipeListener
	// shareFor is how long polls share what the vendor said of a flow.
	shareFor time.Duration
	// patience is how long a message may wait in its lane for the lease of another sender, 0 for the whole lease.
	patience time.Duration

	deployments []*deployment
	dispatchers []*process
	callback    *process
	incs        []*incarnation

	// salt makes what is drawn from names differ from run to run.
	salt   string
	agenda []task
	faults faults
	stats  stats

	mu        sync.Mutex
	snapshots []memstore.Snapshot
	counts    map[string]int
	heard     []heard
	busy      map[string]int       // handlers at work, by order
	stamps    map[string]time.Time // the producers' times, by place

	// calm: nothing befalls the one process that knows of an order what the store forgot. It and upset, when a group last
	// changed, are guarded by mu.
	calm  *calm
	upset time.Time
	// denied is until when the vendor denies an order that it said it has.
	denied time.Time
}

// task is what the scheduler itself does at a time.
type task struct {
	at   time.Time
	name string
	do   func()
}

// heard is a callback that the vendor sent, for replaying.
type heard struct {
	url    string
	header http.Header
	body   string
}

// stats are what a run adds to the summary.
type stats struct {
	steps   int
	struck  map[fault]int
	events  map[string]int
	results map[string]int
}

// outcome is how a run ended.
type outcome struct {
	seed      uint64
	violation string
	trace     string
	stats     stats
}

// run plays one seed in a bubble of its own.
func run(t *testing.T, seed uint64, m mutation) outcome {
	out := outcome{seed: seed}
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed, m)
		w.play()
		for _, e := range w.watch.results {
			w.stats.results[e.spec.Type+"."+e.kind]++
		}
		w.stats.events["record expired"] += len(w.watch.expired)
		w.stats.events["stranger's message"] += len(w.watch.strange)
		w.stats.events["another account's order"] += len(w.scenario.foreign)
		out.violation, out.trace, out.stats = w.watch.failed(), w.trace.String(), w.stats
		w.shutdown()
	})
	return out
}

func newWorld(seed uint64, m mutation) *world {
	rng := rand.New(rand.NewPCG(seed, 20))
	w := &world{
		rng: rng, gate: newGate(), watch: newWatch(), mutated: m.complete(),
		records: memstore.NewServer(4), broker: memstream.NewBroker(),
		listener: &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})},
		counts:   map[string]int{}, busy: map[string]int{}, stamps: map[string]time.Time{}, stats: stats{struck: map[fault]int{}, events: map[string]int{}, results: map[string]int{}},
	}
	w.salt = strconv.FormatUint(seed, 10)
	var err error
	w.fingerprints, err = commands.NewKeyring([]byte("fingerprints of sim"))
	must(err)
	w.tokens, err = commands.NewKeyring([]byte("tokens of sim......"))
	must(err)
	w.scenario = newScenario(rng, w.tokens)
	w.faults = newFaults(rng, w.scenario)
	if w.faults.steps {
		w.scenario.setClocks()
	}
	w.watch.scenario, w.watch.faultsEnd = w.scenario, w.faults.until
	if w.faults.intents > 0 {
		w.scenario.twins(rng)
	}
	if w.faults.text != nil {
		w.scenario.texts(w.faults.text)
	}
	if w.faults.back > 0 || w.faults.intents > 0 || w.faults.text != nil { // once the group is at rest
		for i := range w.scenario.messages {
			w.scenario.messages[i].at += restAfter + 4*time.Second
		}
	}
	w.shareFor = []time.Duration{0, 0, time.Second}[rng.IntN(3)]
	w.patience = []time.Duration{0, 0, 3 * time.Second}[rng.IntN(3)]
	w.topics()
	w.vendor()
	w.deploy()
	w.callback = &process{name: "c1", start: w.callbackIngest}
	processes := append(slices.Clone(w.dispatchers), w.callback)
	rng.Shuffle(len(processes), func(i, j int) { processes[i], processes[j] = processes[j], processes[i] })
	for i, p := range processes {
		w.later(time.Duration(i*rng.IntN(3))*time.Second, "start "+p.name, func() { w.start(p) })
	}
	w.abroad()
	w.intrude()
	w.watch.messages = w.scenario.messages
	for i, m := range w.scenario.messages {
		w.later(m.at, fmt.Sprintf("write #%d %s for %s", i+1, m.request, m.order), func() { w.write(m) })
	}
	for _, m := range w.scenario.messages {
		if o := w.scenario.orders[m.order]; o != nil && o.byHand > 0 {
			w.later(o.byHand, "settle "+o.no+" by hand", func() { _ = w.gateway.Settle(o.no, "success") })
			o.byHand = 0
		}
	}
	for _, no := range slices.Sorted(maps.Keys(w.scenario.flows)) {
		w.flow(w.scenario.flows[no])
	}
	return w
}

// flow puts on the agenda what happens to a flow beside what the double does by itself.
func (w *world) flow(f *flow) {
	if f.begins > 0 {
		w.later(f.begins, "flow "+f.no+" begins", func() { w.identity.Start(f.no) })
	}
	if f.byHand > 0 {
		w.later(f.byHand, "end "+f.no+" by hand", func() { _ = w.identity.Finish(f.no, f.so) })
	}
	for i, h := range f.hints {
		w.later(h.at, fmt.Sprintf("hint #%d about %s: %t", i+1, f.no, h.success), func() {
			body := told(f.no, h.success)
			w.stranger(base+hintPath, signed(appSecret, body), body, false)
		})
	}
}

func (w *world) topics() {
	made := map[string]bool{}
	for _, s := range w.scenario.specs {
		w.broker.CreateTopic(s.Topic, 2)
		w.broker.CreateTopic(s.DeadLetterTopic(), 1)
		for _, name := range operation.DelayTopics(s.Topic, w.scenario.pace.tiers) {
			w.broker.CreateTopic(name, 1)
		}
		if !made[s.ResultTopic] {
			made[s.ResultTopic] = true
			w.broker.CreateTopic(s.ResultTopic, 1)
		}
	}
}

func (w *world) vendor() {
	w.gateway = double.New(double.Config{
		Accounts: map[string]string{ua: aesKey, accounts()[west].UA: string(accounts()[west].Key)}, Script: w.scenario.script,
		CardScript: w.scenario.cardScript,
		Callbacks:  &http.Client{Transport: w},
		Gate: func(ctx context.Context, op string) double.Verdict {
			if w.own(op) && w.gate.enter(ctx, nil, kindPlain, "vendor "+op) != none {
				return double.Drop
			}
			return double.Proceed
		},
	})
	w.identity = identity.New(identity.Config{
		Apps:      map[string]string{appID: appSecret},
		Script:    func(no string) identity.Plan { return w.scenario.flows[no].plan },
		Peer:      func(r *http.Request) string { return nameOf(r.Context()) },
		Callbacks: &http.Client{Transport: w},
		Gate: func(ctx context.Context, op string) identity.Verdict {
			if w.own(op) && w.gate.enter(ctx, nil, kindPlain, "vendor "+op) != none {
				return identity.Drop
			}
			return identity.Proceed
		},
	})
	w.watch.gateway, w.watch.identity = w.gateway, w.identity
	server := &http.Server{
		Handler: http.HandlerFunc(w.vendorSide), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Hour,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return named(ctx, c.(namedConn).name) },
	}
	// A connection for each call, so that the vendor's side of a call can be named.
	server.SetKeepAlivesEnabled(false)
	go func() { _ = server.Serve(w.listener) }()
}

// own reports whether a double does this by itself: what it does on behalf of a call passes the gate in vendorSide.
func (*world) own(op string) bool {
	return slices.ContainsFunc([]string{"settle/", "callback/", "turn/"}, func(p string) bool { return strings.HasPrefix(op, p) })
}

func (w *world) later(d time.Duration, name string, do func()) {
	w.agenda = append(w.agenda, task{time.Now().Add(d), name, do})
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(&w.trace, "%9.3f ", time.Since(w.watch.started).Seconds())
	fmt.Fprintf(&w.trace, format, args...)
	w.trace.WriteByte('\n')
}

// play schedules until everything is handled, a promise is broken, or it takes far too long.
func (w *world) play() {
	idle := time.Time{}
	for {
		synctest.Wait()
		if w.watch.failed() != "" {
			break
		}
		if w.stats.steps > maxSteps || time.Since(w.watch.started) > maxTime {
			w.watch.fail("2: the run does not settle")
			break
		}
		if w.misfortune() {
			w.stats.steps++
			continue
		}
		calls, tasks := w.gate.free(time.Now()), w.due()
		if n := len(calls) + len(tasks); n > 0 {
			idle = time.Time{}
			w.stats.steps++
			w.step(calls, tasks, w.rng.IntN(n))
			continue
		}
		switch {
		case len(w.agenda) > 0 || w.watch.backlog():
			idle = time.Time{}
		case idle.IsZero():
			idle = time.Now()
		case time.Since(idle) >= grace:
			w.watch.end()
			if w.watch.failed() == "" {
				return
			}
			continue
		}
		w.pass(idle)
	}
	w.say("BROKEN %s", w.watch.failed())
}

// step lets one call or task go on.
func (w *world) step(calls []*call, tasks []task, i int) {
	if i >= len(calls) {
		t := tasks[i-len(calls)]
		w.agenda = slices.DeleteFunc(w.agenda, func(a task) bool { return a.at.Equal(t.at) && a.name == t.name })
		w.say("%s", t.name)
		t.do()
		return
	}
	c := calls[i]
	for _, other := range calls[min(i+1, len(calls)):] {
		if other.name == c.name {
			w.watch.fail("two calls have the name %q", c.name)
		}
	}
	if strings.Contains(c.name, "forged") && (c.kind == kindLoad || c.kind == kindSwap || c.kind == kindPublish || c.kind == kindDial) {
		w.watch.fail("5: %s", c.name)
	}
	f := w.faults.strike(w.rng, c)
	switch {
	case f == stalled && (w.calmed() || w.denies()):
		f = none
	case f == none && !w.denies() && w.goesBack(c):
		f = wentBack
	}
	if f != none {
		w.stats.struck[f]++
		w.say("%s: %s", c.name, strings.ToUpper(string(f)))
	} else {
		w.say("%s", c.name)
	}
	if f == slow {
		w.gate.hold(c, time.Now().Add(w.faults.delay(w.rng, c, w.scenario.pace.timeout)))
		return
	}
	if f == stalled && c.owner != nil {
		w.watch.upset()
		w.silence(c.owner)
	}
	w.setsClock(c)
	w.gate.release(c, f)
	if f == stalled && c.intent && w.faults.intents > 0 {
		w.befall(c.owner)
	}
	if w.faults.text != nil {
		w.overtext(c)
	}
}

// due lists the tasks whose time has come.
func (w *world) due() []task {
	var due []task
	for _, t := range w.agenda {
		if !time.Now().Before(t.at) {
			due = append(due, t)
		}
	}
	slices.SortStableFunc(due, func(a, b task) int { return strings.Compare(a.name, b.name) })
	return due
}

// pass lets time go on until something arrives or is due.
func (w *world) pass(idle time.Time) {
	select {
	case <-w.gate.arrived: // an old token: nothing that arrived is free
	default:
	}
	until := time.Now().Add(10 * time.Minute)
	if !idle.IsZero() {
		until = idle.Add(grace)
	}
	for _, t := range w.agenda {
		if t.at.Before(until) {
			until = t.at
		}
	}
	timer := time.NewTimer(time.Until(w.gate.next(until)))
	defer timer.Stop()
	select {
	case <-w.gate.arrived:
	case <-timer.C:
	}
}

func (w *world) start(p *process) {
	p.run()
	w.incs = append(w.incs, p.current())
}

// write is a producer's.
func (w *world) write(m message) {
	out := stream.Message{Topic: m.topic, Value: m.value}
	if m.key != "" {
		out.Key = []byte(m.key)
	}
	ends := []int64{w.broker.End(m.topic, 0), w.broker.End(m.topic, 1)}
	must(w.broker.Publisher(memstream.Gates{}).Publish(context.Background(), out))
	for partition, end := range ends {
		if w.broker.End(m.topic, partition) > end {
			w.stamp(m, partition, end)
		}
	}
	all := w.broker.Messages(m.topic)
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	w.watch.commands[m.topic] = all
}

// land is the moment at which messages of ours take effect.
func (w *world) land(messages []stream.Message) error {
	if err := w.broker.Publisher(memstream.Gates{}).Publish(context.Background(), messages...); err != nil {
		return err
	}
	for _, m := range messages {
		w.watch.published(m)
	}
	return nil
}

// count numbers the calls that would have one name.
func (w *world) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[name]++
	return w.counts[name]
}

func (w *world) remember(h heard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, h)
}

type forgedKey struct{}

// stranger posts a callback to callback-ingest that the vendor did not send now; it changes nothing if it is forged.
func (w *world) stranger(url string, header http.Header, body string, forged bool) {
	ctx := context.WithValue(context.Background(), forgedKey{}, forged)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	must(err)
	req.Header = header.Clone()
	go func() {
		if res, err := w.RoundTrip(req); err == nil {
			_ = res.Body.Close()
		}
	}()
}

// forge makes what someone who knows the documents could send, and has overheard one callback, or one order's token.
func (w *world) forge() {
	flows := slices.Sorted(maps.Keys(w.scenario.flows))
	if len(flows) > 0 && w.rng.IntN(2) == 0 {
		w.forgeHint(flows[w.rng.IntN(len(flows))])
		return
	}
	orders := w.orderNos()
	victim, status := orders[w.rng.IntN(len(orders))], []string{"success", "fail"}[w.rng.IntN(2)]
	url := callback.URL(base, "withhold", w.tokens, orders[w.rng.IntN(len(orders))])
	if url == callback.URL(base, "withhold", w.tokens, victim) || w.rng.IntN(2) == 0 {
		url = callback.URL(base, "withhold", w.strangers(), victim)
	}
	w.say("a stranger calls back about %s: %s", victim, status)
	w.stranger(url, http.Header{"Content-Type": {"application/json"}}, callbackAbout(victim, "P"+victim+"-1", "101", status), true)
}

// callbackAbout is the body of a callback about a debit, with its sign.
func callbackAbout(orderNo, payOrderNo, payType, status string) string {
	unsigned := fmt.Sprintf(`{"biz_order_no":%q,"channel_response":"","order_type":"single_withhold","pay_order_no":%q,`+
		`"pay_status":%q,"pay_time":"2024-01-01 12:00:00","pay_type":%q`, orderNo, payOrderNo, status, payType)
	sum := md5.Sum([]byte(unsigned + "}"))
	return unsigned + `,"sign":"` + hex.EncodeToString(sum[:]) + `"}`
}

// forgeHint signs with a secret that nobody gave, or puts other words under an overheard signature.
func (w *world) forgeHint(flowNo string) {
	success := w.rng.IntN(2) == 0
	body := told(flowNo, success)
	header := signed("a secret that nobody gave", body)
	if w.rng.IntN(2) == 0 {
		header = signed(appSecret, told("another flow", success))
	}
	w.say("a stranger calls back about %s: %t", flowNo, success)
	w.stranger(base+hintPath, header, body, true)
}

func (w *world) strangers() commands.Keyring {
	ring, err := commands.NewKeyring([]byte("what a stranger would guess"))
	must(err)
	return ring
}

func (w *world) orderNos() []string {
	var all []string
	for _, m := range w.scenario.messages {
		if w.scenario.orders[m.order] != nil && !slices.Contains(all, m.order) {
			all = append(all, m.order)
		}
	}
	return all
}

// replay sends a callback of the vendor once more, much later perhaps.
func (w *world) replay() bool {
	w.mu.Lock()
	all := slices.Clone(w.heard)
	w.mu.Unlock()
	if len(all) == 0 {
		return false
	}
	h := all[w.rng.IntN(len(all))]
	w.say("an old callback comes again")
	w.stranger(h.url, h.header, h.body, false)
	return true
}

// shutdown ends the run: nothing may be left in the bubble.
func (w *world) shutdown() {
	for _, inc := range w.incs {
		w.gate.kill(inc)
		inc.cancel()
		inc.cut()
	}
	w.gate.close()
	w.gateway.Close()
	w.identity.Close()
	_ = w.listener.Close()
	for _, inc := range w.incs {
		<-inc.done
	}
}

// drainBody reads a request's body and puts it back.
func drainBody(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	must(err)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return string(body)
}
