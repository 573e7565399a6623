package esign_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/esign"
	sim "paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/wire"
)

const (
	testApp    = "7438900001"
	testSecret = "0123456789abcdef0123456789abcdef"
	secondApp  = "7438900002"
	secondKey  = "fedcba9876543210fedcba9876543210"
	testFlow   = "1253053924311566011"
	payerNo    = "1105011111111000018"
	payeeNo    = "30206857000001"
)

func apps() map[string]string { return map[string]string{testApp: testSecret, secondApp: secondKey} }

func config(url string) esign.Config {
	return esign.Config{
		URL: url,
		Accounts: map[string]esign.Account{
			"main": {AppID: testApp, Secret: testSecret}, "second": {AppID: secondApp, Secret: secondKey},
		},
		DefaultAccount: "main",
		HTTP:           wire.Config{Timeout: 10 * time.Second},
	}
}

func newClient(t testing.TB, c esign.Config) *esign.Client {
	t.Helper()
	client, err := esign.New(c)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func command(flow string) commands.Command {
	return commands.Command{
		Topic: "identity.poll", RequestID: "R-1", Key: "R-1",
		Body: commands.Body(fmt.Sprintf(`{"requestId":"R-1","flowId":%q}`, flow)),
	}
}

// double is a gateway behind connections in memory, for synctest bubbles.
func double(t testing.TB, c sim.Config) (*sim.Gateway, esign.Config) {
	t.Helper()
	if c.Apps == nil {
		c.Apps = apps()
	}
	g := sim.New(c)
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		g.Close()
		served.Wait()
	})
	out := config("http://openapi.test")
	out.HTTP.DialContext = l.dial
	return g, out
}

// pipes is a listener whose connections are made by dial.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func plans(p sim.Plan) func(string) sim.Plan { return func(string) sim.Plan { return p } }

func steps(s ...sim.Step) func(string) sim.Plan { return plans(sim.Plan{Steps: s}) }

