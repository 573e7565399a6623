package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors"
	"paydispatch/schemas"
)

var spec = commands.Spec{
	Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", Source: "/paydispatch/withhold",
	KeyField: "biz_order_no", CarryFields: []string{"amount", "pay_type"}, MatchFields: []string{"pay_order_no", "pay_type"},
	AmountField: "amount",
}

// house is a dispatcher over twins, with a vendor whose every answer the test writes down.
type house struct {
	t      *testing.T
	server *memstore.Server
	store  *faulty
	log    *recorder
	vendor *vendor
	policy commands.Policy
	fit    func() error
	now    func() time.Time
	// route holds what the dispatcher's one route has beside its driver.
	route dispatch.Route
	// keys are those of the ring, the newest first.
	keys [][]byte
	*dispatch.Dispatcher
}

// vendor answers from two queues and fails the test when it is asked more than it was told to expect.
type vendor struct {
	t            *testing.T
	sends, asks  []answer
	sent, asked  int
	beforeAnswer func()
	deadline     time.Time       // of the last send
	ctx          context.Context // of the last send
	account      string          // of the last call
}

type answer struct {
	reply commands.Reply
	err   error
}

func (v *vendor) Send(ctx context.Context, c commands.Command) (commands.Reply, error) {
	v.deadline, _ = ctx.Deadline()
	v.ctx = ctx
	v.account = c.Account
	v.sent++
	return v.next(&v.sends, "send")
}

func (v *vendor) Ask(_ context.Context, c commands.Command) (commands.Reply, error) {
	v.account = c.Account
	v.asked++
	return v.next(&v.asks, "ask")
}

func (v *vendor) next(queue *[]answer, what string) (commands.Reply, error) {
	if v.beforeAnswer != nil {
		v.beforeAnswer()
	}
	require.NotEmpty(v.t, *queue, "an unexpected %s", what)
	a := (*queue)[0]
	*queue = (*queue)[1:]
	return a.reply, a.err
}

func says(s commands.Status) answer {
	return answer{reply: commands.Reply{Status: s, Code: "1", Fields: map[string]string{"pay_order_no": "P1"}}}
}

func fails(c commands.Class) answer {
	return answer{err: &vendors.Error{Class: c, Code: "test", Err: errors.New("as scripted")}}
}

// recorder is a publisher that keeps what was published, unless it is told to fail. Every result must fit its schema.
type recorder struct {
	t        *testing.T
	schemas  *schemas.Set
	messages []stream.Message
	fail     func(stream.Message) error
}

func (r *recorder) Publish(_ context.Context, messages ...stream.Message) error {
	for _, m := range messages {
		if r.schemas != nil && strings.HasSuffix(m.Topic, ".result") {
			require.NoError(r.t, r.schemas.Validate(m.Topic, m.Value), "%s", m.Value)
		}
		if r.fail != nil {
			if err := r.fail(m); err != nil {
				return err
			}
		}
		r.messages = append(r.messages, m)
	}
	return nil
}

func (r *recorder) topic(prefix string) []stream.Message {
	var found []stream.Message
	for _, m := range r.messages {
		if strings.HasPrefix(m.Topic, prefix) {
			found = append(found, m)
		}
	}
	return found
}

// kinds lists the result events by kind, in order.
func (r *recorder) kinds() []string {
	var kinds []string
	for _, m := range r.topic("withhold.result") {
		kind, _ := m.Header("ce_type")
		kinds = append(kinds, strings.TrimSuffix(strings.TrimPrefix(string(kind), "withhold."), ".v1"))
	}
	return kinds
}

// faulty is a store whose writes can be made to fail, before or after they landed.
type faulty struct {
	idempotency.Store
	swap func(key string, do func() (idempotency.Record, error)) (idempotency.Record, error)
	// swapped is swap with the value that is to be written.
	swapped func(key string, value []byte, do func() (idempotency.Record, error)) (idempotency.Record, error)
}

func (f *faulty) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	do := func() (idempotency.Record, error) { return f.Store.Swap(ctx, was, value) }
	if f.swapped != nil {
		return f.swapped(was.Key, value, do)
	}
	if f.swap != nil {
		return f.swap(was.Key, do)
	}
	return do()
}

