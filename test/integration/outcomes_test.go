package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/sim/withhold"
)

// Every way in which an order can go, all at once, and nothing of a person in any log line or result.
func TestEveryOutcome(t *testing.T) {
	cases := map[string]struct {
		plan  withhold.Plan
		kinds string
		moved int
	}{
		"success":           {withhold.Plan{}, "succeeded", 1},
		"fail":              {withhold.Plan{Final: "fail", Channel: "余额不足 " + card}, "failed", 0},
		"refused":           {withhold.Plan{Refuse: "参数错误"}, "failed", 0},
		"refused-after":     {withhold.Plan{RefuseAfter: "重复订单"}, "succeeded", 1},
		"pending-callback":  {withhold.Plan{Pending: true, After: 500 * time.Millisecond}, "pending succeeded", 1},
		"pending-form":      {withhold.Plan{Pending: true, After: 500 * time.Millisecond, CallbackForm: true, CallbackTwice: true}, "pending succeeded", 1},
		"pending-query":     {withhold.Plan{Pending: true, Queries: 2, NoCallback: true}, "pending succeeded", 1},
		"pending-fail":      {withhold.Plan{Pending: true, Queries: 1, NoCallback: true, Final: "fail"}, "pending failed", 0},
		"early-callback":    {withhold.Plan{CallbackEarly: true}, "succeeded", 1},
		"forged-callback":   {withhold.Plan{Pending: true, After: time.Second, Forged: true, Final: "fail"}, "pending failed", 0},
		"lost-reply":        {withhold.Plan{DropReply: true}, "succeeded", 1},
		"lost-request":      {withhold.Plan{DropRequest: true}, "succeeded", 1},
		"slow":              {withhold.Plan{Slow: 1500 * time.Millisecond}, "succeeded", 1},
		"5xx-after-charge":  {withhold.Plan{Status: 502}, "succeeded", 1},
		"garbage":           {withhold.Plan{Garbage: true}, "succeeded", 1},
		"query-lag":         {withhold.Plan{DropReply: true, QueryLag: 2 * time.Second}, "succeeded", 1},
		"query-errors":      {withhold.Plan{DropReply: true, QueryErrors: 2}, "succeeded", 1},
		"lost-and-no-calls": {withhold.Plan{DropReply: true, NoCallback: true}, "succeeded", 1},
	}
	h := newHouse(t, func(order string, attempt int) withhold.Plan {
		plan := cases[order].plan
		if attempt > 1 {
			plan.DropRequest = false
		}
		return plan
	})
	h.ingest()
	h.dispatcher()
	var orders []string
	for order := range cases {
		orders = append(orders, order)
		h.send(command("R-"+order, order, "12.34"))
	}
	all := h.results(60*time.Second, settled(orders...))
	for order, c := range cases {
		require.Equal(t, c.kinds, kinds(of(all, order)), order)
		require.Equal(t, c.moved, h.double.Moves(order), order)
		require.LessOrEqual(t, h.double.Order(order).Accepted, 1, "%s was submitted again though it was accepted", order)
	}
	require.Empty(t, h.double.Complaints(), "the double found something wrong on the wire")
	h.requireNothingPersonal(all)
}

// kinds lists the distinct kinds of an order's events, progress before verdict: a redelivery may repeat any.
func kinds(all []event) string {
	var list []string
	for _, kind := range []string{commands.KindPending, commands.KindSucceeded, commands.KindFailed, commands.KindAnswered, commands.KindUnknown,
		commands.KindUnresolved, commands.KindConflict, commands.KindRejected, commands.KindDuplicate} {
		for _, e := range all {
			if e.Kind == kind {
				list = append(list, kind)
				break
			}
		}
	}
	return strings.Join(list, " ")
}

// requireNothingPersonal looks for secrets and for what belongs to a person in all log lines, in results and in Redis.
func (h *house) requireNothingPersonal(all []event) {
	h.t.Helper()
	results := ""
	for _, e := range all {
		results += e.Raw
	}
	for place, text := range map[string]string{"a log line": h.log.String(), "a result": results, "Redis": h.remembered(h.t)} {
		require.NotEmpty(h.t, text, place)
		for name, secret := range map[string]string{
			"card": card, "identity number": identity, "phone": phone, "name": person,
			"gateway key": gatewayKey, "gateway key 2": gatewayKey2, "app secret": appSecret, "app secret 2": appSecret2,
			"DaxPay secret": allocSecret, "DaxPay secret 2": allocSecret2, "token key": tokenKey, "content key": contentKey,
		} {
			require.NotContains(h.t, text, secret, "%s holds a %s", place, name)
		}
	}
}