func TestWhatEachAnswerMeans(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step     sim.Step
		want     commands.Status
		code     string
		err      string
		outlines int
	}{
		"finished":     {step: sim.Step{Process: "ORGANFINISHED"}, want: commands.StatusSucceeded, code: "0"},
		"unavailable":  {step: sim.Step{Process: "UNAVAILABLE"}, want: commands.StatusPending, code: "0"},
		"init":         {step: sim.Step{Process: "INIT"}, want: commands.StatusPending, code: "0"},
		"created":      {step: sim.Step{Process: "CREATED"}, want: commands.StatusPending, code: "0"},
		"un-received":  {step: sim.Step{Process: "UN_RECEIVED"}, want: commands.StatusPending, code: "0"},
		"unheard of":   {step: sim.Step{Process: "SOMETHING_NEW"}, want: commands.StatusPending, code: "0"},
		"lower case":   {step: sim.Step{Process: "organfinished"}, want: commands.StatusPending, code: "0"},
		"letter fails": {step: sim.Step{Process: "CREATED", AuthLetter: "FAIL", Auditing: "章不清楚"}, want: commands.StatusPending, code: "0"},
		"letter ends":  {step: sim.Step{Process: "CREATED", AuthLetter: "TERMINATED"}, want: commands.StatusPending, code: "0"},
		"no process":   {step: sim.Step{}, err: esign.CodeNoData},

		"pay failed, flow failed":      {step: sim.Step{Process: "PAY_FAILED", Outline: "FAIL", FailReason: "x"}, want: commands.StatusFailed, code: "0", outlines: 1},
		"pay failed, flow goes on":     {step: sim.Step{Process: "PAY_FAILED", Outline: "ING"}, want: commands.StatusPending, code: "0", outlines: 1},
		"pay failed, flow finished":    {step: sim.Step{Process: "PAY_FAILED", Outline: "SUCCESS"}, want: commands.StatusSucceeded, code: "0", outlines: 1},
		"pay failed, unheard of":       {step: sim.Step{Process: "PAY_FAILED", Outline: "HALF"}, want: commands.StatusPending, code: "0", outlines: 1},
		"pay failed, expired":          {step: sim.Step{Process: "PAY_FAILED", OutlineCode: 30500003}, want: commands.StatusFailed, code: "30500003", outlines: 1},
		"pay failed, outline refused":  {step: sim.Step{Process: "PAY_FAILED", OutlineCode: 30500004}, err: esign.CodeOutline, outlines: 1},
		"pay failed, outline broken":   {step: sim.Step{Process: "PAY_FAILED", OutlineFault: sim.Fault{Garbage: true}}, err: esign.CodeUnreadable, outlines: 1},
		"pay failed, outline away":     {step: sim.Step{Process: "PAY_FAILED", OutlineFault: sim.Fault{Status: 503}}, err: wire.CodeStatus5xx, outlines: 1},
		"ended, finished":              {step: sim.Step{Code: 30500002, Outline: "SUCCESS"}, want: commands.StatusSucceeded, code: "30500002", outlines: 1},
		"ended, failed":                {step: sim.Step{Code: 30500002, Outline: "FAIL"}, want: commands.StatusFailed, code: "30500002", outlines: 1},
		"ended, outline lags":          {step: sim.Step{Code: 30500002, Outline: "ING"}, want: commands.StatusPending, code: "30500002", outlines: 1},
		"ended, outline refused":       {step: sim.Step{Code: 30500002, OutlineCode: 30500000}, err: esign.CodeOutline, outlines: 1},
		"tries used up, flow goes on":  {step: sim.Step{Code: 30500052, Outline: "ING"}, want: commands.StatusPending, code: "30500052", outlines: 1},
		"a part failed, flow finished": {step: sim.Step{Code: 30500001, Outline: "SUCCESS"}, want: commands.StatusSucceeded, code: "30500001", outlines: 1},

		"expired":            {step: sim.Step{Code: 30500003}, want: commands.StatusFailed, code: "30500003"},
		"no such flow":       {step: sim.Step{Code: 30500004}, want: commands.StatusFailed, code: "30500004"},
		"missing argument":   {step: sim.Step{Code: 30500100}, want: commands.StatusFailed, code: "30500100"},
		"operation error":    {step: sim.Step{Code: 30500000}, err: esign.CodeTrouble},
		"app not configured": {step: sim.Step{Code: 30500200}, err: esign.CodeNotConfigured},
		"unknown code":       {step: sim.Step{Code: 31234567}, err: esign.CodeBusiness},

		"reset":        {step: sim.Step{Fault: sim.Fault{Reset: true}}, err: wire.CodeEOF},
		"dropped":      {step: sim.Step{Fault: sim.Fault{Drop: true}}, err: wire.CodeEOF},
		"silent":       {step: sim.Step{Fault: sim.Fault{Hang: true}}, err: wire.CodeTimeout},
		"slow":         {step: sim.Step{Process: "ORGANFINISHED", Fault: sim.Fault{Slow: time.Hour}}, err: wire.CodeTimeout},
		"slow but ok":  {step: sim.Step{Process: "ORGANFINISHED", Fault: sim.Fault{Slow: time.Second}}, want: commands.StatusSucceeded, code: "0"},
		"gateway away": {step: sim.Step{Fault: sim.Fault{Status: 502}}, err: wire.CodeStatus5xx},
		"garbage":      {step: sim.Step{Fault: sim.Fault{Garbage: true}}, err: esign.CodeUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g, cfg := double(t, sim.Config{Script: steps(c.step)})
				reply, err := newClient(t, cfg).Ask(t.Context(), command(testFlow))
				if c.err != "" {
					require.Error(t, err)
					require.Equal(t, c.err, vendors.CodeOf(err), "%v", err)
					require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
					require.Zero(t, reply)
				} else {
					require.NoError(t, err)
					require.Equal(t, c.want, reply.Status)
					require.Equal(t, c.code, reply.Code)
					// The flow's own message stands in Fields; ours would hide it.
					require.Equal(t, c.code != "0", reply.Message != "")
				}
				require.Equal(t, sim.Counts{Queries: 1, Outlines: c.outlines}, g.Counts(testFlow))
				require.Empty(t, g.Complaints())
			})
		})
	}
}

