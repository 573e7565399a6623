package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/withhold"
)

// mutation is one mistake that the simulation has to catch, made by wrapping ports and shells: production code is as it
// is. Hooks that are nil change nothing.
type mutation struct {
	name, danger string

	store     func(*world, idempotency.Store) idempotency.Store
	publisher func(stream.Publisher) stream.Publisher
	vendor    func(topic string, v vendors.Vendor) vendors.Vendor
	reader    func(callback.Reader) callback.Reader
	handler   func(stream.Handler) stream.Handler
	callbacks func(*world, http.Handler) http.Handler
	policy    func(*commands.Policy)
	prepare   func(prepareFunc) prepareFunc
}

type prepareFunc = func(ctx context.Context, seenBefore bool) error

// complete fills the hooks that are nil.
func (m mutation) complete() mutation {
	if m.store == nil {
		m.store = func(_ *world, s idempotency.Store) idempotency.Store { return s }
	}
	if m.publisher == nil {
		m.publisher = func(p stream.Publisher) stream.Publisher { return p }
	}
	if m.vendor == nil {
		m.vendor = func(_ string, v vendors.Vendor) vendors.Vendor { return v }
	}
	if m.reader == nil {
		m.reader = func(r callback.Reader) callback.Reader { return r }
	}
	if m.handler == nil {
		m.handler = func(h stream.Handler) stream.Handler { return h }
	}
	if m.callbacks == nil {
		m.callbacks = func(_ *world, h http.Handler) http.Handler { return h }
	}
	if m.policy == nil {
		m.policy = func(*commands.Policy) {}
	}
	if m.prepare == nil {
		m.prepare = func(f prepareFunc) prepareFunc { return f }
	}
	return m
}

