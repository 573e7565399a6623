package withhold_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	sim "paydispatch/internal/vendors/sim/withhold"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

const (
	testKey    = "0123456789abcdef"
	secondKey  = "fedcba9876543210"
	notFound   = "订单不存在"
	testName   = "张三"
	testID     = "110101199003070000"
	testMobile = "13800000000"
	testCard   = "6222000000000000000"
	testProto  = "PROTO-8899"
)

// accounts are those of the double.
func accounts() map[string]string { return map[string]string{"ua_demo": testKey, "ua_two": secondKey} }

func config(url string) withhold.Config {
	return withhold.Config{
		URL: url,
		Accounts: map[string]withhold.Account{
			"main": {UA: "ua_demo", Key: testKey}, "second": {UA: "ua_two", Key: secondKey},
		},
		DefaultAccount: "main",
		MissingWords:   []string{notFound},
		MaxAmount:      "50000.00",
		HTTP:           wire.Config{Timeout: 10 * time.Second},
	}
}

func newClient(t testing.TB, c withhold.Config) *withhold.Client {
	t.Helper()
	client, err := withhold.New(c)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// body is a valid command's JSON with some fields changed; a nil value removes one.
func body(order string, change map[string]any) commands.Body {
	fields := map[string]any{
		"requestId": "R-" + order, "biz_order_no": order, "amount": "100.00", "name": testName,
		"id_card_number": testID, "mobile": testMobile, "bank_card_number": testCard,
		"biz_data": map[string]any{"protocol_no": testProto}, "pay_type": "101",
	}
	for k, v := range change {
		if v == nil {
			delete(fields, k)
		} else {
			fields[k] = v
		}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return raw
}

func command(order string, change map[string]any) commands.Command {
	account, _ := change["account"].(string)
	return commands.Command{
		Topic: "withhold.request", RequestID: commands.RequestID("R-" + order), Key: commands.OperationKey(order),
		Account: account, Body: body(order, change),
	}
}

func serve(t testing.TB, c sim.Config) (*sim.Gateway, string) {
	t.Helper()
	if c.Accounts == nil {
		c.Accounts = accounts()
	}
	g := sim.New(c)
	server, err := sim.Listen(g, "")
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return g, server.URL
}

func TestSendAndAskAgainstTheDouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan      sim.Plan
		change    map[string]any
		sent      commands.Status
		sentClass string
		asked     commands.Status
		moved     int
	}{
		"success":               {sim.Plan{}, nil, commands.StatusSucceeded, "", commands.StatusSucceeded, 1},
		"second account":        {sim.Plan{}, map[string]any{"account": "second"}, commands.StatusSucceeded, "", commands.StatusSucceeded, 1},
		"protocol number alone": {sim.Plan{}, map[string]any{"bank_card_number": nil}, commands.StatusSucceeded, "", commands.StatusSucceeded, 1},
		"card alone":            {sim.Plan{}, map[string]any{"biz_data": nil}, commands.StatusSucceeded, "", commands.StatusSucceeded, 1},
		"failed":                {sim.Plan{Final: "fail"}, nil, commands.StatusFailed, "", commands.StatusFailed, 0},
		"pending":               {sim.Plan{Pending: true}, nil, commands.StatusPending, "", commands.StatusPending, 0},
		"settled by query":      {sim.Plan{Pending: true, Queries: 1}, nil, commands.StatusPending, "", commands.StatusSucceeded, 1},
		"refused":               {sim.Plan{Refuse: "参数错误"}, nil, commands.StatusRefused, "", commands.StatusMissing, 0},
		"refused after charge":  {sim.Plan{RefuseAfter: "订单号重复"}, nil, commands.StatusRefused, "", commands.StatusSucceeded, 1},
		"request lost":          {sim.Plan{DropRequest: true}, nil, 0, wire.CodeEOF, commands.StatusMissing, 0},
		"reply lost":            {sim.Plan{DropReply: true}, nil, 0, wire.CodeEOF, commands.StatusSucceeded, 1},
		"502 after charge":      {sim.Plan{Status: 502}, nil, 0, wire.CodeStatus5xx, commands.StatusSucceeded, 1},
		"garbage after charge":  {sim.Plan{Garbage: true}, nil, 0, withhold.CodeUnreadable, commands.StatusSucceeded, 1},
		"query lags":            {sim.Plan{DropReply: true, QueryLag: time.Hour}, nil, 0, wire.CodeEOF, commands.StatusMissing, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, url := serve(t, sim.Config{Script: func(string, int) sim.Plan { return c.plan }})
			client := newClient(t, config(url))
			cmd := command("B1", c.change)
			require.NoError(t, client.Check(cmd))
			reply, err := client.Send(t.Context(), cmd)
			if c.sentClass != "" {
				require.Error(t, err)
				require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
				require.Equal(t, c.sentClass, vendors.CodeOf(err))
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, c.sent, reply.Status)
			reply, err = client.Ask(t.Context(), cmd)
			require.NoError(t, err)
			require.Equal(t, c.asked, reply.Status)
			require.Empty(t, g.Complaints())
			require.Equal(t, c.moved, g.Moves("B1"))
			require.Equal(t, 1, g.Order("B1").Attempts)
			if entries := g.Ledger(); len(entries) > 0 {
				require.Equal(t, "100.00", entries[0].Amount)
			}
		})
	}
}