func newHouse(t *testing.T) *house {
	t.Helper()
	server := memstore.NewServer(4)
	store := memstore.New(server, memstore.Config{})
	require.NoError(t, store.Prepare(context.Background(), false))
	set, err := schemas.Load()
	require.NoError(t, err)
	h := &house{
		t: t, server: server, store: &faulty{Store: store}, log: &recorder{t: t, schemas: set}, vendor: &vendor{t: t}, policy: commands.Policy{
			Spec: spec, Owner: "p1", Lease: 5 * time.Second, Settle: 10 * time.Second, Deadline: time.Hour, MaxSends: 2,
			Tiers: []time.Duration{5 * time.Second, 20 * time.Second, time.Minute},
		},
	}
	h.Dispatcher = h.restart()
	return h
}

// restart returns a dispatcher of a new process over the same store and log.
func (h *house) restart() *dispatch.Dispatcher {
	if h.keys == nil {
		h.keys = [][]byte{[]byte("0123456789abcdef")}
	}
	ring, err := commands.NewKeyring(h.keys...)
	require.NoError(h.t, err)
	driver, err := operation.New(operation.Config{
		Keys: ring, Store: h.store, Publisher: h.log, Sender: h.vendor, Asker: h.vendor, Timeout: 4 * time.Second, Logger: slog.New(slog.DiscardHandler),
		Policy: h.policy, Fit: h.fit, Now: h.now,
	})
	require.NoError(h.t, err)
	route := h.route
	route.Driver = driver
	return dispatch.New(dispatch.Config{
		Routes: []dispatch.Route{route}, Store: h.store, Publisher: h.log, Validator: h.log.schemas, Fingerprints: ring,
		MaxBytes: 4096, Logger: slog.New(slog.DiscardHandler),
	})
}

func order(request, biz, amount string) stream.Message {
	value := fmt.Sprintf(`{"requestId":%q,"biz_order_no":%q,"amount":%q,"name":"张三","id_card_number":"110101199003070000","mobile":"13800000000","pay_type":"101","bank_card_number":"6222000000000000000"}`, request, biz, amount)
	return stream.Message{Topic: "withhold.request", Partition: 2, Offset: 7, Key: []byte(biz), Value: []byte(value), Time: time.Now(),
		Headers: []stream.Header{{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}}}
}

func (h *house) handle(m stream.Message) {
	h.t.Helper()
	require.NoError(h.t, h.Handle(context.Background(), m))
}

// due returns the last parked copy, after its time has come.
func (h *house) due() stream.Message {
	h.t.Helper()
	parked := h.log.topic("withhold.request.delay.")
	require.NotEmpty(h.t, parked, "nothing was parked")
	m := parked[len(parked)-1]
	due, _ := m.Header(operation.HeaderDue)
	var millis int64
	_, err := fmt.Sscan(string(due), &millis)
	require.NoError(h.t, err)
	time.Sleep(time.Until(time.UnixMilli(millis)))
	return m
}

func (h *house) data(i int) map[string]string {
	h.t.Helper()
	data := map[string]string{}
	require.NoError(h.t, json.Unmarshal(h.log.topic("withhold.result")[i].Value, &data))
	return data
}

// state reads what is on record of an order.
func (h *house) state(biz string) commands.State {
	h.t.Helper()
	record, err := h.store.Load(context.Background(), operation.Key(spec, commands.OperationKey(biz)))
	require.NoError(h.t, err)
	state, err := commands.DecodeState(record.Value)
	require.NoError(h.t, err)
	return state
}

// drop loses one record behind everybody's back, as a store that went back in time does.
func (h *house) drop(key string) {
	h.server.Lose(func(k string) bool { return k == key })
}

func inBubble(t *testing.T, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newHouse(t)) })
}

func TestSuccess(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, map[string]string{"requestId": "R1", "biz_order_no": "B1", "amount": "1.00", "pay_type": "101", "pay_order_no": "P1", "code": "1", "amount_confirmed": "submission"}, h.data(0))
		trace, _ := h.log.messages[0].Header("traceparent")
		require.Equal(t, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", string(trace))

		time.Sleep(time.Minute)
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, h.log.messages[0], h.log.messages[1], "published again byte for byte")
		require.Equal(t, 1, h.vendor.sent)
	})
}

