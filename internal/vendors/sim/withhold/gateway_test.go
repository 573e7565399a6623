package withhold

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	testUA  = "ua_demo"
	testKey = "0123456789abcdef"
	debit   = `{"amount":"100.00","bank_card_number":"6222","biz_data":{},"biz_order_no":"%s","id_card_number":"1",` +
		`"mobile":"1","name":"张三","notify_url":"http://us.test/cb/TOKEN","pay_type":"101"}`
)

// sealECB is the client's side of openECB.
func sealECB(key, plain string) string {
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		panic(err)
	}
	pad := 16 - len(plain)%16
	data := append([]byte(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	for rest := data; len(rest) > 0; rest = rest[16:] {
		block.Encrypt(rest, rest[:16])
	}
	return base64.StdEncoding.EncodeToString(data)
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// request builds a valid request; change may spoil its envelope.
func request(method, plain string, change func(map[string]any)) *http.Request {
	args := sealECB(testKey, plain)
	env := map[string]any{
		"ua": testUA, "args": args, "sign": md5Hex(testUA + testKey + method + args), "timestamp": "1700000000",
		"requestId": "R1", "method": method,
	}
	if change != nil {
		change(env)
	}
	raw, err := json.Marshal(env)
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/gateway", bytes.NewReader(raw))
	r.Header.Set("Content-Type", "application/json;charset=UTF-8")
	return r
}

type reply struct {
	code int
	// dropped: the connection was closed without an answer.
	dropped  bool
	Status   any
	Message  string
	Response map[string]string
}

func ask(g *Gateway, r *http.Request) (out reply) {
	rec := httptest.NewRecorder()
	defer func() {
		if p := recover(); p != nil {
			out = reply{dropped: true}
		}
	}()
	g.ServeHTTP(rec, r)
	_ = json.Unmarshal(rec.Body.Bytes(), &out)
	out.code = rec.Code
	return out
}

func send(g *Gateway, order string) reply {
	return ask(g, request("single-withhold", fmt.Sprintf(debit, order), nil))
}

func query(g *Gateway, order string) reply {
	return ask(g, request("single-order-query", fmt.Sprintf(`{"biz_order_no":%q}`, order), nil))
}

func start(t testing.TB, c Config) *Gateway {
	t.Helper()
	c.Accounts = map[string]string{testUA: testKey}
	g := New(c)
	t.Cleanup(g.Close)
	return g
}

func always(p Plan) func(string, int) Plan { return func(string, int) Plan { return p } }

// TestTheDocumentIsHeldAgainstEveryRequest spoils one thing at a time.
func TestTheDocumentIsHeldAgainstEveryRequest(t *testing.T) {
	t.Parallel()
	good := fmt.Sprintf(debit, "B1")
	plain := func(from, to string) *http.Request {
		return request("single-withhold", strings.Replace(good, from, to, 1), nil)
	}
	set := func(name string, value any) *http.Request {
		return request("single-withhold", good, func(env map[string]any) { env[name] = value })
	}
	header := func(kind string) *http.Request {
		r := request("single-withhold", good, nil)
		r.Header.Set("Content-Type", kind)
		return r
	}
	get := request("single-withhold", good, nil)
	get.Method = http.MethodGet
	for name, c := range map[string]struct {
		r      *http.Request
		status string
	}{
		"not a POST":        {get, "-4"},
		"form":              {header("application/x-www-form-urlencoded"), "-4"},
		"no charset":        {header("application/json"), "-4"},
		"other charset":     {header("application/json;charset=GBK"), "-4"},
		"unknown ua":        {set("ua", "x"), "-2"},
		"no ua":             {set("ua", ""), "-4"},
		"no requestId":      {set("requestId", ""), "-4"},
		"no method":         {set("method", ""), "-4"},
		"unknown method":    {request("single-refund", good, nil), "-7"},
		"method not signed": {set("method", "single-order-query"), "-5"},
		"bad sign":          {set("sign", md5Hex("x")), "-5"},
		"upper case sign":   {request("single-withhold", good, func(e map[string]any) { e["sign"] = strings.ToUpper(e["sign"].(string)) }), "-5"},
		"args changed":      {set("args", sealECB(testKey, "{}")), "-5"},
		"milliseconds":      {set("timestamp", "1700000000000"), "-4"},
		"field of its own":  {set("extra", "x"), "-9"},
		"status a number":   {set("requestId", 7), "-9"},
		"another key": {request("single-withhold", good, func(e map[string]any) {
			a := sealECB("fedcba9876543210", good)
			e["args"] = a
			e["sign"] = md5Hex(testUA + testKey + "single-withhold" + a)
		}), "-4"},
		"keys not sorted":        {plain(`"amount":"100.00",`, `"zzz":"1","amount":"100.00",`), "-4"},
		"key twice":              {plain(`"amount":"100.00",`, `"amount":"1","amount":"100.00",`), "-4"},
		"no amount":              {plain(`"amount":"100.00",`, ""), "-4"},
		"amount a number":        {plain(`"100.00"`, "100.00"), "-4"},
		"amount 0":               {plain("100.00", "0.00"), "-4"},
		"three decimals":         {plain("100.00", "100.000"), "-4"},
		"no name":                {plain(`"name":"张三",`, ""), "-4"},
		"no biz_data":            {plain(`"biz_data":{},`, ""), "-4"},
		"biz_data a string":      {plain(`{}`, `""`), "-4"},
		"neither card nor proto": {plain(`"bank_card_number":"6222",`, ""), "-4"},
		"no order":               {plain(`"biz_order_no":"B1",`, ""), "-4"},
		"args no object":         {request("single-withhold", "[]", nil), "-9"},
		"query without order":    {request("single-order-query", "{}", nil), "-4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, Config{})
			got := ask(g, c.r)
			require.Equal(t, c.status, got.Status, got.Message)
			require.Nil(t, got.Response)
			require.Len(t, g.Complaints(), 1)
			require.Empty(t, g.Ledger())
		})
	}
	g := start(t, Config{})
	require.InDelta(t, 1, send(g, "B1").Status, 0)
	require.InDelta(t, 1, ask(g, plain(`{}`, `[]`)).Status, 0, "PHP's empty biz_data")
	require.Empty(t, g.Complaints())
	require.Equal(t, 2, g.Requests())
}

func TestPlans(t *testing.T) {
	t.Parallel()
	pending := Plan{Pending: true, NoCallback: true}
	for name, c := range map[string]struct {
		config  Config
		plan    Plan
		dropped bool
		code    int
		status  any
		pay     string
		moved   int
		// then is pay_status of the first and the second query, "" for unknown.
		then [2]string
	}{
		"success":       {plan: Plan{}, code: 200, status: 1.0, pay: "success", moved: 1, then: [2]string{"success", "success"}},
		"fail":          {plan: Plan{Final: "fail"}, code: 200, status: 1.0, pay: "fail", then: [2]string{"fail", "fail"}},
		"refused":       {plan: Plan{Refuse: "no"}, code: 200, status: "-1"},
		"drop request":  {plan: Plan{DropRequest: true}, dropped: true},
		"drop reply":    {plan: Plan{DropReply: true}, dropped: true, moved: 1, then: [2]string{"success", "success"}},
		"status":        {plan: Plan{Status: 502}, code: 502, moved: 1, then: [2]string{"success", "success"}},
		"garbage":       {plan: Plan{Garbage: true}, code: 200, moved: 1, then: [2]string{"success", "success"}},
		"refused after": {plan: Plan{RefuseAfter: "dup"}, code: 200, status: "-1", moved: 1, then: [2]string{"success", "success"}},
		"pending":       {plan: pending, code: 200, status: 1.0, pay: "pending", then: [2]string{"pending", "pending"}},
		"two queries":   {plan: Plan{Pending: true, Queries: 2, NoCallback: true}, code: 200, status: 1.0, pay: "pending", moved: 1, then: [2]string{"pending", "success"}},
		"later":         {plan: Plan{Pending: true, After: time.Minute, NoCallback: true}, code: 200, status: 1.0, pay: "pending", moved: 1, then: [2]string{"pending", "success"}},
		"later failed":  {plan: Plan{Pending: true, After: time.Minute, Final: "fail", NoCallback: true}, code: 200, status: 1.0, pay: "pending", then: [2]string{"pending", "fail"}},
		"query lag":     {plan: Plan{QueryLag: time.Minute}, code: 200, status: 1.0, pay: "success", moved: 1, then: [2]string{"", "success"}},
		"query error":   {plan: Plan{QueryErrors: 1}, code: 200, status: 1.0, pay: "success", moved: 1, then: [2]string{"", "success"}},
		"slow":          {plan: Plan{Slow: time.Hour, SlowReply: time.Hour}, code: 200, status: 1.0, pay: "success", moved: 1, then: [2]string{"success", "success"}},
		"latency":       {config: Config{Latency: time.Second}, code: 200, status: 1.0, pay: "success", moved: 1, then: [2]string{"success", "success"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c.config.Script = always(c.plan)
				c.config.Callbacks = &http.Client{Transport: answering("success")}
				g := start(t, c.config)
				got := send(g, "B1")
				require.Equal(t, c.dropped, got.dropped)
				require.Equal(t, c.code, got.code)
				require.Equal(t, c.status, got.Status)
				require.Equal(t, c.pay, got.Response["pay_status"])
				require.Equal(t, c.then[0], query(g, "B1").Response["pay_status"])
				time.Sleep(2 * time.Minute)
				require.Equal(t, c.then[1], query(g, "B1").Response["pay_status"])
				require.Equal(t, c.moved, g.Moves("B1"))
				require.Equal(t, 1, g.Order("B1").Attempts)
				require.Empty(t, g.Complaints())
			})
		})
	}
}