// null is what a missing value becomes.
func nulls(names ...string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for _, n := range names {
		out[n] = json.RawMessage("null")
	}
	return out
}

func TestFieldsArriveUnderTheirNames(t *testing.T) {
	t.Parallel()
	finished := map[string]string{
		"process": "ORGANFINISHED", "subAccount": "***0001", "subAccountChannelName": "平安银行杭州西湖支行",
		"mainAccountName": "杭州天谷信息科技有限公司", "oppAccountNo": "***0018", "oppAccountName": "XXXXX有限公司",
		"oppBankName": "中国建设银行股份有限公司北京西三旗支行", "payAmount": "0.01", "tradeTime": "20000101080000",
		"createTime": "946684800000", "modifyTime": "946684800000", "bizFlowNo": "218540111110042471328",
	}
	for name, c := range map[string]struct {
		step   sim.Step
		show   bool
		fields map[string]string
		extra  map[string]json.RawMessage
	}{
		"finished": {
			step: sim.Step{Process: "ORGANFINISHED"}, fields: finished,
			extra: nulls("message", "auditing", "authLetterAuditStatus"),
		},
		"account numbers in full": {
			step: sim.Step{Process: "ORGANFINISHED"}, show: true,
			fields: with(finished, "subAccount", payeeNo, "oppAccountNo", payerNo),
			extra:  nulls("message", "auditing", "authLetterAuditStatus"),
		},
		"the word null": {
			step:   sim.Step{Process: "UN_RECEIVED"},
			fields: map[string]string{"process": "UN_RECEIVED", "message": "无对应打款信息"},
			extra: nulls("subAccount", "subAccountChannelName", "mainAccountName", "oppAccountNo", "oppAccountName",
				"oppBankName", "payAmount", "tradeTime", "createTime", "modifyTime", "bizFlowNo", "auditing",
				"authLetterAuditStatus"),
		},
		"texts are scrubbed": {
			step: sim.Step{
				Process: "ORGANFINISHED", Message: "from " + payerNo, Auditing: "see " + payeeNo, AuthLetter: "ING",
			},
			show: true,
			fields: with(finished, "subAccount", payeeNo, "oppAccountNo", payerNo, "message", "from ***",
				"auditing", "see ***", "authLetterAuditStatus", "ING"),
			extra: nulls(),
		},
		"the outline's word": {
			step:   sim.Step{Code: 30500002, Outline: "FAIL", FailReason: "账号 " + payerNo + " 不符"},
			fields: map[string]string{"flowStatus": "FAIL", "failReason": "账号 *** 不符"},
			extra:  nulls("process"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, cfg := double(t, sim.Config{Script: steps(c.step)})
				cfg.ShowAccountNumbers = c.show
				reply, err := newClient(t, cfg).Ask(t.Context(), command(testFlow))
				require.NoError(t, err)
				require.Equal(t, c.fields, reply.Fields)
				require.Equal(t, c.extra, reply.Extra)
			})
		})
	}
}

func with(fields map[string]string, pairs ...string) map[string]string {
	out := map[string]string{}
	for k, v := range fields {
		out[k] = v
	}
	for pair := range slices.Chunk(pairs, 2) {
		out[pair[0]] = pair[1]
	}
	return out
}

func TestEachProcessIsObserved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, cfg := double(t, sim.Config{Script: steps(
			sim.Step{Queries: 1, Process: "CREATED"}, sim.Step{Queries: 2, Process: "SOMETHING_NEW"},
			sim.Step{Queries: 3, Process: "PAY_FAILED"}, sim.Step{Queries: 4, Process: "ORGANFINISHED"},
		)})
		var seen []string
		cfg.Observe = func(process string, known bool) { seen = append(seen, fmt.Sprint(process, known)) }
		client := newClient(t, cfg)
		for range 4 {
			reply, err := client.Ask(t.Context(), command(testFlow))
			require.NoError(t, err)
			require.Contains(t, seen[len(seen)-1], reply.Fields["process"])
		}
		require.Equal(t, []string{"CREATEDtrue", "SOMETHING_NEWfalse", "PAY_FAILEDtrue", "ORGANFINISHEDtrue"}, seen)
	})
}