// mutations are the mistakes, each with a line on why it is dangerous.
func mutations() []mutation {
	return []mutation{
		{
			name: "resend on timeout", danger: "a timeout proves nothing: the charge may stand",
			vendor: sends(func(r commands.Reply, err error) (commands.Reply, error) {
				if vendors.ClassOf(err) == commands.ClassUnknown && err != nil {
					err = &vendors.Error{Class: commands.ClassRetryable, Code: "mutated", Err: err}
				}
				return r, err
			}),
		},
		{
			name: "timeout is failure", danger: "the ledger would be told that no money moved",
			vendor: sends(func(r commands.Reply, err error) (commands.Reply, error) {
				if vendors.ClassOf(err) == commands.ClassUnknown && err != nil {
					err = &vendors.Error{Class: commands.ClassPermanent, Code: "mutated", Err: err}
				}
				return r, err
			}),
		},
		{
			name: "refusal is failure", danger: "a refusal may be the answer to a duplicate of a charge",
			vendor: sends(func(r commands.Reply, err error) (commands.Reply, error) {
				if r.Status == commands.StatusRefused {
					r.Status = commands.StatusFailed
				}
				return r, err
			}),
		},
		{
			name: "pending is success", danger: "the vendor may still decline",
			vendor: sends(func(r commands.Reply, err error) (commands.Reply, error) {
				if r.Status == commands.StatusPending {
					r.Status = commands.StatusSucceeded
				}
				return r, err
			}),
		},
		{
			name: "every bad answer means missing", danger: "a question that failed says nothing about the order",
			vendor: asks(func(r commands.Reply, err error) (commands.Reply, error) {
				if err != nil {
					r.Status, err = commands.StatusMissing, nil
				}
				return r, err
			}),
		},
		{
			name: "new number on resend", danger: "the vendor cannot connect the two, and takes money for both",
			vendor: renumbering,
		},
		{
			name: "vendor text is not scrubbed", danger: "card numbers would stand in the result topic for good",
			// The driver scrubs what any vendor says, so only past it can a number get through.
			publisher: rewritten(".v1", func(_ context.Context, m *stream.Message) {
				m.Value = []byte(strings.Replace(string(m.Value), "{", `{"message":"`+card+`",`, 1))
			}),
		},
		{
			name: "missing counts at once", danger: "the request may be on its way, or the charge not yet visible",
			policy: func(p *commands.Policy) { p.Settle = 0 },
		},
		{
			name: "forgetting goes unnoticed", danger: "what was sent before the loss is sent again",
			store: func(_ *world, s idempotency.Store) idempotency.Store { return bent{Store: s, see: unforgotten} },
		},
		{
			name: "an empty store is taken for a fresh one", danger: "a loss between two lives of a process goes unnoticed",
			prepare: func(f prepareFunc) prepareFunc {
				return func(ctx context.Context, _ bool) error { return f(ctx, false) }
			},
		},
		{
			name: "last writer wins", danger: "two processes both believe that the order is theirs to send",
			store: func(_ *world, s idempotency.Store) idempotency.Store { return bent{Store: s, force: true} },
		},
		{
			name: "a lease that is over is sent again", danger: "who died in mid-call may have been heard by the vendor",
			store: func(_ *world, s idempotency.Store) idempotency.Store {
				return bent{Store: s, see: rephased(commands.Waiting, commands.Sending)}
			},
		},
		{
			name: "a verdict is decided anew", danger: "two events of one id would differ",
			store: func(_ *world, s idempotency.Store) idempotency.Store {
				return bent{Store: s, see: rephased(commands.Asking, commands.Settled, commands.Announced)}
			},
		},
		{
			name: "the intent is not stored", danger: "after a crash nobody knows that something may have been sent",
			store: func(_ *world, s idempotency.Store) idempotency.Store { return bent{Store: s, lose: commands.Sending} },
		},
		{
			name: "announced before it is stored", danger: "after a crash the verdict is decided, and worded, anew",
			store: func(_ *world, s idempotency.Store) idempotency.Store { return bent{Store: s, lose: commands.Settled} },
		},
		{
			name: "the request guard is ignored", danger: "one request is executed for two orders",
			store: func(_ *world, s idempotency.Store) idempotency.Store { return bent{Store: s, unguarded: true} },
		},
		{
			name: "commit first", danger: "a crash loses what was committed and not done",
			handler: func(h stream.Handler) stream.Handler {
				return stream.HandlerFunc(func(ctx context.Context, m stream.Message) error {
					go func() { _ = h.Handle(context.WithoutCancel(ctx), m) }()
					return nil
				})
			},
		},
		{
			name: "errors are swallowed", danger: "a store that is away for a second loses commands",
			handler: func(h stream.Handler) stream.Handler {
				return stream.HandlerFunc(func(ctx context.Context, m stream.Message) error {
					_ = h.Handle(ctx, m)
					return nil
				})
			},
		},
		{
			name: "publish and forget", danger: "with no acknowledgement asked for, a lost event is lost for good",
			publisher: func(p stream.Publisher) stream.Publisher {
				return publishes(func(ctx context.Context, m stream.Message) error { _ = p.Publish(ctx, m); return nil })
			},
		},
		{
			name: "parked copies are dropped", danger: "the store alone does not bring a pending order back",
			publisher: func(p stream.Publisher) stream.Publisher {
				return publishes(func(ctx context.Context, m stream.Message) error {
					if strings.Contains(m.Topic, ".delay.") {
						return nil
					}
					return p.Publish(ctx, m)
				})
			},
		},
		{
			name: "a new event id each time", danger: "a ledger books the same verdict twice",
			publisher: func(p stream.Publisher) stream.Publisher {
				return publishes(func(ctx context.Context, m stream.Message) error {
					for i, h := range m.Headers {
						if h.Key == "ce_id" {
							m.Headers[i].Value = fmt.Append(nil, nameOf(ctx), time.Now().UnixNano())
						}
					}
					return p.Publish(ctx, m)
				})
			},
		},
		{
			name: "the md5 is trusted", danger: "anyone can compute it, so anyone can settle an order",
			callbacks: func(w *world, h http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path == hintPath {
						h.ServeHTTP(rw, r)
						return
					}
					order, _ := w.scenario.orderOfURL(r.URL.Path)
					r.URL.Path = strings.TrimPrefix(callback.URL(base, "withhold", w.tokens, order), base)
					h.ServeHTTP(rw, r)
				})
			},
		},
		{
			name: "any order's token is good", danger: "one customer's token would settle another one's order",
			callbacks: func(w *world, h http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if _, forged := w.scenario.orderOfURL(r.URL.Path); r.URL.Path != hintPath && !forged {
						c, err := withhold.DecodeCallback([]byte(drainBody(r)))
						must(err)
						r.URL.Path = strings.TrimPrefix(callback.URL(base, "withhold", w.tokens, c.BizOrderNo), base)
					}
					h.ServeHTTP(rw, r)
				})
			},
		},
	}
}

