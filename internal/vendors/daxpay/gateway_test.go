package daxpay_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/daxpay"
	"paydispatch/internal/vendors/scrub"
	sim "paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/wire"
	"paydispatch/schemas"
)

const (
	testSecret    = "a-secret-of-the-main-house"
	secondSecret  = "another-secret"
	testAccount   = "2088722032251651"
	testOpenID    = "oABC_def-123"
	testName      = "李 四"
	testLogin     = "13800000000"
	testLoginMask = "****0000"
)

func store() []sim.Receiver {
	return []sim.Receiver{
		{ReceiverNo: "123", Channel: "ali_pay", ReceiverType: "ali_user_id", ReceiverAccount: testAccount, RelationType: "SUPPLIER"},
		{ReceiverNo: "A0001", Channel: "ali_pay", ReceiverType: "ali_login_name", ReceiverAccount: testLogin, ReceiverName: testName, RelationType: "CUSTOM", RelationName: "代理\"商\"\n一级 \u00a0\u2028"},
		{ReceiverNo: "1753370980523384832", Channel: "wechat_pay", ReceiverType: "wx_personal", ReceiverAccount: testOpenID, ReceiverName: testName, RelationType: "STAFF", RelationName: "员工 13800000000"},
	}
}

func config(url string) daxpay.Config {
	return daxpay.Config{
		URL: url, DefaultAccount: "main", Nonce: true,
		Accounts: map[string]daxpay.Account{"main": {Secret: testSecret}},
		HTTP:     wire.Config{Timeout: 10 * time.Second},
	}
}

func newClient(t testing.TB, c daxpay.Config) *daxpay.Client {
	t.Helper()
	client, err := daxpay.New(c)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// command is a valid command with some fields changed; nil removes one.
func command(change map[string]any) commands.Command {
	fields := map[string]any{"requestId": "R-1", "channel": "ali_pay"}
	for name, v := range change {
		if fields[name] = v; v == nil {
			delete(fields, name)
		}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	account, _ := fields["account"].(string)
	return commands.Command{
		Topic: "alloc.receiver.query", RequestID: "R-1", Key: "R-1", Account: account, Body: raw,
	}
}

func serve(t testing.TB, c sim.Config) (*sim.Server, string) {
	t.Helper()
	if c.Secret == "" {
		c.Secret = testSecret
	}
	if c.Receivers == nil {
		c.Receivers = store()
	}
	s := sim.New(c)
	l, err := sim.Listen(s, "")
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return s, l.URL
}

// answering serves one body for every question.
func answering(t testing.TB, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	t.Cleanup(s.Close)
	return s.URL
}

// numbers are the receiverNo of a reply's receivers.
func numbers(t testing.TB, r commands.Reply) []string {
	t.Helper()
	require.Equal(t, commands.StatusSucceeded, r.Status, "%+v", r)
	var list []map[string]any
	require.NoError(t, json.Unmarshal(r.Extra["receivers"], &list))
	out := []string{}
	for _, one := range list {
		require.Len(t, one, 7, "every field, whether null or not")
		out = append(out, one["receiverNo"].(string))
	}
	return out
}

func TestAskAgainstTheDouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change map[string]any
		want   []string
	}{
		"by channel":                {nil, []string{"123", "A0001"}},
		"by number":                 {map[string]any{"channel": nil, "receiverNo": "123"}, []string{"123"}},
		"by both":                   {map[string]any{"receiverNo": "A0001"}, []string{"A0001"}},
		"by number in another case": {map[string]any{"receiverNo": "a0001"}, []string{"A0001"}},
		"by both that do not meet":  {map[string]any{"channel": "wechat_pay", "receiverNo": "123"}, []string{}},
		"nobody":                    {map[string]any{"channel": nil, "receiverNo": "nobody"}, []string{}},
		"an unknown channel":        {map[string]any{"channel": "no_pay"}, []string{}},
		"an empty number":           {map[string]any{"receiverNo": ""}, []string{"123", "A0001"}},
		"a blank channel":           {map[string]any{"channel": "  ", "receiverNo": "123"}, []string{"123"}},
		"an address":                {map[string]any{"clientIp": "127.0.0.1"}, []string{"123", "A0001"}},
		"a long address":            {map[string]any{"clientIp": "2001:db8::1"}, []string{"123", "A0001"}},
		"odd signs":                 {map[string]any{"receiverNo": "接收方&=+ %\"\\/中文😀\n\u2028<>"}, []string{}},
	} {
		for _, v := range []struct {
			name  string
			sim   sim.Config
			nonce bool
			kind  daxpay.SignType
		}{
			{"2.0.8 with nonceStr", sim.Config{}, true, ""},
			{"2.0.8 without nonceStr", sim.Config{}, false, daxpay.HMACSHA256},
			{"2.0.8 with MD5", sim.Config{SignType: "MD5"}, true, daxpay.MD5},
			{"2.0.7", sim.Config{Version: sim.V207}, false, daxpay.HMACSHA256},
		} {
			t.Run(name+" "+v.name, func(t *testing.T) {
				t.Parallel()
				s, url := serve(t, v.sim)
				settings := config(url + "/")
				settings.Nonce, settings.SignType = v.nonce, v.kind
				client := newClient(t, settings)
				cmd := command(c.change)
				require.NoError(t, client.Check(cmd))
				reply, err := client.Ask(t.Context(), cmd)
				require.NoError(t, err)
				require.Equal(t, c.want, numbers(t, reply))
				require.Equal(t, "0", reply.Code)
				require.Empty(t, reply.Fields)
				require.Empty(t, s.Complaints())
				require.Len(t, s.Questions(), 1)
				require.Equal(t, v.nonce, s.Questions()[0].NonceStr != "")
			})
		}
	}
}