func TestChargesEverySubmission(t *testing.T) {
	t.Parallel()
	g := start(t, Config{Callbacks: &http.Client{Transport: answering("success")}})
	send(g, "B2")
	send(g, "B1")
	send(g, "B1")
	require.Equal(t, []Summary{
		{Order: "B1", Amount: "100.00", Status: "success", Accepted: 2, Moved: 2, Attempts: 2},
		{Order: "B2", Amount: "100.00", Status: "success", Accepted: 1, Moved: 1, Attempts: 1},
	}, g.Orders())
	require.Len(t, g.Ledger(), 3)

	strict := start(t, Config{RefuseDuplicates: true, Callbacks: &http.Client{Transport: answering("success")}})
	send(strict, "B1")
	require.Equal(t, "-1", send(strict, "B1").Status)
	require.Equal(t, 1, strict.Moves("B1"))
	require.Equal(t, 2, strict.Order("B1").Attempts)
}

// TestScriptsSeeTheAttempt: the first request is lost, the second is charged.
func TestScriptsSeeTheAttempt(t *testing.T) {
	t.Parallel()
	g := start(t, Config{Script: func(order string, attempt int) Plan {
		return Plan{DropRequest: order == "B1" && attempt == 1, NoCallback: true}
	}})
	require.True(t, send(g, "B1").dropped)
	require.Zero(t, g.Moves("B1"))
	require.Equal(t, "success", send(g, "B1").Response["pay_status"])
	require.Equal(t, 1, g.Moves("B1"))
}