func TestDuplicateAndConflicts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.handle(order("R2", "B1", "1.00")) // the same content under another request
		h.handle(order("R3", "B1", "2.00")) // another amount
		h.handle(order("R1", "B9", "1.00")) // a request used before
		require.Equal(t, []string{"succeeded", "duplicate", "rejected", "rejected"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)

		id, _ := h.log.topic("withhold.result")[0].Header("ce_id")
		dup := h.data(1)
		require.Equal(t, "R2", dup["requestId"])
		require.Equal(t, "R1", dup["first_requestId"])
		require.Equal(t, "succeeded", dup["state"])
		require.Equal(t, string(id), dup["event_id"])
		require.Equal(t, "order_reused", h.data(2)["reason"])
		require.Equal(t, "request_reused", h.data(3)["reason"])
		require.Len(t, h.log.topic("withhold.request.dlq"), 2, "what is rejected is also a dead letter")
	})
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	good := string(order("R1", "B1", "1.00").Value)
	for name, c := range map[string]struct{ value, reason, says string }{
		"not JSON":        {"hello", "invalid", "not JSON"},
		"an array":        {"[]", "invalid", "must be object"},
		"unknown field":   {strings.Replace(good, `{`, `{"notify_url":"x",`, 1), "invalid", "unknown field"},
		"missing field":   {strings.Replace(good, `"mobile":"13800000000",`, "", 1), "invalid", "missing mobile"},
		"wrong type":      {strings.Replace(good, `"1.00"`, `1.00`, 1), "invalid", "field amount"},
		"negative amount": {strings.Replace(good, `"1.00"`, `"-1.00"`, 1), "invalid", "field amount"},
		"three decimals":  {strings.Replace(good, `"1.00"`, `"1.001"`, 1), "invalid", "field amount"},
		"exponent":        {strings.Replace(good, `"1.00"`, `"1e2"`, 1), "invalid", "field amount"},
		"repeated field":  {strings.Replace(good, `{`, `{"amount":"9.00",`, 1), "invalid", "twice"},
		"no way to pay":   {strings.Replace(good, `,"bank_card_number":"6222000000000000000"`, "", 1), "invalid", "bank_card_number or biz_data"},
		"too large":       {strings.Repeat(" ", 4096) + good, "too_large", "at most 4096"},
		"card as a name":  {strings.Replace(good, `{`, `{"6222000000000000000":"x",`, 1), "invalid", "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				m := order("", "", "")
				m.Value = []byte(c.value)
				h.handle(m)
				require.Equal(t, []string{"rejected"}, h.log.kinds())
				data := h.data(0)
				require.Equal(t, c.reason, data["reason"])
				require.Contains(t, data["message"], c.says)
				require.Equal(t, "withhold.request/2/7", data["origin"])
				for _, secret := range []string{"6222000000000000000", "110101199003070000", "13800000000", "张三"} {
					require.NotContains(t, string(h.log.topic("withhold.result")[0].Value), secret)
				}
				letters := h.log.topic("withhold.request.dlq")
				require.Len(t, letters, 1)
				require.Equal(t, m.Value, letters[0].Value, "the original bytes")
				reason, _ := letters[0].Header(dispatch.HeaderReason)
				require.Equal(t, c.reason, string(reason))

				h.handle(m)
				first, _ := h.log.topic("withhold.result")[0].Header("ce_id")
				again, _ := h.log.topic("withhold.result")[1].Header("ce_id")
				require.Equal(t, string(first), string(again), "the same rejection has the same id")
			})
		})
	}
}

func TestLostReplyIsAskedAbout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
}

// An order is sent again only after the settle delay, under the same number, and then settles.
func TestLostRequestIsSentAgainAfterTheSettleDelay(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		require.Empty(t, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent, "a missing order proves nothing so soon")

		h.vendor.asks = []answer{says(commands.StatusMissing)}
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, 2, h.vendor.sent)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