// otherMutations are the mistakes about commands that move no money.
func otherMutations() []mutation {
	return []mutation{
		{
			name: "once: unknown is sent again", danger: "the customer gets a second message, and its code replaces the first",
			vendor: of(cardTopic, altered{send: reclassed(commands.ClassRetryable)}),
		},
		{
			name: "once: a lost reply is failure", danger: "the caller starts anew while the message is with the customer",
			vendor: of(cardTopic, altered{send: reclassed(commands.ClassPermanent)}),
		},
		{
			name: "once: sent again after a loss", danger: "nobody can be asked whether it was sent before",
			handler: func(h stream.Handler) stream.Handler {
				return stream.HandlerFunc(func(ctx context.Context, m stream.Message) error {
					if m.Topic == cardTopic {
						m.Time = time.Now()
					}
					return h.Handle(ctx, m)
				})
			},
		},
		{
			name: "once: unknown without a reason", danger: "a person has nothing to go by",
			publisher: rewritten(".unknown.v1", func(_ context.Context, m *stream.Message) {
				m.Value = bytes.ReplaceAll(m.Value, []byte(`"message"`), []byte(`"was"`))
			}),
		},
		{
			name: "read: PAY_FAILED is final", danger: "the applicant may pay again, and the flow ends well",
			vendor: of(pollTopic, altered{ask: func(r commands.Reply, err error) (commands.Reply, error) {
				if r.Fields["process"] == "PAY_FAILED" {
					r.Status = commands.StatusFailed
				}
				return r, err
			}}),
		},
		{
			name: "read: an ended flow has failed", danger: "the code says that it ended, not how",
			vendor: of(pollTopic, altered{ask: func(r commands.Reply, err error) (commands.Reply, error) {
				if r.Code == "30500002" {
					r.Status = commands.StatusFailed
				}
				return r, err
			}}),
		},
		{
			name: "read: a hint is the answer", danger: "it is about one step, or an old one played again",
			reader: func(r callback.Reader) callback.Reader { return trusting{r} },
		},
		{
			name: "read: one id for all progress", danger: "whoever drops duplicates hears of the first change only",
			publisher: rewritten("identity.pending.v1", func(_ context.Context, m *stream.Message) { setID(m, "progress of "+string(m.Key)) }),
		},
		{
			name: "read: one id a progress", danger: "a change back to an earlier progress is dropped as a duplicate",
			publisher: rewritten("identity.pending.v1", func(_ context.Context, m *stream.Message) {
				var fields map[string]string
				must(json.Unmarshal(m.Value, &fields))
				setID(m, string(m.Key)+progressOf(pollTopic, fields))
			}),
		},
		{
			name: "read: progress is told before it is stored", danger: "what was heard late is told after the end",
			store: func(_ *world, s idempotency.Store) idempotency.Store { return bent{Store: s, lose: commands.Pending} },
		},
		{
			name: "read: the interval does not grow", danger: "thousands of flows are asked about every few seconds",
			publisher: func(p stream.Publisher) stream.Publisher {
				return publishes(func(ctx context.Context, m stream.Message) error {
					if strings.HasPrefix(m.Topic, pollTopic+".delay.") {
						m.Topic = operation.DelayTopic(pollTopic, easy().tiers[0])
					}
					return p.Publish(ctx, m)
				})
			},
		},
		{
			name: "relay: the order is not told", danger: "the order stays unresolved though its end is known",
			vendor: func(topic string, v vendors.Vendor) vendors.Vendor {
				relay, ok := v.(both)
				if topic != queryTopic || !ok {
					return v
				}
				inner, ok := relay.Asker.(operation.Relay)
				if !ok {
					return v
				}
				inner.OrderField = "no such field"
				return both{Asker: inner}
			},
		},
		{
			name: "relay: missing is failure", danger: "a charge that is not yet visible is called failed",
			vendor: of(queryTopic+" asker", altered{ask: func(r commands.Reply, err error) (commands.Reply, error) {
				if r.Status == commands.StatusMissing {
					r.Status = commands.StatusFailed
				}
				return r, err
			}}),
		},
		{
			name: "relay: no answer means pending", danger: "the question is answered with what nobody said",
			vendor: of(queryTopic+" asker", altered{ask: func(r commands.Reply, err error) (commands.Reply, error) {
				if err != nil {
					r, err = commands.Reply{Status: commands.StatusPending}, nil
				}
				return r, err
			}}),
		},
	}
}