// posted is what a callback receiver got.
type posted struct{ url, kind, body string }

// receiver takes callbacks without a network.
type receiver struct {
	mu     sync.Mutex
	got    []posted
	answer func(n int) string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, posted{req.URL.String(), req.Header.Get("Content-Type"), string(body)})
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(r.answer(len(r.got)))), Request: req}, nil
}

func (r *receiver) all() []posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]posted(nil), r.got...)
}

func answering(text string) *receiver { return &receiver{answer: func(int) string { return text }} }

func TestCallbacks(t *testing.T) {
	t.Parallel()
	const right, forged = "http://us.test/cb/TOKEN", "http://us.test/cb/Zm9yZ2VkLXRva2VuLWZyb20tYS1zdHJhbmdlcg"
	for name, c := range map[string]struct {
		plan  Plan
		takes int
		want  []string
	}{
		"taken at once":    {Plan{}, 1, []string{right}},
		"taken at third":   {Plan{}, 3, []string{right, right, right}},
		"never taken":      {Plan{}, 99, []string{right, right, right, right, right}},
		"twice":            {Plan{CallbackTwice: true}, 1, []string{right, right}},
		"forged":           {Plan{Forged: true}, 2, []string{forged, right}},
		"none":             {Plan{NoCallback: true}, 1, nil},
		"never settled":    {Plan{Pending: true}, 1, nil},
		"settled later":    {Plan{Pending: true, After: time.Hour}, 1, []string{right}},
		"early":            {Plan{CallbackEarly: true}, 1, []string{right}},
		"early, not taken": {Plan{CallbackEarly: true}, 2, []string{right, right}},
		"form":             {Plan{CallbackForm: true}, 1, []string{right}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{answer: func(n int) string {
					if n < c.takes {
						return "fail"
					}
					return " success\n"
				}}
				g := start(t, Config{Script: always(c.plan), Callbacks: &http.Client{Transport: r}})
				require.InDelta(t, 1, send(g, "B1").Status, 0)
				if c.plan.CallbackEarly {
					require.Len(t, r.all(), 1, "the first try comes before the reply")
				}
				time.Sleep(24 * time.Hour)
				var urls []string
				for _, p := range r.all() {
					urls = append(urls, p.url)
				}
				require.Equal(t, c.want, urls)
				require.Equal(t, len(c.want), g.Callbacks())
				if len(c.want) > 0 {
					last := r.all()[len(c.want)-1]
					require.Equal(t, c.plan.CallbackForm, strings.Contains(last.kind, "form"))
				}
			})
		})
	}
}

