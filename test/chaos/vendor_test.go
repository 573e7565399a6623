package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

// double serves a vendor and returns the product's own client of it.
func double(t *testing.T, how behaviour, notify string) (*vendor, *withhold.Client) {
	t.Helper()
	v := &vendor{
		seed: 1, file: io.Discard, away: t.Context(), calls: &http.Client{Timeout: 5 * time.Second}, how: how,
		journal: journal{Orders: map[string]*order{}}, tries: map[string]int{},
	}
	server := httptest.NewServer(http.HandlerFunc(v.gateway))
	t.Cleanup(server.Close)
	client, err := withhold.New(withhold.Config{
		URL: server.URL, Accounts: map[string]withhold.Account{"default": {UA: vendorUA, Key: vendorKey}}, DefaultAccount: "default",
		MissingWords: []string{vendorMissing}, MaxAmount: "100.00", NotifyURL: func(string) string { return notify },
		HTTP: wire.Config{Timeout: 5 * time.Second, MaxConns: 4, MaxIdle: 4},
	})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return v, client
}

// command is a valid withhold.request.
func command(name string) commands.Command {
	return commands.Command{
		Topic: commandTopic, RequestID: commands.RequestID("r-" + name), Key: commands.OperationKey(name),
		Body: commands.Body(`{"requestId":"r-` + name + `","biz_order_no":"` + name + `","amount":"12.34",` +
			`"bank_card_number":"6222021234567890123","name":"张三","id_card_number":"11010119900307123X",` +
			`"mobile":"13800000000","pay_type":"bank"}`),
	}
}

func (v *vendor) charges(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if o := v.journal.Orders[name]; o != nil {
		return o.Charges
	}
	return 0
}

func TestEverySubmissionIsCharged(t *testing.T) {
	t.Parallel()
	v, client := double(t, behaviour{}, "")
	reply, err := client.Ask(t.Context(), command("A"))
	require.NoError(t, err)
	require.Equal(t, commands.StatusMissing, reply.Status)
	for range 3 {
		reply, err := client.Send(t.Context(), command("A"))
		require.NoError(t, err)
		require.Equal(t, commands.StatusSucceeded, reply.Status)
	}
	require.Equal(t, 3, v.charges("A"))
	reply, err = client.Ask(t.Context(), command("A"))
	require.NoError(t, err)
	require.Equal(t, commands.StatusSucceeded, reply.Status)
	require.Equal(t, 2, v.journal.Questions)
	require.Zero(t, v.journal.Complaints)
}

func TestFaultsThatComeAfterTheCharge(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]behaviour{
		"reply lost": {LostReplies: 1}, "503": {Errors: 1}, "reset": {Resets: 1},
		"slow": {Slow: 1, SlowFor: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, client := double(t, how, "")
			_, err := client.Send(t.Context(), command("A"))
			require.Error(t, err)
			require.Equal(t, 1, v.charges("A"))
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		v, client := double(t, behaviour{Refusals: 1}, "")
		reply, err := client.Send(t.Context(), command("A"))
		require.NoError(t, err)
		require.Equal(t, commands.StatusRefused, reply.Status)
		require.Equal(t, 1, v.charges("A"))
	})
}

func TestALostRequestIsNotCharged(t *testing.T) {
	t.Parallel()
	v, client := double(t, behaviour{LostRequests: 1}, "")
	_, err := client.Send(t.Context(), command("A"))
	require.Error(t, err)
	require.Zero(t, v.charges("A"))
}

func TestChargesThatQuestionsDoNotFindYet(t *testing.T) {
	t.Parallel()
	v, client := double(t, behaviour{QueryLag: time.Hour}, "")
	_, err := client.Send(t.Context(), command("A"))
	require.NoError(t, err)
	reply, err := client.Ask(t.Context(), command("A"))
	require.NoError(t, err)
	require.Equal(t, commands.StatusMissing, reply.Status)
	require.Equal(t, 1, v.charges("A"))
}

func TestDeclinedOrdersMoveNoMoney(t *testing.T) {
	t.Parallel()
	v, client := double(t, behaviour{Declined: 1}, "")
	reply, err := client.Send(t.Context(), command("A"))
	require.NoError(t, err)
	require.Equal(t, commands.StatusFailed, reply.Status)
	require.Zero(t, v.charges("A"))
}

func TestACallThatIsCutIsCounted(t *testing.T) {
	t.Parallel()
	v, client := double(t, behaviour{Latency: 300 * time.Millisecond}, "")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := client.Send(ctx, command("A"))
	require.Error(t, err)
	require.Eventually(t, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.journal.Running == 0 && (v.journal.Cut == 1) == (v.journal.Orders["A"] != nil)
	}, 10*time.Second, 10*time.Millisecond)
}

// Callbacks are such as the product believes, and are repeated until they are taken; the contrary one comes last.
func TestCallbacks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var heard []string
	refused := false
	ingest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		callback, err := withhold.DecodeCallback(body)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			heard = append(heard, err.Error())
			return
		}
		if !refused {
			refused = true
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		heard = append(heard, callback.PayStatus)
	}))
	t.Cleanup(ingest.Close)
	_, client := double(t, behaviour{Called: 1, Doubled: 1, Contrary: 1}, ingest.URL+"/"+strings.Repeat("t", 40))
	_, err := client.Send(t.Context(), command("A"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(heard) == 4
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, []string{"success", "success", "success", "fail"}, heard)
}