func TestRefusalIsNoProof(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{{reply: commands.Reply{Status: commands.StatusRefused, Code: "-1", Message: "重复订单"}}}
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds(), "the order's own state counts")
	})
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{{reply: commands.Reply{Status: commands.StatusRefused, Code: "-1", Message: "余额"}}}
		h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		require.Empty(t, h.log.kinds())
		h.handle(h.due())
		require.Equal(t, []string{"failed"}, h.log.kinds())
		require.Equal(t, "余额", h.data(0)["message"])
		require.Equal(t, 1, h.vendor.sent, "a refused order is not sent again")
	})
}

func TestNothingSentIsSentLater(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassRetryable), fails(commands.ClassRetryable), says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.handle(h.due())
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Zero(t, h.vendor.asked, "proof needs no question")
	})
}

func TestPendingIsToldOnceAndAskedAbout(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusPending)}
		h.vendor.asks = []answer{says(commands.StatusPending), says(commands.StatusMissing), says(commands.StatusFailed)}
		h.handle(order("R1", "B1", "1.00"))
		for range 3 {
			h.handle(h.due())
		}
		require.Equal(t, []string{"pending", "failed"}, h.log.kinds(), "a missing answer never outweighs the vendor's word that it has the order")
		require.Equal(t, 1, h.vendor.sent)
	})
}

func TestUnresolvedAtTheDeadlineAndStillSettledLater(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		time.Sleep(time.Hour)
		h.vendor.asks = []answer{fails(commands.ClassUnknown)}
		h.handle(h.due())
		require.Equal(t, []string{"unresolved"}, h.log.kinds())
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"unresolved", "unresolved"}, h.log.kinds(), "told again, byte for byte")
		require.Equal(t, h.log.topic("withhold.result")[0], h.log.topic("withhold.result")[1])
	})
}

// A process that dies in mid-call leaves a lease; whoever finds the record waits for its end and asks.
func TestCrashInMidCall(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		swaps := 0
		h.store.swap = func(_ string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if swaps++; swaps > 2 { // request, intent, then gone
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
			return do()
		}
		require.ErrorIs(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), idempotency.ErrUnavailable)
		require.Empty(t, h.log.messages, "nothing is said that is not stored")

		h.store.swap = nil
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		began := time.Now()
		require.NoError(t, h.restart().Handle(context.Background(), order("R1", "B1", "1.00")))
		require.Equal(t, 5*time.Second, time.Since(began), "the lease is waited for")
		require.Equal(t, 1, h.vendor.sent)
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// The intent is durable before the first byte leaves: with the store away nothing is sent.
func TestNoIntentNoSend(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.store.swap = func(key string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			if strings.HasPrefix(key, "o:") {
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
			return do()
		}
		require.ErrorIs(t, h.Handle(context.Background(), order("R1", "B1", "1.00")), idempotency.ErrUnavailable)
		require.Zero(t, h.vendor.sent)
	})
}

// An intent whose write landed though its reply was lost is found again. The process that made it knows that nothing was
// sent, so that it costs neither a question nor an attempt; another process asks.
func TestSwapLandedReplyLost(t *testing.T) {
	t.Parallel()
	lost := func(h *house) {
		h.store.swap = func(key string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			record, err := do()
			if strings.HasPrefix(key, "o:") && err == nil {
				return idempotency.Record{}, idempotency.ErrUnavailable
			}
			return record, err
		}
		for range 5 {
			require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		}
		require.Zero(t, h.vendor.asked)
		h.store.swap = nil
	}
	inBubble(t, func(h *house) {
		lost(h)
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.state("B1").Sends, "the attempts that did not leave do not count")
	})
	inBubble(t, func(h *house) {
		lost(h)
		h.Dispatcher = h.restart()
		h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusMissing)}
		h.handle(order("R1", "B1", "1.00"))
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
}