// TestCallbackBytes holds one callback as PHP writes it: default flags, md5 over the sorted rest.
func TestCallbackBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := answering("success")
		g := start(t, Config{Script: always(Plan{Final: "fail", Channel: "余额/<&>'\"😀"}), Callbacks: &http.Client{Transport: r}})
		send(g, "B1")
		synctest.Wait()
		signed := `{"biz_order_no":"B1","channel_response":"\u4f59\u989d\/<&>'\"\ud83d\ude00","order_type":"single_withhold",` +
			`"pay_order_no":"PB1-1","pay_status":"fail","pay_time":"","pay_type":"101"`
		require.Equal(t, signed+`,"sign":"`+md5Hex(signed+"}")+`"}`, r.all()[0].body)
	})
}

func TestCallbackForms(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := answering("success")
		g := start(t, Config{Script: always(Plan{CallbackForm: true}), Callbacks: &http.Client{Transport: r}})
		send(g, "B1")
		synctest.Wait()
		values, err := url.ParseQuery(r.all()[0].body)
		require.NoError(t, err)
		require.Equal(t, "2000-01-01 00:00:00", values.Get("pay_time"))
		require.Len(t, values.Get("sign"), 32)
	})
}

func TestSettleByHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := answering("success")
		g := start(t, Config{Script: always(Plan{Pending: true}), Callbacks: &http.Client{Transport: r}})
		require.Error(t, g.Settle("B1", "success"))
		send(g, "B1")
		require.Error(t, g.Settle("B1", "maybe"))
		require.NoError(t, g.Settle("B1", "fail"))
		require.Error(t, g.Settle("B1", "success"), "final statuses never move")
		synctest.Wait()
		require.Len(t, r.all(), 1)
		require.Equal(t, "fail", query(g, "B1").Response["pay_status"])
	})
}