func TestGatewayRefusalsAreToldApart(t *testing.T) {
	t.Parallel()
	wrong := func(change func(*esign.Config)) func(*esign.Config, *sim.Config) {
		return func(c *esign.Config, _ *sim.Config) { change(c) }
	}
	says := func(message string) func(*esign.Config, *sim.Config) {
		return func(_ *esign.Config, s *sim.Config) { s.Script = steps(sim.Step{Fault: sim.Fault{Auth: message}}) }
	}
	for name, c := range map[string]struct {
		arrange func(*esign.Config, *sim.Config)
		code    string
	}{
		"unknown app": {wrong(func(c *esign.Config) {
			c.Accounts = map[string]esign.Account{"main": {AppID: "7430000000", Secret: testSecret}}
		}), esign.CodeAuthApp},
		"wrong secret": {wrong(func(c *esign.Config) {
			c.Accounts = map[string]esign.Account{"main": {AppID: testApp, Secret: "another"}}
		}), esign.CodeAuthSignature},
		"clock off": {func(_ *esign.Config, s *sim.Config) { s.Window = -time.Second }, esign.CodeAuthTimestamp},
		"address": {func(_ *esign.Config, s *sim.Config) {
			s.Allowed = func(*http.Request) bool { return false }
		}, esign.CodeAuthIP},
		"missing parameter": {says("缺少参数"), esign.CodeAuthMissing},
		"strategy":          {says("AUTHSTRATEGY_NOT_FOUND"), esign.CodeAuthStrategy},
		"simple mode":       {says("SIMPLE_MODE_CANT_PASS"), esign.CodeAuthSignature},
		"token":             {says("TOKEN错误"), esign.CodeAuthToken},
		"no token":          {says("TOKEN_CANT_BE_NULL"), esign.CodeAuthToken},
		"anything else":     {says("whatever " + testSecret + " 13800000000"), esign.CodeAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := sim.Config{}
				changed := config("")
				c.arrange(&changed, &s)
				g, cfg := double(t, s)
				cfg.Accounts = changed.Accounts
				reply, err := newClient(t, cfg).Ask(t.Context(), command(testFlow))
				require.Zero(t, reply)
				require.Error(t, err)
				require.Equal(t, c.code, vendors.CodeOf(err))
				require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
				require.NotContains(t, err.Error(), testSecret)
				require.NotContains(t, err.Error(), "13800000000")
				require.Equal(t, 1, g.Requests(), "a refused signature must not be tried again here")
			})
		})
	}
}

func TestAccountsAndCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, cfg := double(t, sim.Config{Script: plans(sim.Plan{App: secondApp})})
		client := newClient(t, cfg)
		mine := command(testFlow)
		reply, err := client.Ask(t.Context(), mine)
		require.NoError(t, err)
		require.Equal(t, commands.StatusFailed, reply.Status, "another app's flow is not found")

		mine.Account = "second"
		require.NoError(t, client.Check(mine))
		reply, err = client.Ask(t.Context(), mine)
		require.NoError(t, err)
		require.Equal(t, commands.StatusSucceeded, reply.Status)

		carried := commands.Command{Account: "second", Carry: map[string]string{"flowId": testFlow}}
		reply, err = client.Ask(t.Context(), carried)
		require.NoError(t, err)
		require.Equal(t, commands.StatusSucceeded, reply.Status)
		before := g.Requests()

		for name, cmd := range map[string]commands.Command{
			"unknown account": {Account: "third", Body: mine.Body},
			"no flow":         {Body: commands.Body(`{}`)},
			"no body":         {},
			"not JSON":        {Body: commands.Body(`hello`)},
			"another path":    command("../../x"),
			"a query":         command("1?a=1"),
			"a long flow":     command(fmt.Sprintf("%065d", 1)),
			"a space":         command("1 2"),
			"chinese":         command("流程"),
		} {
			require.Error(t, client.Check(cmd), name)
			_, err := client.Ask(t.Context(), cmd)
			require.NotEqual(t, commands.ClassUnknown, vendors.ClassOf(err), name)
		}
		require.Equal(t, before, g.Requests(), "nothing of these reaches the wire")
	})
}
