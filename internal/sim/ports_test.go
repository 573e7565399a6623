package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/memstream"
	"paydispatch/internal/vendors"
)

// errFault is what our own parts answer when a fault strikes.
var errFault = errors.New("simulated fault")

type nameKey struct{}

// named puts a stable name on everything that is done under ctx.
func named(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, nameKey{}, name)
}

func nameOf(ctx context.Context) string {
	name, _ := ctx.Value(nameKey{}).(string)
	return name
}

// gatedStore is one process' way to the record store.
type gatedStore struct {
	w     *world
	owner *incarnation
	view  *memstore.Store
}

var _ idempotency.Store = (*gatedStore)(nil)

func (s *gatedStore) Expect(key string) idempotency.Record { return s.view.Expect(key) }

func (s *gatedStore) Load(ctx context.Context, key string) (idempotency.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	f := s.w.gate.enter(ctx, s.owner, kindLoad, nameOf(ctx)+" load "+key)
	if f != none || ctx.Err() != nil {
		return idempotency.Record{}, fmt.Errorf("%w: %w", idempotency.ErrUnavailable, errFault)
	}
	return s.view.Load(ctx, key)
}

func (s *gatedStore) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	away := fmt.Errorf("%w: %w", idempotency.ErrUnavailable, errFault)
	name := nameOf(ctx) + " swap " + was.Key
	intent := s.w.intends(s.owner, was, value)
	if intent && s.w.fit(s.owner, s.view.Fit) != nil {
		s.w.watch.fail("12: %s stores an intent, and may call no vendor", s.owner.name)
	}
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	f := s.w.gate.park(&call{name: name, kind: kindSwap, owner: s.owner, ctx: limited, intent: intent})
	if limited.Err() != nil && f != killed {
		return idempotency.Record{}, away
	}
	switch f {
	case none:
		return s.land(ctx, was, value, intent)
	case wentBack:
		if stands, err := s.view.Load(context.WithoutCancel(ctx), was.Key); err == nil && stands.Version == was.Version {
			s.w.rewindOne(was.Key) // what the store forgets, this process has in hand
		}
	case lostReply:
		_, _ = s.land(ctx, was, value, intent)
	case late:
		go func() {
			if s.w.gate.park(s.w.lateCall(name)) == none {
				_, _ = s.land(ctx, was, value, intent)
			}
		}()
	case stalled:
		rec, err := s.land(ctx, was, value, intent)
		if s.w.gate.park(s.w.stalledSwap(s.owner, name, intent)) == killed {
			return idempotency.Record{}, away
		}
		return rec, err
	}
	return idempotency.Record{}, away
}

// land is the moment at which the write takes effect.
func (s *gatedStore) land(ctx context.Context, was idempotency.Record, value []byte, intent bool) (idempotency.Record, error) {
	rec, err := s.view.Swap(context.WithoutCancel(ctx), was, value)
	landed := err == nil
	if landed {
		s.w.watch.leased(s.owner.name, was.Key, value)
	}
	if errors.Is(err, idempotency.ErrUnavailable) { // without its replicas the server writes all the same
		stands, _ := s.view.Load(context.WithoutCancel(ctx), was.Key)
		landed = stands.Version == was.Version+1 && bytes.Equal(stands.Value, value)
	}
	if landed {
		s.w.watch.stored(nameOf(ctx), was.Key, value, intent)
		s.w.snapshot()
		s.w.known(was.Key, value)
	}
	return rec, err
}

func (s *gatedStore) prepare(ctx context.Context, seenBefore bool) error {
	if f := s.w.gate.enter(ctx, s.owner, kindPrepare, s.owner.name+" prepare"); f != none || ctx.Err() != nil {
		return errFault
	}
	return s.view.Prepare(ctx, seenBefore)
}

// gatedPublisher is one process' way to append to topics.
type gatedPublisher struct {
	w     *world
	owner *incarnation
}

var _ stream.Publisher = (*gatedPublisher)(nil)

func (p *gatedPublisher) Publish(ctx context.Context, messages ...stream.Message) error {
	var topics []string
	for _, m := range messages {
		topics = append(topics, m.Topic)
	}
	name := nameOf(ctx) + " publish " + strings.Join(topics, ",")
	f := p.w.gate.enter(ctx, p.owner, kindPublish, name)
	if ctx.Err() != nil && f != killed {
		return ctx.Err()
	}
	switch f {
	case none:
		return p.w.land(messages)
	case lostReply:
		_ = p.w.land(messages)
	case late:
		go func() {
			if p.w.gate.park(p.w.lateCall(name)) == none {
				_ = p.w.land(messages)
			}
		}()
	}
	return errFault
}