// Duplicates are told about the first request; conflicts are rejected; the same request again gets the same bytes.
func TestDuplicatesAndConflicts(t *testing.T) {
	h := newHouse(t, nil)
	h.dispatcher()
	h.send(command("R1", "B1", "1.00"))
	h.results(30*time.Second, settled("B1"))
	h.send(
		command("R1", "B1", "1.00"), // the same again
		command("R2", "B1", "1.00"), // another request, the same content
		command("R3", "B1", "9.00"), // another amount
		command("R1", "B9", "1.00"), // the request of another order
	)
	all := h.results(30*time.Second, func(all []event) bool { return len(all) >= 5 })
	byKind := map[string][]event{}
	for _, e := range all {
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	require.Len(t, byKind[commands.KindSucceeded], 2)
	require.Equal(t, byKind[commands.KindSucceeded][0], byKind[commands.KindSucceeded][1], "byte for byte, under one id")
	require.Len(t, byKind[commands.KindDuplicate], 1)
	require.Equal(t, "R1", byKind[commands.KindDuplicate][0].Data["first_requestId"])
	require.Equal(t, byKind[commands.KindSucceeded][0].ID, byKind[commands.KindDuplicate][0].Data["event_id"])
	require.Len(t, byKind[commands.KindRejected], 2)
	require.Equal(t, 1, h.double.Order("B1").Attempts)
	require.Zero(t, h.double.Order("B9").Attempts)
	require.Len(t, h.read("withhold.request.dlq", 20*time.Second, func(m []stream.Message) bool { return len(m) >= 2 }), 2)
}

// Bad input ends in a clear error and a dead letter with the original bytes, and never holds up what comes after it.
func TestBadInput(t *testing.T) {
	h := newHouse(t, nil)
	h.dispatcher()
	good := command("R", "B", "1.00")
	bad := []struct{ name, value, says string }{
		{"not JSON", "hello", "not JSON"},
		{"unknown field", strings.Replace(good, "{", `{"extra":"1",`, 1), "unknown field"},
		{"missing field", strings.Replace(good, `"pay_type":"101",`, "", 1), "missing pay_type"},
		{"wrong type", strings.Replace(good, `"1.00"`, "1.00", 1), "field amount: is number, must be string"},
		{"amount 0", command("R1", "B1", "0"), "amount"},
		{"amount 0.00", command("R2", "B2", "0.00"), "amount"},
		{"negative", command("R3", "B3", "-1.00"), "field amount"},
		{"three decimals", command("R4", "B4", "1.001"), "field amount"},
		{"1e2", command("R5", "B5", "1e2"), "field amount"},
		{"beyond the limit", command("R6", "B6", "50000.01"), "50000.00"},
		{"unknown account", strings.Replace(good, "{", `{"account":"nobody",`, 1), "account"},
		{"almost 1 MiB", strings.Replace(good, "{", "{"+strings.Repeat(" ", 1<<20-2048), 1), "at most"},
	}
	for _, b := range bad {
		h.send(b.value)
	}
	h.send(command("R-after", "B-after", "1.00"))
	all := h.results(40*time.Second, func(all []event) bool { return len(all) >= len(bad)+1 && settled("B-after")(all) })
	rejections := map[string]event{}
	for _, e := range all {
		if e.Kind == commands.KindRejected {
			rejections[e.Data["origin"]] = e
		}
	}
	letters := h.read("withhold.request.dlq", 20*time.Second, func(m []stream.Message) bool { return len(m) >= len(bad) })
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			letter := find(letters, b.value)
			require.NotNil(t, letter, "no dead letter with the original bytes")
			origin, _ := letter.Header("pd-origin")
			require.Contains(t, rejections[string(origin)].Data["message"], b.says)
			reason, _ := letter.Header("pd-reason")
			require.Equal(t, rejections[string(origin)].Data["reason"], string(reason))
		})
	}
	require.Len(t, h.double.Orders(), 1, "nothing was sent but the good command")
	h.requireNothingPersonal(all)
}

// What nearly fills what the command topic takes holds up nothing, and loses nothing that counts: headers and keys are the
// sender's, who may be anybody.
func TestWhatNearlyFillsItsTopic(t *testing.T) {
	h := newHouse(t, func(order string, _ int) withhold.Plan {
		if order == "B-parked" {
			return withhold.Plan{Pending: true, Queries: 1, NoCallback: true}
		}
		return withhold.Plan{}
	})
	h.dispatcher()
	const nearly = 1<<20 - 4096
	fill := []byte(strings.Repeat("x", nearly))
	header := []stream.Header{{Key: "of-the-sender", Value: fill}}
	require.NoError(t, h.write.Publish(within(t, 30*time.Second),
		stream.Message{Topic: "withhold.request", Key: []byte("k"), Value: []byte("{}"), Headers: header},
		stream.Message{Topic: "withhold.request", Key: fill, Value: []byte("{}")},
		stream.Message{Topic: "withhold.request", Key: []byte("B-parked"), Value: []byte(command("R1", "B-parked", "1.00")), Headers: header},
		stream.Message{Topic: "withhold.request", Key: fill, Value: []byte(command("R2", "B-key", "1.00"))},
	))
	all := h.results(60*time.Second, func(all []event) bool { return len(all) >= 5 && settled("B-parked", "B-key")(all) })
	rejected := 0
	for _, e := range all {
		if e.Kind == commands.KindRejected {
			rejected++
		}
	}
	require.Equal(t, 2, rejected)
	require.Len(t, h.read("withhold.request.dlq", 20*time.Second, func(m []stream.Message) bool { return len(m) >= 2 }), 2)
	require.Len(t, h.double.Orders(), 2)
}

func find(letters []stream.Message, value string) *stream.Message {
	for _, l := range letters {
		if string(l.Value) == value {
			return &l
		}
	}
	return nil
}

// What is parked lives in Kafka: it survives a stop of everything, and a Redis that forgot it.
func TestParkedOrdersSurvive(t *testing.T) {
	for name, wipe := range map[string]bool{"restart": false, "restart and a wiped Redis": true} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(string, int) withhold.Plan { return withhold.Plan{Pending: true, Queries: 3, NoCallback: true} })
			first := h.dispatcher()
			var orders []string
			for i := range 20 {
				orders = append(orders, fmt.Sprintf("B%d", i))
				h.send(command("R-"+orders[i], orders[i], "1.00"))
			}
			h.results(30*time.Second, func(all []event) bool { return len(all) >= len(orders) }) // all pending
			first.close()
			if wipe {
				h.forget(t)
			}
			h.dispatcher()
			h.results(60*time.Second, settled(orders...))
			for _, o := range orders {
				require.Equal(t, 1, h.double.Order(o).Accepted)
			}
		})
	}
}