// reclassed takes what proves nothing for a proof.
func reclassed(to commands.Class) hearing {
	return func(r commands.Reply, err error) (commands.Reply, error) {
		if vendors.ClassOf(err) == commands.ClassUnknown && err != nil {
			err = &vendors.Error{Class: to, Code: "mutated", Err: err}
		}
		return r, err
	}
}

// rewritten changes events whose type ends so, before they are published.
func rewritten(suffix string, change func(context.Context, *stream.Message)) func(stream.Publisher) stream.Publisher {
	return func(p stream.Publisher) stream.Publisher {
		return publishes(func(ctx context.Context, m stream.Message) error {
			if kind, _ := m.Header("ce_type"); strings.HasSuffix(string(kind), suffix) {
				change(ctx, &m)
			}
			return p.Publish(ctx, m)
		})
	}
}

func setID(m *stream.Message, id string) {
	for i, h := range m.Headers {
		if h.Key == "ce_id" {
			m.Headers[i].Value = []byte(id)
		}
	}
}

// trusting takes a hint's own word for the vendor's answer.
type trusting struct{ callback.Reader }

func (t trusting) Read(r *http.Request, body func() ([]byte, error)) (callback.Word, error) {
	var raw []byte
	word, err := t.Reader.Read(r, func() (b []byte, err error) { raw, err = body(); return raw, err })
	var said struct{ Success bool }
	if _, hint := word.Event.(commands.Nudged); !hint || err != nil || json.Unmarshal(raw, &said) != nil {
		return word, err
	}
	reply := commands.Reply{Status: commands.StatusFailed}
	if said.Success {
		reply.Status = commands.StatusSucceeded
	}
	word.Event = commands.CalledBack{Reply: reply}
	return word, nil
}

// altered bends what a vendor says.
type altered struct {
	vendors.Vendor
	send, ask func(commands.Reply, error) (commands.Reply, error)
}

func (a altered) Send(ctx context.Context, c commands.Command) (commands.Reply, error) {
	r, err := a.Vendor.Send(ctx, c)
	if a.send == nil {
		return r, err
	}
	return a.send(r, err)
}

func (a altered) Ask(ctx context.Context, c commands.Command) (commands.Reply, error) {
	r, err := a.Vendor.Ask(ctx, c)
	if a.ask == nil {
		return r, err
	}
	return a.ask(r, err)
}

type (
	hearing    = func(commands.Reply, error) (commands.Reply, error)
	vendorHook = func(topic string, v vendors.Vendor) vendors.Vendor
)

// sends bends the replies to submissions of orders, asks those to questions about them.
func sends(f hearing) vendorHook { return of(commandTopic, altered{send: f}) }
func asks(f hearing) vendorHook  { return of(commandTopic, altered{ask: f}) }

// of bends what the vendor of one topic says.
func of(topic string, a altered) vendorHook {
	return func(t string, v vendors.Vendor) vendors.Vendor {
		if t != topic {
			return v
		}
		a.Vendor = v
		return a
	}
}

func renumbering(topic string, v vendors.Vendor) vendors.Vendor {
	if topic != commandTopic {
		return v
	}
	return renumbered(v)
}