// gates are the hooks into one process' consumer.
func (w *world) gates(owner *incarnation) memstream.Gates {
	var lost bool // commits of a member follow one another
	kinds := map[string]kind{"fetch": kindFetch, "commit": kindCommit, "join": kindJoin}
	return memstream.Gates{
		Before: func(ctx context.Context, op string) error {
			word, _, _ := strings.Cut(op, " ")
			switch f := w.gate.enter(ctx, owner, kinds[word], owner.name+" "+op); f {
			case none:
				if word == "join" {
					w.upsets()
				}
				return ctx.Err() // else the broker's select would toss a coin
			case lostReply:
				lost = true
			default:
				return errFault
			}
			return nil
		},
		After: func(_ context.Context, op string) error {
			if strings.HasPrefix(op, "commit") {
				w.watch.committed(w.committed())
			}
			if lost {
				lost = false
				return errFault
			}
			return nil
		},
	}
}

// caller names the adapters' calls, so that the vendor's side of them can be told apart. One of the two may be nil.
type caller struct {
	vendors.Sender
	vendors.Asker
	owner *incarnation
	world *world
}

func (c caller) Send(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	c.world.watch.sends(cmd, c.owner.name, c.world.now(c.owner))
	ctx = c.owner.numbered(ctx, "send")
	reply, err := c.Sender.Send(ctx, cmd)
	c.world.watch.whole(cmd, err)
	c.world.watch.reaches(cmd, err)
	c.inHand(ctx)
	return reply, err
}

func (c caller) Ask(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	c.world.watch.asks(cmd)
	ctx = c.owner.numbered(ctx, "ask")
	reply, err := c.Asker.Ask(ctx, cmd)
	c.world.watch.whole(cmd, err)
	c.inHand(ctx)
	return reply, err
}

// inHand is where a process may stand still with a vendor's answer that nobody heard of yet.
func (c caller) inHand(ctx context.Context) {
	name := nameOf(ctx) + " is answered"
	if c.world.gate.enter(context.WithoutCancel(ctx), c.owner, kindAnswer, name) == stalled {
		c.world.gate.park(c.world.stalledAnswer(c.owner, name))
	}
}

// crowd lets two at most ask about one flow at a time: of three that share a call whose maker left, Go would toss a coin
// who makes the next one.
type crowd struct {
	vendors.Asker
	mu     sync.Mutex
	asking map[commands.OperationKey]int
}

func (c *crowd) Ask(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	c.mu.Lock()
	if c.asking[cmd.Key] == 2 {
		c.mu.Unlock()
		return commands.Reply{}, &vendors.Error{Class: commands.ClassRetryable, Code: "crowded", Err: errFault}
	}
	c.asking[cmd.Key]++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asking[cmd.Key]--
	}()
	return c.Asker.Ask(ctx, cmd)
}

// dial connects one call of an incarnation with the vendor.
func (w *world) dial(owner *incarnation) func(ctx context.Context, _, _ string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		f := w.gate.enter(ctx, owner, kindDial, nameOf(ctx)+" dial")
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if f != none {
			return nil, errFault
		}
		ours, theirs := net.Pipe()
		owner.keep(ours)
		select {
		case w.listener.conns <- namedConn{theirs, nameOf(ctx)}:
			return ours, nil
		case <-w.listener.done:
			return nil, net.ErrClosed
		}
	}
}

