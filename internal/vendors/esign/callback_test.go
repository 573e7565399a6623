package esign_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/vendors/esign"
	sim "paydispatch/internal/vendors/sim/esign"
)

const (
	stamp   = "1700000000123"
	orgEnd  = `{"agentAccountId":null,"verifycode":"e1c2","success":true,"accountId":null,"contextId":"ctx-0001","flowId":"1253053924311566011","serviceId":"1253053924311566011","orgAccountId":null,"agentFlowId":null,"status":true}`
	orgSign = "84732f9a1ec24ba502105c924f2e2bf4114ac2a7c04c689f569832b61871f297"
)

func callbackHeader(app, timestamp, signature string) http.Header {
	h := http.Header{}
	h.Set("X-Tsign-Open-App-Id", app)
	h.Set("X-Tsign-Open-TIMESTAMP", timestamp)
	h.Set("X-Tsign-Open-SIGNATURE-ALGORITHM", "hmac-sha256")
	h.Set("X-Tsign-Open-SIGNATURE", signature)
	return h
}

// signed is the header of a callback that the vendor signed: text is all that was signed.
func signed(app, secret, timestamp, text string) http.Header {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + text))
	return callbackHeader(app, timestamp, hex.EncodeToString(mac.Sum(nil)))
}

func TestVerifyCallback(t *testing.T) {
	t.Parallel()
	client := newClient(t, config("https://openapi.test"))
	got, err := client.VerifyCallback(callbackHeader(testApp, stamp, orgSign), nil, []byte(orgEnd))
	require.NoError(t, err)
	require.Equal(t, esign.Callback{
		Account: "main", AppID: testApp, SentAt: time.UnixMilli(1700000000123), FlowID: testFlow, ContextID: "ctx-0001",
		Success: new(true),
	}, got)

	query := url.Values{"orderNo": {"001"}, "belong": {"pinjie"}}
	got, err = client.VerifyCallback(
		callbackHeader(testApp, "1700000000789", "78f3794894b04e2bd07fba284a15e4cf1ea4fb7818660d01fbdec3e98aafe516"),
		query, []byte(orgEnd))
	require.NoError(t, err)
	require.Equal(t, testFlow, got.FlowID)
}

func TestForgedCallbacksAreRefused(t *testing.T) {
	t.Parallel()
	client := newClient(t, config("https://openapi.test"))
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	for name, c := range map[string]struct {
		header func(http.Header)
		query  string
		body   string
	}{
		"another body":      {body: strings.Replace(orgEnd, `"success":true`, `"success":false`, 1)},
		"a space more":      {body: orgEnd + " "},
		"a query more":      {query: "a=1", body: orgEnd},
		"another time":      {header: set("X-Tsign-Open-Timestamp", "1700000000124"), body: orgEnd},
		"no time":           {header: set("X-Tsign-Open-Timestamp", ""), body: orgEnd},
		"digits moved":      {header: set("X-Tsign-Open-Timestamp", "170000000012"), query: "a=3", body: orgEnd},
		"time with a sign":  {header: set("X-Tsign-Open-Timestamp", "+170000000012"), query: "a=3", body: orgEnd},
		"another app":       {header: set("X-Tsign-Open-App-Id", secondApp), body: orgEnd},
		"unknown app":       {header: set("X-Tsign-Open-App-Id", "1"), body: orgEnd},
		"no app":            {header: set("X-Tsign-Open-App-Id", ""), body: orgEnd},
		"no signature":      {header: set("X-Tsign-Open-Signature", ""), body: orgEnd},
		"half a signature":  {header: set("X-Tsign-Open-Signature", orgSign[:32]), body: orgEnd},
		"upper case":        {header: set("X-Tsign-Open-Signature", strings.ToUpper(orgSign)), body: orgEnd},
		"another algorithm": {header: set("X-Tsign-Open-Signature-Algorithm", "none"), body: orgEnd},
		"signed by the other": {header: func(h http.Header) {
			h.Set("X-Tsign-Open-Signature", signed(testApp, secondKey, stamp, orgEnd).Get("X-Tsign-Open-Signature"))
		}, body: orgEnd},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := callbackHeader(testApp, stamp, orgSign)
			if c.header != nil {
				c.header(h)
			}
			query, err := url.ParseQuery(c.query)
			require.NoError(t, err)
			got, err := client.VerifyCallback(h, query, []byte(c.body))
			require.ErrorIs(t, err, esign.ErrCallbackSignature)
			require.Zero(t, got)
			require.NotContains(t, err.Error(), testFlow)
		})
	}
}