func TestNobodyIsAnEmptyList(t *testing.T) {
	t.Parallel()
	_, url := serve(t, sim.Config{Receivers: []sim.Receiver{}})
	reply, err := newClient(t, config(url)).Ask(t.Context(), command(nil))
	require.NoError(t, err)
	require.Equal(t, commands.StatusSucceeded, reply.Status)
	require.Equal(t, "[]", string(reply.Extra["receivers"]))
}

func TestAccountsAndNamesAreMasked(t *testing.T) {
	t.Parallel()
	_, url := serve(t, sim.Config{})
	settings := config(url)
	cmd := command(map[string]any{"receiverNo": "A0001"})
	for name, c := range map[string]struct {
		show                    bool
		cmd                     commands.Command
		account, person, relate string
	}{
		"masked":         {false, cmd, testLoginMask, "***", `代理"商" 一级`},
		"in full":        {true, cmd, testLogin, testName, `代理"商" 一级`},
		"scrubbed texts": {true, command(map[string]any{"channel": "wechat_pay"}), testOpenID, testName, "员工 ***"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := settings
			settings.ShowAccounts = c.show
			reply, err := newClient(t, settings).Ask(t.Context(), c.cmd)
			require.NoError(t, err)
			var list []map[string]string
			require.NoError(t, json.Unmarshal(reply.Extra["receivers"], &list))
			require.Len(t, list, 1)
			require.Equal(t, c.account, list[0]["receiverAccount"])
			require.Equal(t, c.person, list[0]["receiverName"])
			require.Contains(t, list[0]["relationName"], c.relate)
			require.NotContains(t, list[0]["relationName"], "\n")
		})
	}
}

// A channel may have thousands of receivers: the first of them are told, and how many there are.
func TestALongListIsToldInPart(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		count int
		text  string
		all   bool
	}{
		"a hundred":       {100, "店", true},
		"1,500 of 1.6 kB": {1500, strings.Repeat("<&>", 250), false},
		"one endless":     {1, strings.Repeat("长", 1<<20), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var receivers []sim.Receiver
			for i := range c.count {
				receivers = append(receivers, sim.Receiver{ReceiverNo: strconv.Itoa(i), Channel: "ali_pay", ReceiverName: c.text, RelationName: c.text})
			}
			_, url := serve(t, sim.Config{Receivers: receivers})
			settings := config(url)
			settings.ShowAccounts = true
			cmd := command(map[string]any{"channel": "ali_pay"})
			reply, err := newClient(t, settings).Ask(t.Context(), cmd)
			require.NoError(t, err)
			clean := scrub.Reply(reply, cmd)
			require.Len(t, numbers(t, clean), len(numbers(t, reply)), "what the adapter tells fits")
			told := numbers(t, clean)
			data, err := json.Marshal(map[string]json.RawMessage{"receivers": clean.Extra["receivers"]})
			require.NoError(t, err)
			require.LessOrEqual(t, len(data), 128<<10)
			require.NoError(t, set.Validate("alloc.receiver.result", data))
			require.NotEmpty(t, told)
			if c.all {
				require.Len(t, told, c.count)
				require.Empty(t, clean.Fields)
				require.Empty(t, clean.LeftOut)
				return
			}
			require.Equal(t, map[string]string{"receivers_found": strconv.Itoa(c.count), "receivers_told": strconv.Itoa(len(told))}, clean.Fields)
			require.Equal(t, []string{"receivers"}, clean.LeftOut)
		})
	}
}