func TestAForgetfulStoreIsAskedAround(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) { // settled before the loss
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R2", "B1", "1.00"))
		require.Equal(t, 1, h.vendor.sent)
		before, _ := h.log.messages[0].Header("ce_id")
		after, _ := h.log.messages[1].Header("ce_id")
		require.Equal(t, string(before), string(after), "a ledger drops the second by its id, though another request asked")
	})
	inBubble(t, func(h *house) { // forgotten between the intent and the reply
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.vendor.beforeAnswer = h.server.Forget
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
	inBubble(t, func(h *house) { // forgotten while parked, then redelivered
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown), says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.server.Forget()
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
	inBubble(t, func(h *house) { // parked with nothing sent, forgotten: even that memory may be stale
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		h.handle(order("R1", "B1", "1.00"))
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusMissing), says(commands.StatusMissing)}
		h.handle(h.due())
		require.Equal(t, 1, h.vendor.sent, "not sent before the settle delay since the loss")
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
}

// A process that stood still between its intent and its call finds its lease over: another one may have sent meanwhile.
func TestNothingIsSentAfterTheLease(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.store.swap = func(key string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			record, err := do()
			if strings.HasPrefix(key, "o:") {
				time.Sleep(5 * time.Second)
			}
			return record, err
		}
		h.handle(order("R1", "B1", "1.00"))
		require.Zero(t, h.vendor.sent)
		h.store.swap = nil
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
	})
	inBubble(t, func(h *house) { // and a call that has begun ends with the lease
		began := time.Now()
		h.store.swap = func(key string, do func() (idempotency.Record, error)) (idempotency.Record, error) {
			record, err := do()
			if strings.HasPrefix(key, "o:") && h.vendor.sent == 0 {
				time.Sleep(3 * time.Second)
			}
			return record, err
		}
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, began.Add(5*time.Second), h.vendor.deadline)
	})
}

// A process that stored its intent just before the loss may send until its lease is over; the settle delay begins then.
func TestALossIsFollowedByALease(t *testing.T) {
	t.Parallel()
	unsent := func(h *house, first stream.Message, message func() stream.Message) {
		lost := time.Now()
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		for m, sent := first, h.vendor.sent; h.vendor.sent == sent; m = message() {
			h.vendor.asks = []answer{says(commands.StatusMissing)}
			h.handle(m)
		}
		require.GreaterOrEqual(t, time.Since(lost), 15*time.Second, "a lease of 5 s and a settle delay of 10 s")
	}
	inBubble(t, func(h *house) { // the command comes after the loss
		h.server.Forget()
		unsent(h, order("R1", "B1", "1.00"), h.due)
	})
	inBubble(t, func(h *house) { // a copy was parked before it
		h.vendor.sends = []answer{fails(commands.ClassRetryable)}
		h.handle(order("R1", "B1", "1.00"))
		parked := h.due()
		h.server.Forget()
		unsent(h, parked, h.due)
	})
}

// After a loss several messages of an order ask at once. The one that comes second is still told what it is.
func TestAfterALossEveryMessageIsAnswered(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]struct{ message, kind string }{
		"a duplicate": {"1.00", "duplicate"}, "a conflict": {"2.00", "rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(h *house) {
				h.vendor.sends = []answer{says(commands.StatusSucceeded)}
				h.handle(order("R1", "B1", "1.00"))
				h.server.Forget()
				h.vendor.asks = []answer{says(commands.StatusSucceeded), says(commands.StatusSucceeded)}
				h.vendor.beforeAnswer = func() {
					h.vendor.beforeAnswer = nil
					h.handle(order("R1", "B1", "1.00"))
				}
				h.handle(order("R2", "B1", second.message))
				require.Equal(t, []string{"succeeded", "succeeded", second.kind}, h.log.kinds())
				require.Equal(t, "R2", h.data(2)["requestId"])
			})
		})
	}
}

// A parked copy never speaks for another content that took its order's record after a loss, and is not silent either.
func TestAParkedCopyWhoseRecordChangedHands(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown), fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		copied := h.due()
		h.server.Forget()
		h.handle(order("R2", "B1", "2.00"))
		h.handle(copied)
		require.Equal(t, []string{"rejected"}, h.log.kinds())
		require.Equal(t, "R1", h.data(0)["requestId"])
		require.Contains(t, h.data(0)["message"], "ask the vendor")
		require.Len(t, h.log.topic("withhold.request.dlq"), 1)
	})
	inBubble(t, func(h *house) { // between the copy's question and its answer
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown), says(commands.StatusSucceeded), says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		copied := h.due()
		h.server.Forget()
		h.vendor.beforeAnswer = func() {
			h.vendor.beforeAnswer = nil
			h.handle(order("R2", "B1", "2.00"))
		}
		require.ErrorContains(t, h.Handle(context.Background(), copied), "another content")
		h.handle(copied)
		require.Equal(t, []string{"succeeded", "rejected"}, h.log.kinds())
	})
}