func TestCallbackPayloads(t *testing.T) {
	t.Parallel()
	client := newClient(t, config("https://openapi.test"))
	for name, c := range map[string]struct {
		body string
		want esign.Callback
		bad  bool
	}{
		"webhook":      {body: `{"action":"identity_org_end","flowId":"12","success":false}`, want: esign.Callback{FlowID: "12", Action: "identity_org_end", Success: new(false)}},
		"status alone": {body: `{"serviceId":"12","status":true}`, want: esign.Callback{FlowID: "12", Success: new(true)}},
		"as words":     {body: `{"flowId":"12","success":"true"}`, want: esign.Callback{FlowID: "12", Success: new(true)}},
		//nolint:misspell // the vendor's word
		"a payment":     {body: `{"action":"identity_org_payed","flowId":"12","result":"PAY_FAIL","msg":"x","payedTime":1700000000000}`, want: esign.Callback{FlowID: "12", Action: "identity_org_payed", Result: "PAY_FAIL"}},
		"a number":      {body: `{"flowId":1253053924311566011}`, want: esign.Callback{FlowID: testFlow}},
		"flow null":     {body: `{"flowId":null,"serviceId":"12"}`, want: esign.Callback{FlowID: "12"}},
		"no flow":       {body: `{"success":true}`, bad: true},
		"two flows":     {body: `{"flowId":"12","serviceId":"13"}`, bad: true},
		"flow twice":    {body: `{"flowId":"12","flowId":"13"}`, bad: true},
		"a path":        {body: `{"flowId":"../x"}`, bad: true},
		"not an object": {body: `["12"]`, bad: true},
		"a form":        {body: `flowId=12`, bad: true},
		"empty":         {body: ``, bad: true},
		"two objects":   {body: `{"flowId":"12"}{}`, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := client.VerifyCallback(signed(secondApp, secondKey, stamp, c.body), nil, []byte(c.body))
			if c.bad {
				require.ErrorIs(t, err, esign.ErrCallbackUnreadable)
				require.Zero(t, got)
				return
			}
			require.NoError(t, err)
			c.want.Account, c.want.AppID, c.want.SentAt = "second", secondApp, time.UnixMilli(1700000000123)
			require.Equal(t, c.want, got)
		})
	}
}

func TestAnAbsentAlgorithmMeansTheDocumentedOne(t *testing.T) {
	t.Parallel()
	h := callbackHeader(testApp, stamp, orgSign)
	h.Del("X-Tsign-Open-Signature-Algorithm")
	_, err := newClient(t, config("https://openapi.test")).VerifyCallback(h, nil, []byte(orgEnd))
	require.NoError(t, err)
}

// arrival is a callback as a receiver gets it.
type arrival struct {
	header http.Header
	query  url.Values
	body   []byte
}

// The double's callbacks verify, its forged ones do not, and a receiver's failure makes it try again.
func TestCallbacksOfTheDouble(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan  sim.Plan
		good  int
		bad   int
		want  bool
		start bool
	}{
		"success at the query": {plan: sim.Plan{}, good: 2, want: true},
		"success by time":      {plan: sim.Plan{Steps: []sim.Step{{Process: "CREATED"}, {After: time.Millisecond, Process: "ORGANFINISHED"}}}, good: 2, want: true, start: true},
		"failure if wanted":    {plan: sim.Plan{NotifyFailure: true, Steps: []sim.Step{{Process: "PAY_FAILED", Outline: "FAIL"}}}, good: 2},
		"forged first":         {plan: sim.Plan{Forged: true, Webhook: true}, good: 1, bad: 1, want: true},
		"twice":                {plan: sim.Plan{CallbackTwice: true}, good: 3, want: true},
		"of the second app":    {plan: sim.Plan{App: secondApp}, good: 2, want: true, start: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox := make(chan arrival, 8)
			first := true
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				inbox <- arrival{r.Header, r.URL.Query(), body}
				if first {
					w.WriteHeader(http.StatusInternalServerError)
				}
				first = false
			}))
			defer receiver.Close()
			c.plan.NotifyURL = receiver.URL + "/cb?b=%E5%85%B3&a=1+2"
			g := sim.New(sim.Config{
				Apps: apps(), Script: plans(c.plan), CallbackRetry: []time.Duration{time.Millisecond, time.Millisecond},
			})
			server, err := sim.Listen(g, "")
			require.NoError(t, err)
			defer server.Close()
			client := newClient(t, config(server.URL))
			if c.start {
				g.Start(testFlow)
			} else {
				_, err := client.Ask(t.Context(), command(testFlow))
				require.NoError(t, err)
			}
			good, bad := 0, 0
			for range c.good + c.bad {
				select {
				case a := <-inbox:
					got, err := client.VerifyCallback(a.header, a.query, a.body)
					if err != nil {
						bad++
						continue
					}
					good++
					require.Equal(t, testFlow, got.FlowID)
					require.NotNil(t, got.Success)
					require.Equal(t, c.want, *got.Success)
				case <-time.After(20 * time.Second):
					require.Fail(t, "no callback came")
				}
			}
			// A forged one that is answered with an error is not sent again, so it takes the receiver's failure.
			require.Equal(t, c.bad, bad)
			require.Equal(t, c.good, good)
		})
	}
}