func TestReceiverNumbersAreNoCardNumbers(t *testing.T) {
	t.Parallel()
	_, url := serve(t, sim.Config{})
	reply, err := newClient(t, config(url)).Ask(t.Context(), command(map[string]any{"channel": "wechat_pay"}))
	require.NoError(t, err)
	require.Equal(t, []string{"1753370980523384832"}, numbers(t, reply), "19 digits of the seed's sample")
	require.Contains(t, string(reply.Extra["receivers"]), `"receiverAccount":"****-123"`)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const unknown, retryable, permanent = commands.ClassUnknown, commands.ClassRetryable, commands.ClassPermanent
	for name, c := range map[string]struct {
		server sim.Config
		plan   sim.Plan
		client func(*daxpay.Config)
		class  commands.Class
		code   string
	}{
		"request lost":         {plan: sim.Plan{DropRequest: true}, class: unknown, code: wire.CodeEOF},
		"reply lost":           {plan: sim.Plan{DropReply: true}, class: unknown, code: wire.CodeEOF},
		"502":                  {plan: sim.Plan{Status: 502}, class: unknown, code: wire.CodeStatus5xx},
		"a page":               {plan: sim.Plan{Garbage: true}, class: unknown, code: daxpay.CodeUnreadable},
		"wrong signature":      {plan: sim.Plan{WrongSign: true}, class: unknown, code: daxpay.CodeBadSignature},
		"no signature":         {plan: sim.Plan{Unsigned: true}, class: unknown, code: daxpay.CodeBadSignature},
		"unsigned failure":     {plan: sim.Plan{Unsigned: true, Refuse: "x"}, class: unknown, code: daxpay.CodeBadSignature},
		"system error":         {plan: sim.Plan{Fail: 10001, Message: "系统错误"}, class: unknown, code: daxpay.CodeSystem},
		"switched off":         {plan: sim.Plan{Fail: 20023, Message: "该接口权限未开放"}, class: unknown, code: daxpay.CodeOther},
		"an old failure":       {plan: sim.Plan{Fail: 20000, Message: "未归类错误"}, class: unknown, code: daxpay.CodeOther},
		"generic failure":      {plan: sim.Plan{Fail: 1, Message: "失败"}, class: unknown, code: daxpay.CodeOther},
		"hangs":                {plan: sim.Plan{HangReply: true}, client: func(c *daxpay.Config) { c.HTTP.Timeout = 50 * time.Millisecond }, class: unknown, code: wire.CodeTimeout},
		"secret differs":       {server: sim.Config{Secret: "x"}, class: permanent, code: daxpay.CodeAuth},
		"secret differs 2.0.7": {server: sim.Config{Secret: "x", Version: sim.V207}, client: func(c *daxpay.Config) { c.Nonce = false }, class: permanent, code: daxpay.CodeAuth},
		"type differs":         {server: sim.Config{SignType: "MD5"}, class: permanent, code: daxpay.CodeAuth},
		"nonceStr with 2.0.7":  {server: sim.Config{Version: sim.V207}, class: permanent, code: daxpay.CodeAuth},
		"request unchecked, answer differs": {
			server: sim.Config{Secret: "x", NoReqSign: true}, class: unknown, code: daxpay.CodeBadSignature,
		},
		"our clock is slow": {client: behind(11 * time.Second), class: retryable, code: daxpay.CodeTime},
		"our clock is fast": {client: behind(-63 * time.Second), class: retryable, code: daxpay.CodeTime},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.server.Script = func(int, sim.Query) sim.Plan { return c.plan }
			s, url := serve(t, c.server)
			settings := config(url)
			if c.client != nil {
				c.client(&settings)
			}
			reply, err := newClient(t, settings).Ask(t.Context(), command(nil))
			require.Zero(t, reply)
			require.Equal(t, c.class, vendors.ClassOf(err), "%v", err)
			require.Equal(t, c.code, vendors.CodeOf(err), "%v", err)
			require.Equal(t, 1, s.Requests())
			if c.code == daxpay.CodeAuth || c.code == daxpay.CodeTime || c.code == daxpay.CodeSystem {
				require.ErrorContains(t, err, "traceId trace0000001", "what finds it in the server's log")
			}
		})
	}
}