// renumbered gives every send after the first a biz_order_no of its own.
func renumbered(v vendors.Vendor) vendors.Vendor {
	var mu sync.Mutex
	sent := map[commands.OperationKey]int{}
	return sender{v, func(ctx context.Context, c commands.Command) (commands.Reply, error) {
		mu.Lock()
		sent[c.Key]++
		n := sent[c.Key]
		mu.Unlock()
		if n > 1 {
			fresh := commands.OperationKey(fmt.Sprintf("%s-%d", c.Key, n))
			c.Body = bytes.ReplaceAll(c.Body, []byte(`"`+c.Key+`"`), []byte(`"`+fresh+`"`))
			c.Key = fresh
		}
		return v.Send(ctx, c)
	}}
}

type sender struct {
	vendors.Vendor
	send func(context.Context, commands.Command) (commands.Reply, error)
}

func (s sender) Send(ctx context.Context, c commands.Command) (commands.Reply, error) {
	return s.send(ctx, c)
}

// publishes makes a publisher of a function of one message.
type publishes func(context.Context, stream.Message) error

func (p publishes) Publish(ctx context.Context, messages ...stream.Message) error {
	for _, m := range messages {
		if err := p(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// bent is a store with a mistake.
type bent struct {
	idempotency.Store
	// see bends every record on its way out.
	see func(idempotency.Record) idempotency.Record
	// lose: writes of this phase are not made though they are said to be.
	lose commands.Phase
	// force: writes are made whatever stands there.
	force bool
	// unguarded: a claim of a request always succeeds.
	unguarded bool
}

func (b bent) Expect(key string) idempotency.Record { return b.bend(b.Store.Expect(key)) }

func (b bent) Load(ctx context.Context, key string) (idempotency.Record, error) {
	r, err := b.Store.Load(ctx, key)
	return b.bend(r), err
}

func (b bent) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	if s, err := commands.DecodeState(value); err == nil && b.lose != commands.New && s.Phase == b.lose {
		return was, nil
	}
	r, err := b.Store.Swap(ctx, was, value)
	conflict, lost := errors.AsType[*idempotency.Conflict](err)
	switch {
	case lost && (b.force || b.unguarded && strings.HasPrefix(was.Key, "r:")):
		return b.Swap(ctx, conflict.Standing, value)
	case lost && b.see != nil && conflict.Standing.Version == 0:
		// Nothing stands there, and the loss is not to be seen.
		return b.Swap(ctx, conflict.Standing, value)
	case lost:
		return r, &idempotency.Conflict{Standing: b.bend(conflict.Standing)}
	}
	return b.bend(r), err
}

func (b bent) bend(r idempotency.Record) idempotency.Record {
	if b.see == nil {
		return r
	}
	return b.see(r)
}

// unforgotten hides that the store forgot.
func unforgotten(r idempotency.Record) idempotency.Record {
	r.Forgot = time.Time{}
	return r
}

// rephased shows operations in some phases as if they were in another.
func rephased(to commands.Phase, from ...commands.Phase) func(idempotency.Record) idempotency.Record {
	return func(r idempotency.Record) idempotency.Record {
		s, err := commands.DecodeState(r.Value)
		if r.Version == 0 || err != nil || !slices.Contains(from, s.Phase) || s.Phase == commands.Sending && time.Now().Before(s.Lease) {
			return r
		}
		s.Phase, s.Verdict, s.Result = to, commands.StatusUnclear, nil
		r.Value, err = s.Encode()
		must(err)
		return r
	}
}

// within is how many seeds a mistake may hide.
const within = 2000

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var caught []string
	all := slices.Concat(mutations(), otherMutations(), stepMutations())
	t.Cleanup(func() {
		slices.Sort(caught)
		fmt.Printf("%d mutations of %d were caught within %d seeds:\n%s\n", len(caught), len(all), within, strings.Join(caught, "\n"))
	})
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			out := firstBroken(t, m)
			require.NotEmpty(t, out.violation, "not caught within %d seeds; it is dangerous, for %s", within, m.danger)
			mu.Lock()
			caught = append(caught, fmt.Sprintf("  %-40s seed %3d  %s", m.name, out.seed, out.violation))
			mu.Unlock()
		})
	}
}

// firstBroken plays seeds until one breaks a promise.
func firstBroken(t *testing.T, m mutation) (out outcome) {
	t.Helper()
	for seed := uint64(0); seed < within && out.violation == ""; seed++ {
		out = run(t, seed, m)
	}
	return out
}