// TestGate: a simulation sees each step under a stable name, and decides what is lost.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ops []string
		var mu sync.Mutex
		lose := map[string]Verdict{}
		set := func(next map[string]Verdict) {
			mu.Lock()
			defer mu.Unlock()
			lose = next
		}
		g := start(t, Config{
			Script:    always(Plan{Slow: time.Second}),
			Callbacks: &http.Client{Transport: answering("success")},
			Gate: func(_ context.Context, op string) Verdict {
				mu.Lock()
				defer mu.Unlock()
				ops = append(ops, op)
				return lose[op]
			},
		})
		set(map[string]Verdict{"single-withhold/B1/R1/act": Drop})
		require.True(t, send(g, "B1").dropped)
		require.Equal(t, Summary{Order: "B1"}, g.Order("B1"))
		set(map[string]Verdict{"single-withhold/B1/R1/reply": Drop, "callback/B1/1": Drop})
		require.True(t, send(g, "B1").dropped)
		require.Equal(t, 1, g.Moves("B1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		seen := slices.Clone(ops)
		mu.Unlock()
		require.Equal(t, []string{
			"single-withhold/B1/R1/act", "single-withhold/B1/R1/act", "single-withhold/B1/R1/wake",
		}, seen[:3])
		require.ElementsMatch(t, []string{"single-withhold/B1/R1/reply", "callback/B1/1", "callback/B1/2"}, seen[3:])
		require.Equal(t, 1, g.Callbacks())

		// Hang ends with the gateway.
		set(map[string]Verdict{"single-order-query/B1/R1/act": Hang})
		done := make(chan reply, 1)
		go func() { done <- query(g, "B1") }()
		synctest.Wait()
		require.Empty(t, done)
		g.Close()
		require.True(t, (<-done).dropped)
	})
}

// TestCloseLeavesNothing: the bubble fails if a goroutine outlives it; late requests get no service.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := start(t, Config{
			Script: func(order string, _ int) Plan {
				return map[string]Plan{"slow": {Slow: time.Hour}, "later": {Pending: true, After: time.Hour}}[order]
			},
			Callbacks: &http.Client{Transport: answering("no")},
		})
		done := make(chan reply, 1)
		go func() { done <- send(g, "slow") }()
		send(g, "later")
		send(g, "called back")
		synctest.Wait()
		g.Close()
		require.True(t, (<-done).dropped)
		require.True(t, send(g, "late").dropped)
		require.Equal(t, "pending", g.Order("later").Status)
		require.Zero(t, g.Moves("slow"))
	})
}

// TestCloseWaitsForHandlers: a handler that is slow to leave is waited for.
func TestCloseWaitsForHandlers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var left atomic.Bool
		g := start(t, Config{Gate: func(ctx context.Context, _ string) Verdict {
			<-ctx.Done()
			time.Sleep(time.Second)
			left.Store(true)
			return Drop
		}})
		done := make(chan reply, 1)
		go func() { done <- send(g, "B1") }()
		synctest.Wait()
		g.Close()
		require.True(t, left.Load())
		require.True(t, (<-done).dropped)
	})
}

// TestSettledOnce: the timer that would have settled an order finds it settled.
func TestSettledOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := answering("success")
		g := start(t, Config{
			Script: always(Plan{Pending: true, Queries: 1, After: time.Hour}), Callbacks: &http.Client{Transport: r},
		})
		send(g, "B1")
		first := query(g, "B1")
		time.Sleep(2 * time.Hour)
		require.Equal(t, first, query(g, "B1"))
		require.Len(t, r.all(), 1)
	})
}

func TestListen(t *testing.T) {
	t.Parallel()
	s, err := Listen(New(Config{Accounts: map[string]string{testUA: testKey}}), "")
	require.NoError(t, err)
	r := request("single-order-query", `{"biz_order_no":"B1"}`, nil)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header = r.Header
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.True(t, bytes.Equal([]byte(`{"message":"订单不存在","response":null,"status":"-1"}`), text), "%s", text)
	s.Close()
	_, err = Listen(New(Config{}), "not an address")
	require.Error(t, err)
}