func behind(d time.Duration) func(*daxpay.Config) {
	return func(c *daxpay.Config) { c.Now = func() time.Time { return time.Now().Add(-d) } }
}

func TestRefusalsAreFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan          sim.Plan
		code, message string
	}{
		"business error":        {sim.Plan{Refuse: "该接口权限未开放"}, "1", "该接口权限未开放"},
		"its text is scrubbed":  {sim.Plan{Refuse: "secret " + testSecret + " of 13800000000\n"}, "1", "secret *** of ***"},
		"parameters unreadable": {sim.Plan{Fail: 10005, Message: "参数解析错误"}, "10005", "参数解析错误"},
		"parameters wrong":      {sim.Plan{Fail: 10006, Message: "验证参数错误\n签名不可超过64位"}, "10006", "验证参数错误 签名不可超过64位"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := serve(t, sim.Config{Script: func(int, sim.Query) sim.Plan { return c.plan }})
			reply, err := newClient(t, config(url)).Ask(t.Context(), command(nil))
			require.NoError(t, err)
			require.Equal(t, commands.Reply{Status: commands.StatusFailed, Code: c.code, Message: c.message}, reply)
		})
	}
}

// The failure that the seed prints: without data.
func TestSeedFailure(t *testing.T) {
	t.Parallel()
	url := answering(t, `{"msg": "未通过签名验证", "code": 20000, "traceId": "h12UXhTkPmt3"}`)
	_, err := newClient(t, config(url)).Ask(t.Context(), command(nil))
	require.Equal(t, commands.ClassPermanent, vendors.ClassOf(err))
	require.Equal(t, daxpay.CodeAuth, vendors.CodeOf(err))
	require.ErrorContains(t, err, "traceId h12UXhTkPmt3")
}

// Only 200 is the server's own word, whatever stands below another status.
func TestAnswersUnderAnotherStatusDoNotCount(t *testing.T) {
	t.Parallel()
	double := sim.New(sim.Config{Secret: testSecret})
	t.Cleanup(double.Close)
	for _, status := range []int{http.StatusCreated, http.StatusAccepted, http.StatusNonAuthoritativeInfo, http.StatusInternalServerError} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			double.ServeHTTP(answer, r)
			w.WriteHeader(status)
			_, _ = w.Write(answer.Body.Bytes())
		}))
		t.Cleanup(s.Close)
		reply, err := newClient(t, config(s.URL)).Ask(t.Context(), command(nil))
		require.Error(t, err, status)
		require.Zero(t, reply)
		require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
	}
	require.Empty(t, double.Complaints())
}

func TestAccountsAreInstallations(t *testing.T) {
	t.Parallel()
	one, url := serve(t, sim.Config{})
	two, second := serve(t, sim.Config{Secret: secondSecret, SignType: "MD5", Receivers: []sim.Receiver{
		{ReceiverNo: "9", Channel: "ali_pay"},
	}})
	settings := config(url)
	settings.Accounts["second"] = daxpay.Account{Secret: secondSecret, SignType: daxpay.MD5, URL: second}
	client := newClient(t, settings)
	reply, err := client.Ask(t.Context(), command(map[string]any{"account": "second"}))
	require.NoError(t, err)
	require.Equal(t, []string{"9"}, numbers(t, reply))
	reply, err = client.Ask(t.Context(), command(map[string]any{"account": "main"}))
	require.NoError(t, err)
	require.Equal(t, []string{"123", "A0001"}, numbers(t, reply))
	require.Empty(t, append(one.Complaints(), two.Complaints()...))
}