// A requestId that another content holds since a loss proves nothing about what was sent before it.
func TestAReusedRequestAfterALoss(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusSucceeded)}
		h.handle(order("R1", "B1", "1.00"))
		h.server.Forget()
		h.vendor.asks = []answer{says(commands.StatusPending)}
		h.handle(order("R1", "B2", "1.00"))
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded", "pending", "rejected"}, h.log.kinds())
		require.Contains(t, h.data(2)["message"], "ask the vendor")
	})
}

func TestStaleCopyIsDropped(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown), fails(commands.ClassUnknown)}
		h.handle(order("R1", "B1", "1.00"))
		old := h.due()
		h.handle(old)
		asked := h.vendor.asked
		h.handle(old)
		require.Equal(t, asked, h.vendor.asked)
		require.Len(t, h.log.topic("withhold.request.delay."), 2)
	})
}

// When the parked copy cannot be published, the message stays where it is.
func TestParkingFails(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{fails(commands.ClassUnknown)}
		h.vendor.asks = []answer{fails(commands.ClassUnknown), says(commands.StatusSucceeded)}
		h.log.fail = func(stream.Message) error { return errors.New("broker away") }
		require.Error(t, h.Handle(context.Background(), order("R1", "B1", "1.00")))
		h.log.fail = nil
		h.handle(order("R1", "B1", "1.00"))
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
}

func TestPanics(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) { // in mid-call: never a result, never forgotten
		h.vendor.beforeAnswer = func() { panic("boom 6222000000000000000") }
		h.handle(order("R1", "B1", "1.00"))
		require.Empty(t, h.log.kinds())
		h.vendor.beforeAnswer = nil
		h.vendor.asks = []answer{says(commands.StatusSucceeded)}
		h.handle(h.due())
		require.Equal(t, []string{"succeeded"}, h.log.kinds())
		require.Equal(t, 1, h.vendor.sent)
	})
	inBubble(t, func(h *house) { // before anything was sent
		h.store.swap = func(key string, _ func() (idempotency.Record, error)) (idempotency.Record, error) {
			panic("boom")
		}
		h.handle(order("R1", "B1", "1.00"))
		require.Len(t, h.log.topic("withhold.request.dlq"), 1)
		require.Zero(t, h.vendor.sent)
	})
}

func TestWhatCannotBeReadIsADeadLetter(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		_, err := h.store.Swap(context.Background(), h.store.Expect("o:withhold:B1"), []byte(`{"v":0}`))
		require.NoError(t, err)
		h.handle(order("R1", "B1", "1.00"))
		m := order("R2", "B2", "1.00")
		m.Topic = "withhold.request.delay.5s"
		m.Headers = append(m.Headers, stream.Header{Key: operation.HeaderState, Value: []byte("{}")})
		h.handle(m)
		require.Len(t, h.log.topic("withhold.request.dlq"), 2)
		require.Zero(t, h.vendor.sent)
	})
}

// A vendor adapter that breaks its contract costs a dead letter, not the lane.
func TestAnAdapterThatBreaksItsContract(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.vendor.sends = []answer{says(commands.StatusUnclear)}
		h.handle(order("R1", "B1", "1.00"))
		require.Empty(t, h.log.kinds())
		require.Len(t, h.log.topic("withhold.request.dlq"), 1)
	})
}

func TestADeadLetterThatIsTooLargeKeepsItsBeginning(t *testing.T) {
	t.Parallel()
	inBubble(t, func(h *house) {
		h.log.fail = func(m stream.Message) error {
			if len(m.Value) > 1<<20 {
				return fmt.Errorf("%w: 2 MB", stream.ErrTooLarge)
			}
			return nil
		}
		m := order("R1", "B1", "1.00")
		m.Value = make([]byte, 2<<20)
		h.handle(m)
		letters := h.log.topic("withhold.request.dlq")
		require.Len(t, letters, 1)
		note, _ := letters[0].Header(dispatch.HeaderTruncated)
		require.Contains(t, string(note), "2097152 bytes")
	})
}