// namedConn carries the name of the call that it was dialled for: no connection is used twice.
type namedConn struct {
	net.Conn
	name string
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// vendorSide is what a request meets between the wire and the double: it may be slow or lost on both ways.
func (w *world) vendorSide(rw http.ResponseWriter, r *http.Request) {
	name := "vendor " + nameOf(r.Context())
	ctx := context.Background() // a client that left does not call its request back
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	hang := func() {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	w.watch.reached(body)
	switch w.gate.enter(ctx, nil, kindReceive, name+" receive") {
	case none:
	case lostRequest:
		hang()
	default:
		panic(http.ErrAbortHandler)
	}
	reply := httptest.NewRecorder()
	if r.Host == identityHost {
		w.identity.ServeHTTP(reply, r)
	} else {
		w.gateway.ServeHTTP(reply, r)
	}
	w.watch.said(r.URL.Path, body, reply.Body.Bytes())
	w.watch.charged()
	switch w.gate.enter(ctx, nil, kindReply, name+" reply") {
	case none:
		for k, v := range reply.Header() {
			rw.Header()[k] = v
		}
		rw.WriteHeader(reply.Code)
		_, _ = rw.Write(reply.Body.Bytes())
	case lostReply:
		hang()
	case crossed:
		reply.Body = crossedReply(reply.Body.Bytes())
		w.watch.said(r.URL.Path, body, reply.Body.Bytes())
		_, _ = rw.Write(reply.Body.Bytes())
	case status500:
		http.Error(rw, "upstream gone", http.StatusInternalServerError)
	case garbage:
		_, _ = rw.Write([]byte("<br />\n<b>Warning</b>: json_encode()"))
	default:
		panic(http.ErrAbortHandler)
	}
}

// RoundTrip brings the double's callbacks, and those of strangers, to callback-ingest.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	body := drainBody(r)
	order, forged := w.scenario.about(r.URL.Path, r.Header, body)
	if made, _ := r.Context().Value(forgedKey{}).(bool); made {
		forged = true
	}
	if !forged {
		w.remember(heard{r.URL.String(), r.Header.Clone(), body})
	}
	name := fmt.Sprintf("callback %s #%d", order, w.count("callback "+order))
	if forged {
		name += " forged"
	}
	switch f := w.gate.enter(r.Context(), nil, kindCallback, name); f {
	case none:
		res, err := w.ingest(r, order, name)
		if err == nil && forged && res.StatusCode == http.StatusOK {
			w.watch.fail("a forged callback was accepted: %s", name)
		}
		return res, err
	case lostReply:
		_, _ = w.ingest(r, order, name)
	case crossed:
		r.Body, r.Header = io.NopCloser(strings.NewReader(w.crossedCallback(order))), http.Header{"Content-Type": {"application/json"}}
		return w.ingest(r, order, name)
	}
	return nil, errFault
}

// ingest has the living incarnation of callback-ingest handle a request.
func (w *world) ingest(r *http.Request, order, name string) (*http.Response, error) {
	inc := w.callback.current()
	if inc == nil || w.gate.isDead(inc) {
		return nil, errFault
	}
	ctx := named(context.WithoutCancel(r.Context()), inc.name+" "+name)
	// As net/http's server: a path below a host, and the body as it came.
	in := httptest.NewRequestWithContext(ctx, r.Method, r.URL.RequestURI(), r.Body)
	in.Header = r.Header
	rec := httptest.NewRecorder()
	defer w.busyWith(order)()
	inc.handler.ServeHTTP(rec, in)
	if w.gate.isDead(inc) {
		return nil, errFault
	}
	return rec.Result(), nil
}

// lateCall is what is left of a call whose caller gave up: it takes effect some time later, whoever lives then.
func (w *world) lateCall(name string) *call {
	name = fmt.Sprintf("late %s #%d", name, w.count("late "+name))
	until := time.Now().Add(w.spread(name, 500*time.Millisecond, 25*time.Second))
	return &call{name: name, ctx: context.Background(), held: true, until: until}
}

// stalledCall is a process that stands still (SIGSTOP, a long pause) between the effect and its hearing of it.
func (w *world) stalledCall(owner *incarnation, name string) *call {
	return w.standstill(owner, name, w.spread(name, 5*time.Second, longestStall))
}

func (w *world) standstill(owner *incarnation, name string, d time.Duration) *call {
	until := time.Now().Add(d)
	w.gate.still(owner, until)
	return &call{name: name + " stalled", owner: owner, ctx: context.Background(), deaf: true, held: true, until: until}
}

// longestStall exceeds lease and settle delay together.
const longestStall = time.Minute

// spread draws a duration from a name: twins have no access to the scheduler's source.
func (w *world) spread(name string, low, high time.Duration) time.Duration {
	return low + time.Duration(w.unit(name)*float64(high-low))
}

// unit draws a number in [0,1) from a name, another one in each run.
func (w *world) unit(name string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(w.salt + name))
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads what FNV leaves together in the upper bits for short names (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