func TestInvalidCommandsAreNotSent(t *testing.T) {
	t.Parallel()
	neither := "channel, receiverNo: at least one of them is needed, and blank ones do not count"
	for name, c := range map[string]struct {
		cmd  commands.Command
		want string
	}{
		"neither":          {command(map[string]any{"channel": nil}), neither},
		"both blank":       {command(map[string]any{"channel": " \t", "receiverNo": ""}), neither},
		"blank, wide":      {command(map[string]any{"channel": "\u3000"}), neither},
		"null":             {commands.Command{RequestID: "R-1", Body: []byte(`{"requestId":"R-1","channel":null,"receiverNo":"1"}`)}, "channel: must be a string"},
		"a number":         {command(map[string]any{"receiverNo": 123}), "receiverNo: must be a string"},
		"no address":       {command(map[string]any{"clientIp": "localhost"}), "clientIp: must be an IPv4 or IPv6 address"},
		"a zone":           {command(map[string]any{"clientIp": "fe80::1%eth0"}), "clientIp: must be an IPv4 or IPv6 address"},
		"unknown account":  {command(map[string]any{"account": "other"}), "account: is not one of the configured accounts"},
		"unknown field":    {command(map[string]any{"sign": "x"}), "sign: is not a field of this command"},
		"a strange field":  {command(map[string]any{"13800000000": "x"}), "(a field with an unusual name): is not a field of this command"},
		"no request":       {command(map[string]any{"requestId": nil}), "requestId: is missing"},
		"not an object":    {commands.Command{RequestID: "R-1", Body: []byte(`[]`)}, "the command: not one JSON object"},
		"two":              {commands.Command{RequestID: "R-1", Body: []byte(`{} {}`)}, "the command: not one JSON object"},
		"a name twice":     {commands.Command{RequestID: "R-1", Body: []byte(`{"channel":"a","channel":"b"}`)}, "the command: a name stands twice"},
		"another request":  {commands.Command{RequestID: "R-2", Body: command(nil).Body}, "requestId: differs from the command's"},
		"another account":  {commands.Command{RequestID: "R-1", Body: command(map[string]any{"account": "main"}).Body}, "account: differs from the command's"},
		"problems at once": {command(map[string]any{"channel": nil, "clientIp": "x"}), neither + "\nclientIp: must be an IPv4 or IPv6 address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, url := serve(t, sim.Config{})
			client := newClient(t, config(url))
			require.EqualError(t, client.Check(c.cmd), c.want)
			reply, err := client.Ask(t.Context(), c.cmd)
			require.Zero(t, reply)
			require.Equal(t, commands.ClassPermanent, vendors.ClassOf(err))
			require.Equal(t, daxpay.CodeInvalid, vendors.CodeOf(err))
			require.ErrorContains(t, err, c.want)
			require.Zero(t, s.Requests())
		})
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

// What leaves, byte for byte: request line, headers and body.
func TestGoldenRequests(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, c := range []struct {
		name   string
		cmd    commands.Command
		change func(*daxpay.Config)
	}{
		{"the seed's SDK sample (vector J01)", command(map[string]any{"receiverNo": "123", "clientIp": "127.0.0.1"}), func(c *daxpay.Config) { c.Nonce = false }},
		{"the same with MD5", command(map[string]any{"receiverNo": "123", "clientIp": "127.0.0.1"}), func(c *daxpay.Config) { c.Nonce, c.SignType = false, daxpay.MD5 }},
		{"with nonceStr", command(map[string]any{"receiverNo": "A0001"}), nil},
		{"only a number", command(map[string]any{"channel": nil, "receiverNo": "A0001"}), nil},
		{"an empty number and signs that JSON escapes", command(map[string]any{"receiverNo": "", "channel": "<a>&\"b\"\\\n\u2028"}), nil},
	} {
		out.WriteString("# " + c.name + "\n")
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			r.Host = "vendor.test"
			_ = r.Write(&out)
			out.WriteString("\n")
		}))
		settings := config(s.URL)
		settings.Accounts = map[string]daxpay.Account{"main": {Secret: "123456"}}
		settings.Now = func() time.Time { return time.Unix(1717419815, 999) }
		settings.NonceSource = strings.NewReader(strings.Repeat("nonce-of-16-byte", 9))
		if c.change != nil {
			c.change(&settings)
		}
		_, err := newClient(t, settings).Ask(t.Context(), c.cmd)
		s.Close()
		require.Error(t, err)
	}
	golden := "testdata/requests.golden"
	got := bytes.ReplaceAll(out.Bytes(), []byte("\r\n"), []byte("\n"))
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestNonces(t *testing.T) {
	t.Parallel()
	s, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	for range 2 {
		_, err := client.Ask(t.Context(), command(nil))
		require.NoError(t, err)
	}
	asked := s.Questions()
	require.Len(t, asked[0].NonceStr, 32, "as long as the server allows")
	require.NotEqual(t, asked[0].NonceStr, asked[1].NonceStr)

	settings := config(url)
	settings.NonceSource = strings.NewReader("short")
	_, err := newClient(t, settings).Ask(t.Context(), command(nil))
	require.Equal(t, commands.ClassRetryable, vendors.ClassOf(err))
	require.Equal(t, daxpay.CodeBuild, vendors.CodeOf(err))
	require.Equal(t, 2, s.Requests())
}

func TestInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sim.New(sim.Config{
			Secret: testSecret, Receivers: store(), Latency: 3 * time.Second,
			Script: func(n int, _ sim.Query) sim.Plan {
				if n == 1 {
					return sim.Plan{SlowReply: time.Minute}
				}
				return sim.Plan{}
			},
		})
		defer s.Close()
		settings := config("http://vendor.test")
		pipe := newPipe(s)
		defer pipe.close()
		settings.HTTP.DialContext = pipe.dial
		client := newClient(t, settings)
		defer client.Close()
		began := time.Now()
		_, err := client.Ask(t.Context(), command(nil))
		require.Equal(t, wire.CodeTimeout, vendors.CodeOf(err))
		require.Equal(t, 10*time.Second, time.Since(began))
		reply, err := client.Ask(t.Context(), command(nil))
		require.NoError(t, err)
		require.Equal(t, []string{"123", "A0001"}, numbers(t, reply))
		require.Equal(t, 13*time.Second, time.Since(began))
	})
}

func TestConfigProblemsComeTogether(t *testing.T) {
	t.Parallel()
	_, err := daxpay.New(daxpay.Config{
		URL: "http://user:pw@pay.test", DefaultAccount: "gone", SignType: "SM3",
		Accounts: map[string]daxpay.Account{
			"":     {Secret: "x", URL: "http://pay.test"},
			"main": {},
			"two":  {Secret: "x", SignType: "RSA", URL: "http://pay.test/?key=1"},
		},
	})
	for _, text := range []string{
		`default account: "gone" is none of the accounts`, `sign type: "SM3" is neither HMAC_SHA256 nor MD5`,
		"accounts: a name is empty", `account "main": secret is empty`, `account "main": URL: must not hold a user or password`,
		`account "two": sign type: "RSA" is neither`, `account "two": URL: must be a base address`, "HTTP timeout: must be more than 0",
	} {
		require.ErrorContains(t, err, text)
	}
	require.NotContains(t, err.Error(), "pw")
	_, err = daxpay.New(daxpay.Config{})
	require.ErrorContains(t, err, "accounts: at least one is needed")
	for _, url := range []string{"", "pay.test", "ftp://pay.test", "http://"} {
		c := config(url)
		require.ErrorContains(t, c.Validate(), "URL: must be absolute", url)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	c := config("http://pay.test")
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("config", "config", c, "accounts", c.Accounts, "secret", c.Accounts["main"].Secret, "client", newClient(t, c))
	require.Contains(t, log.String(), `"default_account":"main"`)
	encoded, err := json.Marshal(c.Accounts)
	require.NoError(t, err)
	hidden := struct{ it *daxpay.Client }{newClient(t, c)}
	printed := fmt.Sprintf("%v %+v %#v %s %q %d", hidden, hidden, hidden, hidden, hidden, hidden)
	for _, text := range []string{log.String(), string(encoded), printed} {
		require.NotContains(t, text, testSecret)
	}
}
