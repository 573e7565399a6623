package esign_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
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

type outcome struct {
	reply commands.Reply
	err   error
}

// together asks n times at once; in a bubble, all wait for the first before time goes on.
func together(ctx context.Context, client *esign.Client, n int, cmd commands.Command) []outcome {
	results := make(chan outcome, n)
	for range n {
		go func() {
			reply, err := client.Ask(ctx, cmd)
			results <- outcome{reply, err}
		}()
	}
	out := make([]outcome, 0, n)
	for range n {
		out = append(out, <-results)
	}
	return out
}

func TestPollsOfOneFlowShareCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, cfg := double(t, sim.Config{
			Latency: time.Second, Script: steps(sim.Step{Process: "CREATED"}, sim.Step{After: 30 * time.Second, Process: "ORGANFINISHED"}),
		})
		cfg.ShareFor = 5 * time.Second
		client := newClient(t, cfg)
		for _, o := range together(t.Context(), client, 50, command(testFlow)) {
			require.NoError(t, o.err)
			require.Equal(t, commands.StatusPending, o.reply.Status)
			// What one caller does to its reply is nobody else's business.
			o.reply.Fields["process"] = "changed"
			clear(o.reply.Extra)
		}
		require.Equal(t, 1, g.Counts(testFlow).Queries)

		time.Sleep(4 * time.Second)
		reply, err := client.Ask(t.Context(), command(testFlow))
		require.NoError(t, err)
		require.Equal(t, "CREATED", reply.Fields["process"])
		require.NotEmpty(t, reply.Extra)
		require.Equal(t, 1, g.Counts(testFlow).Queries, "kept")

		time.Sleep(2 * time.Second)
		_, err = client.Ask(t.Context(), command(testFlow))
		require.NoError(t, err)
		require.Equal(t, 2, g.Counts(testFlow).Queries, "asked again when the answer was old")

		other := command(testFlow)
		other.Account = "second"
		_, err = client.Ask(t.Context(), other)
		require.NoError(t, err)
		require.Equal(t, 3, g.Counts(testFlow).Queries, "accounts share nothing")
		_, err = client.Ask(t.Context(), command("99"))
		require.NoError(t, err)
		require.Equal(t, 1, g.Counts("99").Queries, "flows share nothing")

		time.Sleep(time.Minute)
		reply, err = client.Ask(t.Context(), command(testFlow))
		require.NoError(t, err)
		require.Equal(t, commands.StatusSucceeded, reply.Status)
	})
}

func TestWithoutSharingEachPollCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, cfg := double(t, sim.Config{Latency: time.Second})
		for _, o := range together(t.Context(), newClient(t, cfg), 8, command(testFlow)) {
			require.NoError(t, o.err)
		}
		require.Equal(t, 8, g.Counts(testFlow).Queries)
	})
}

func TestErrorsAreSharedButNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, cfg := double(t, sim.Config{Latency: time.Second, Script: steps(
			sim.Step{Queries: 1, Fault: sim.Fault{Status: 503}}, sim.Step{Queries: 2, Process: "ORGANFINISHED"},
		)})
		cfg.ShareFor = time.Hour
		client := newClient(t, cfg)
		for _, o := range together(t.Context(), client, 5, command(testFlow)) {
			require.Equal(t, wire.CodeStatus5xx, vendors.CodeOf(o.err))
		}
		reply, err := client.Ask(t.Context(), command(testFlow))
		require.NoError(t, err)
		require.Equal(t, commands.StatusSucceeded, reply.Status)
		require.Equal(t, 2, g.Counts(testFlow).Queries)
	})
}

// One caller's leaving is not the others' error: the next of them makes the call.
func TestACallerThatLeavesTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, cfg := double(t, sim.Config{Latency: 5 * time.Second})
		cfg.ShareFor = time.Minute
		client := newClient(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		first, rest := make(chan outcome, 1), make(chan []outcome, 1)
		go func() {
			reply, err := client.Ask(ctx, command(testFlow))
			first <- outcome{reply, err}
		}()
		synctest.Wait()
		go func() { rest <- together(t.Context(), client, 5, command(testFlow)) }()
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err := client.Ask(impatient, command(testFlow))
		require.Equal(t, wire.CodeTimeout, vendors.CodeOf(err))
		require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))

		cancel()
		require.Equal(t, wire.CodeCanceled, vendors.CodeOf((<-first).err))
		for _, o := range <-rest {
			require.NoError(t, o.err)
			require.Equal(t, commands.StatusSucceeded, o.reply.Status)
		}
		require.LessOrEqual(t, g.Counts(testFlow).Queries, 2)
	})
}

func oauth(t testing.TB, c sim.Config) (*sim.Gateway, *esign.Client) {
	t.Helper()
	g, cfg := double(t, c)
	cfg.Mode = esign.ModeOAuth2
	return g, newClient(t, cfg)
}

func TestTokensAreFetchedOnceAndRenewedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, client := oauth(t, sim.Config{Latency: time.Second})
		ask := func() {
			t.Helper()
			for i, o := range together(t.Context(), client, 20, command(testFlow)) {
				require.NoError(t, o.err, i)
			}
		}
		ask()
		require.Equal(t, 1, g.Tokens(), "concurrent calls share one fetch")
		time.Sleep(114 * time.Minute)
		ask()
		require.Equal(t, 1, g.Tokens(), "a good token is kept")
		time.Sleep(2 * time.Minute)
		ask()
		require.Equal(t, 2, g.Tokens(), "renewed within the margin")
		require.Empty(t, g.Complaints(), "and never refused")

		second := command(testFlow)
		second.Account = "second"
		_, err := client.Ask(t.Context(), second)
		require.NoError(t, err)
		require.Equal(t, 3, g.Tokens(), "each account has its own")
	})
}

func TestARevokedTokenIsFetchedAgainOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, client := oauth(t, sim.Config{})
		_, err := client.Ask(t.Context(), command(testFlow))
		require.NoError(t, err)
		g.RevokeTokens()
		for _, o := range together(t.Context(), client, 20, command(testFlow)) {
			require.NoError(t, o.err)
			require.Equal(t, commands.StatusSucceeded, o.reply.Status)
		}
		require.Equal(t, 2, g.Tokens())
	})
	synctest.Test(t, func(t *testing.T) {
		g, client := oauth(t, sim.Config{Script: steps(sim.Step{Fault: sim.Fault{Auth: "TOKEN错误"}})})
		_, err := client.Ask(t.Context(), command(testFlow))
		require.Equal(t, esign.CodeAuthToken, vendors.CodeOf(err))
		require.Equal(t, 2, g.Tokens(), "no third try")
		require.Equal(t, 2, g.Counts(testFlow).Queries)
	})
	synctest.Test(t, func(t *testing.T) {
		g, client := oauth(t, sim.Config{Script: steps(sim.Step{Fault: sim.Fault{Auth: "无效的应用"}})})
		_, err := client.Ask(t.Context(), command(testFlow))
		require.Equal(t, esign.CodeAuthApp, vendors.CodeOf(err))
		require.Equal(t, 1, g.Tokens(), "a fresh token would not help")
	})
}

// While the old token is good, an outage of the token endpoint is not felt.
func TestATokenOutlivesAFailedRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := false
		g, client := oauth(t, sim.Config{Gate: func(_ context.Context, op string) sim.Verdict {
			if down && op[:5] == "token" {
				return sim.Drop
			}
			return sim.Proceed
		}})
		ask := func() error {
			_, err := client.Ask(t.Context(), command(testFlow))
			return err
		}
		require.NoError(t, ask())
		down = true
		time.Sleep(117 * time.Minute)
		require.NoError(t, ask())
		time.Sleep(4 * time.Minute)
		require.Equal(t, wire.CodeEOF, vendors.CodeOf(ask()), "over, and no new one to be had")
		down = false
		require.NoError(t, ask())
		require.Equal(t, 2, g.Tokens())
	})
}

func TestTokensThatAreNotGiven(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"refused":        `{"code":72000032,"message":"应用停用 ` + testSecret + `","data":null}`,
		"no data":        `{"code":0,"message":"","data":null}`,
		"no token":       `{"code":0,"data":{"expiresIn":"4102444800000"}}`,
		"no end":         `{"code":0,"data":{"token":"t"}}`,
		"end as a date":  `{"code":0,"data":{"token":"t","expiresIn":"2030-01-01"}}`,
		"already over":   `{"code":0,"data":{"token":"t","expiresIn":"946684799000"}}`,
		"a line in it":   `{"code":0,"data":{"token":"t\r\nX: y","expiresIn":"4102444800000"}}`,
		"a list as data": `{"code":0,"data":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{replies: []string{body}}
				cfg := config("http://openapi.test")
				cfg.Mode, cfg.HTTP.DialContext = esign.ModeOAuth2, r.dial
				_, err := newClient(t, cfg).Ask(t.Context(), command(testFlow))
				require.Error(t, err)
				require.Contains(t, []string{esign.CodeToken, esign.CodeUnreadable}, vendors.CodeOf(err))
				require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
				require.NotContains(t, fmt.Sprintf("%+v", err), testSecret)
				require.Len(t, r.sent, 1)
			})
		})
	}
}

// The secret stands in the token's query and the token in a header: no failure may bring either to light.
func TestNoFailureShowsSecretOrToken(t *testing.T) {
	t.Parallel()
	for _, fault := range []sim.Fault{
		{Drop: true}, {Reset: true}, {Status: 500}, {Garbage: true}, {Hang: true}, {Auth: "TOKEN错误 eyJ." + testApp + ".token-2 " + testSecret},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, client := oauth(t, sim.Config{Script: steps(sim.Step{Fault: fault})})
			_, err := client.Ask(t.Context(), command(testFlow))
			require.Error(t, err)
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, client), testSecret)
			require.NotContains(t, err.Error(), "token-2")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		cfg := config("http://openapi.test")
		cfg.Mode = esign.ModeOAuth2
		_, gated := double(t, sim.Config{Gate: func(context.Context, string) sim.Verdict { return sim.Drop }})
		cfg.HTTP = gated.HTTP
		_, err := newClient(t, cfg).Ask(t.Context(), command(testFlow))
		require.Error(t, err)
		require.NotContains(t, err.Error(), testSecret)
	})
}

func TestABusinessCodeUnderAnotherStatusNeedsTheSetting(t *testing.T) {
	t.Parallel()
	serve := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"code":30500004,"message":"认证流程不存在","data":null}`))
	})
	for _, set := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
			server := &http.Server{Handler: serve, ReadHeaderTimeout: time.Minute}
			go func() { _ = server.Serve(l) }()
			defer func() { _ = server.Close() }()
			cfg := config("http://openapi.test")
			cfg.HTTP.DialContext = l.dial
			if set {
				cfg.AnswerStatuses = []int{200, 400}
			}
			client := newClient(t, cfg)
			defer client.Close()
			reply, err := client.Ask(t.Context(), command(testFlow))
			if !set {
				require.Equal(t, wire.CodeStatus4xx, vendors.CodeOf(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, commands.StatusFailed, reply.Status)
		})
	}
}