// TestEverySubmissionIsACharge: the double is no help against a second send.
func TestEverySubmissionIsACharge(t *testing.T) {
	t.Parallel()
	g, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	for range 2 {
		_, err := client.Send(t.Context(), command("B1", nil))
		require.NoError(t, err)
	}
	require.Equal(t, 2, g.Moves("B1"))
}

func TestCallbacksOfTheDoubleDecode(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]sim.Plan{
		"success":       {},
		"fail":          {Final: "fail", Channel: "余额不足 / <1&2>"},
		"form":          {Final: "fail", CallbackForm: true},
		"early":         {CallbackEarly: true},
		"settled later": {Pending: true, After: time.Millisecond},
		"forged":        {Forged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox := newInbox(t)
			_, url := serve(t, sim.Config{
				Script:        func(string, int) sim.Plan { return plan },
				CallbackRetry: []time.Duration{time.Millisecond, time.Millisecond},
			})
			c := config(url)
			c.NotifyURL = func(order string) string { return inbox.url + "/cb/" + order + "/token" }
			_, err := newClient(t, c).Send(t.Context(), command("B1", nil))
			require.NoError(t, err)
			want := commands.StatusSucceeded
			if plan.Final == "fail" {
				want = commands.StatusFailed
			}
			if plan.Forged {
				path, raw := inbox.next(t)
				require.NotEqual(t, "/cb/B1/token", path)
				require.Equal(t, commands.StatusFailed, statusOf(t, raw))
			}
			// The inbox refuses the first of these, so that the double has to try again.
			for range 2 {
				path, raw := inbox.next(t)
				require.Equal(t, "/cb/B1/token", path)
				require.Equal(t, want, statusOf(t, raw))
			}
		})
	}
}

func statusOf(t testing.TB, raw []byte) commands.Status {
	t.Helper()
	got, err := withhold.DecodeCallback(raw)
	require.NoError(t, err)
	require.Equal(t, "B1", got.BizOrderNo)
	reply, err := got.Reply()
	require.NoError(t, err)
	return reply.Status
}

// inbox receives callbacks and says success from the second on.
type inbox struct {
	url   string
	calls chan [2]string
}

func newInbox(t testing.TB) *inbox {
	in := &inbox{calls: make(chan [2]string, 16)}
	var mu sync.Mutex
	right := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		in.calls <- [2]string{r.URL.Path, string(raw)}
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/cb/B1/token" {
			right++
		}
		if right > 1 {
			_, _ = io.WriteString(w, "success")
		}
	}))
	t.Cleanup(server.Close)
	in.url = server.URL
	return in
}

func (in *inbox) next(t testing.TB) (path string, raw []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case c := <-in.calls:
		return c[0], []byte(c[1])
	case <-ctx.Done():
		require.Fail(t, "no callback came")
		return "", nil
	}
}

func TestManySendsAtOnce(t *testing.T) {
	t.Parallel()
	g, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	errs := make(chan error, 64)
	for i := range 64 {
		go func() {
			_, err := client.Send(context.Background(), command(fmt.Sprintf("B%d", i), nil))
			errs <- err
		}()
	}
	for range 64 {
		require.NoError(t, <-errs)
	}
	require.Len(t, g.Ledger(), 64)
	require.Empty(t, g.Complaints())
}
