package esign

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
)

const fuzzSecret = "0123456789abcdef0123456789abcdef"

func fuzzClient(t testing.TB) *Client {
	t.Helper()
	out := &Client{
		byID: map[string]app{"7438900001": {"main", Account{"7438900001", fuzzSecret}}}, secrets: []string{fuzzSecret},
		failed: DefaultFailedCodes(), observe: func(string, bool) {},
	}
	return out
}

// FuzzAnswer: whatever the vendor says, a final reply needs its very words, and nothing leaks or grows.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"code":0,"message":"成功","data":{"process":"ORGANFINISHED","subAccount":"30206857000001","oppAccountNo":"1105011111111000018","message":null}}`,
		`{"code":0,"data":{"process":"UN_RECEIVED","payAmount":"null","message":"无对应打款信息"}}`,
		`{"code":30500002,"message":"认证流程已结束","data":null}`, `{"code":"30500004"}`, `{"code":0,"data":{"flowStatus":"FAIL","failReason":"x"}}`,
		`{"success":false,"code":401,"message":"INVALID_SIGNATURE"}`, "\ufeff{}", `{"code":0,"data":[]}`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	c := fuzzClient(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		ans, err := decodeAnswer(raw, c.secrets)
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), 200)
			return
		}
		reply, next, err := c.translate(ans, "1")
		check := func(reply commands.Reply, err error) {
			if err != nil {
				require.Zero(t, reply)
				return
			}
			for name, v := range reply.Fields {
				require.NotContains(t, v, fuzzSecret, name)
				require.LessOrEqual(t, len([]rune(v)), 250, name)
			}
			switch reply.Status {
			case commands.StatusSucceeded:
				require.True(t, reply.Fields["process"] == processFinished || reply.Fields["flowStatus"] == "SUCCESS")
			case commands.StatusFailed:
				code, _ := strconv.Atoi(reply.Code)
				require.True(t, slices.Contains(c.failed, code) || reply.Fields["flowStatus"] == "FAIL")
			case commands.StatusPending:
			default:
				require.Fail(t, "a reply of another kind", reply.Status)
			}
		}
		check(reply, err)
		if err == nil && next == toConfirm {
			require.Equal(t, commands.StatusPending, reply.Status, "final before it was confirmed")
		}
		check(c.confirm(commands.Reply{Status: commands.StatusPending}, ans, "1"))
	})
}

// FuzzCallback: what verifies was signed: an independent reading of the rule must give the same signature.
func FuzzCallback(f *testing.F) {
	const body = `{"flowId":"1253053924311566011","success":true}`
	a := Account{Secret: fuzzSecret}
	f.Add("1700000000123", a.callbackSignature("1700000000123", nil, []byte(body)), "", []byte(body))
	f.Add("1700000000123", a.callbackSignature("1700000000123", url.Values{"b": {"2"}, "a": {"1"}}, []byte(body)), "b=2&a=1", []byte(body))
	f.Add("1700000000123", "84732f9a1ec24ba502105c924f2e2bf4114ac2a7c04c689f569832b61871f297", "", []byte(`{}`))
	f.Add("", "", "%zz", []byte(nil))
	c := fuzzClient(f)
	f.Fuzz(func(t *testing.T, timestamp, signature, rawQuery string, body []byte) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		h := http.Header{}
		h.Set(headerApp, "7438900001")
		h.Set("X-Tsign-Open-Timestamp", timestamp)
		h.Set("X-Tsign-Open-Signature", signature)
		got, err := c.VerifyCallback(h, query, body)
		if err != nil {
			require.Zero(t, got)
			require.NotContains(t, err.Error(), fuzzSecret)
		}
		// The true signature always verifies, any other never does.
		right := a.callbackSignature(timestamp, query, body)
		_, _, verified := c.verify(h, query, body)
		require.Equal(t, signature == right && len(timestamp) == 13 && strings.Trim(timestamp, "0123456789") == "", verified == nil)
		if got.FlowID != "" {
			require.True(t, flowPattern.MatchString(got.FlowID))
		}
	})
}

// FuzzFlow: no flowId changes the path that is asked.
func FuzzFlow(f *testing.F) {
	f.Add("1253053924311566011")
	f.Add("../../x?y#z")
	f.Add("%2e%2e")
	f.Fuzz(func(t *testing.T, flow string) {
		got, err := flowOf(commands.Command{Carry: map[string]string{"flowId": flow}, Body: commands.Body(`{"flowId":"7"}`)})
		if err != nil {
			return
		}
		require.Contains(t, []string{flow, "7"}, got)
		u := url.URL{Path: "/a/" + got + "/b"}
		require.Equal(t, u.Path, u.EscapedPath())
		require.Equal(t, 3, strings.Count(u.Path, "/"))
	})
}
