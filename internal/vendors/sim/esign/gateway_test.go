package esign

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	app    = "7438900001"
	secret = "0123456789abcdef0123456789abcdef"
	path   = "/v2/identity/auth/pub/organization/12/query/reversePaymentProcess"
)

func gateway(t testing.TB, c Config) *Gateway {
	t.Helper()
	if c.Apps == nil {
		c.Apps = map[string]string{app: secret}
	}
	g := New(c)
	t.Cleanup(g.Close)
	return g
}

// do lets the gateway answer; its answer's code and data come back decoded.
func do(t testing.TB, g *Gateway, r *http.Request) (status int, answer map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	return w.Code, answer
}

// ask is a signed GET, with one header changed after it was signed.
func ask(path string, change ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Content-Type", "application/json;charset=UTF-8")
	r.Header.Set("X-Tsign-Open-App-Id", app)
	r.Header.Set("X-Tsign-Open-Auth-Mode", "Signature")
	r.Header.Set("X-Tsign-Open-Ca-Timestamp", fmt.Sprint(time.Now().UnixMilli()))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("GET\n*/*\n\napplication/json;charset=UTF-8\n\n" + path))
	r.Header.Set("X-Tsign-Open-Ca-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	for i := 0; i+1 < len(change); i += 2 {
		if change[i+1] == "" {
			r.Header.Del(change[i])
		} else {
			r.Header.Set(change[i], change[i+1])
		}
	}
	return r
}

// The vectors that the adapter signs by are those that the double accepts; a broken signature it refuses.
func TestRequestVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../esign/testdata/vectors.json")
	require.NoError(t, err)
	var file struct {
		Vectors []struct {
			ID, Kind, Secret, Method, Path, Accept, Body, Signature string

			Params      [][2]string
			ContentType string `json:"content_type"`
			ContentMD5  string `json:"content_md5"`
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	seen := 0
	for _, v := range file.Vectors {
		if v.Kind == "content_md5" {
			seen++
			require.Equal(t, v.ContentMD5, contentMD5([]byte(v.Body)), v.ID)
		}
		if v.Kind != "request" {
			continue
		}
		seen++
		for name, damage := range map[string]string{"as it is": "", "another signature": "A"} {
			t.Run(v.ID+" "+name, func(t *testing.T) {
				t.Parallel()
				g := gateway(t, Config{Apps: map[string]string{"1": v.Secret}})
				var query []string
				for _, p := range v.Params {
					query = append(query, p[0]+"="+url.QueryEscape(p[1]))
				}
				r := httptest.NewRequest(v.Method, v.Path+"?"+strings.Join(query, "&"), strings.NewReader(v.Body))
				r.Header.Set("X-Tsign-Open-App-Id", "1")
				r.Header.Set("X-Tsign-Open-Auth-Mode", "Signature")
				r.Header.Set("X-Tsign-Open-Ca-Timestamp", fmt.Sprint(time.Now().UnixMilli()))
				r.Header.Set("X-Tsign-Open-Ca-Signature", damage+v.Signature)
				r.Header.Set("Accept", v.Accept)
				for name, value := range map[string]string{"Content-Type": v.ContentType, "Content-MD5": v.ContentMD5} {
					if value != "" {
						r.Header.Set(name, value)
					}
				}
				_, no := g.admit(r, []byte(v.Body))
				if damage == "" {
					require.Nil(t, no)
				} else {
					require.Equal(t, &denial{http.StatusUnauthorized, "INVALID_SIGNATURE"}, no)
				}
			})
		}
	}
	require.Equal(t, 10, seen)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request func() *http.Request
		status  int
		message string
	}{
		"no app":            {func() *http.Request { return ask(path, "X-Tsign-Open-App-Id", "") }, 401, "缺少参数"},
		"unknown app":       {func() *http.Request { return ask(path, "X-Tsign-Open-App-Id", "1") }, 401, "无效的应用"},
		"unknown mode":      {func() *http.Request { return ask(path, "X-Tsign-Open-Auth-Mode", "Basic") }, 401, "AUTHSTRATEGY_NOT_FOUND"},
		"no mode, no token": {func() *http.Request { return ask(path, "X-Tsign-Open-Auth-Mode", "") }, 401, "TOKEN_CANT_BE_NULL"},
		"a made up token": {func() *http.Request {
			return ask(path, "X-Tsign-Open-Auth-Mode", "", "X-Tsign-Open-Token", "x")
		}, 401, "TOKEN错误"},
		"no signature": {func() *http.Request { return ask(path, "X-Tsign-Open-Ca-Signature", "") }, 401, "缺少参数"},
		"stale": {func() *http.Request {
			return ask(path, "X-Tsign-Open-Ca-Timestamp", fmt.Sprint(time.Now().Add(-16*time.Minute).UnixMilli()))
		}, 401, "INVALID_TIMESTAMP"},
		"ahead": {func() *http.Request {
			return ask(path, "X-Tsign-Open-Ca-Timestamp", fmt.Sprint(time.Now().Add(16*time.Minute).UnixMilli()))
		}, 401, "INVALID_TIMESTAMP"},
		"in seconds": {func() *http.Request {
			return ask(path, "X-Tsign-Open-Ca-Timestamp", fmt.Sprint(time.Now().Unix()))
		}, 401, "INVALID_TIMESTAMP"},
		"not the app before the time": {func() *http.Request {
			return ask(path, "X-Tsign-Open-App-Id", "1", "X-Tsign-Open-Ca-Timestamp", "1")
		}, 401, "无效的应用"},
		"type sent otherwise":   {func() *http.Request { return ask(path, "Content-Type", "application/json; charset=UTF-8") }, 401, "INVALID_SIGNATURE"},
		"accept sent otherwise": {func() *http.Request { return ask(path, "Accept", "application/json") }, 401, "INVALID_SIGNATURE"},
		"a sum that is unsigned": {func() *http.Request {
			return ask(path, "Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")
		}, 401, "INVALID_SIGNATURE"},
		"unknown path unsigned": {func() *http.Request { return ask("/x", "X-Tsign-Open-App-Id", "1") }, 401, "无效的应用"},
		"unknown path":          {func() *http.Request { return ask("/x") }, 404, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := gateway(t, Config{})
			status, answer := do(t, g, c.request())
			require.Equal(t, c.status, status)
			require.Equal(t, c.message, answer["message"])
			require.Len(t, g.Complaints(), 1)
			require.Empty(t, g.Flows(), "a refused request reaches no flow")
		})
	}
	g := gateway(t, Config{Allowed: func(*http.Request) bool { return false }})
	status, answer := do(t, g, ask(path))
	require.Equal(t, 403, status)
	require.Equal(t, map[string]any{"success": false, "code": 403.0, "message": "IP白名单不匹配"}, answer)
}

func TestTokensOverlapAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gateway(t, Config{})
		fetch := func(query string) (string, map[string]any) {
			_, answer := do(t, g, httptest.NewRequest(http.MethodGet, "/v1/oauth2/access_token?"+query, nil))
			data, _ := answer["data"].(map[string]any)
			value, _ := data["token"].(string)
			return value, answer
		}
		try := func(token string) int {
			status, _ := do(t, g, ask(path, "X-Tsign-Open-Auth-Mode", "", "X-Tsign-Open-Token", token))
			return status
		}
		good := "grantType=client_credentials&appId=" + app + "&secret=" + secret
		one, answer := fetch(good)
		require.Equal(t, fmt.Sprint(time.Now().Add(2*time.Hour).UnixMilli()), answer["data"].(map[string]any)["expiresIn"])
		require.Equal(t, 200, try(one))
		two, _ := fetch(good)
		require.Equal(t, 200, try(one), "the one before lives on")
		require.Equal(t, 200, try(two))
		time.Sleep(6 * time.Minute)
		require.Equal(t, 401, try(one), "but not for long")
		require.Equal(t, 200, try(two))
		three, _ := fetch(good)
		_, _ = fetch(good)
		require.Equal(t, 401, try(two), "and only the one before")
		require.Equal(t, 200, try(three))

		for _, bad := range []string{
			"grantType=client_credentials&appId=1&secret=" + secret, "grantType=client_credentials&appId=" + app + "&secret=x",
		} {
			_, answer := fetch(bad)
			require.Equal(t, map[string]any{"code": 72000032.0, "message": "应用停用或应用不存在", "data": nil}, answer)
		}
		_, answer = fetch("appId=" + app + "&secret=" + secret)
		require.InDelta(t, 30500100, answer["code"], 0)
		four, _ := fetch(good)
		time.Sleep(2 * time.Hour)
		require.Equal(t, 401, try(four), "ended")
		require.Equal(t, 5, g.Tokens())
	})
}

func TestStepsByTimeAndByQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gateway(t, Config{Script: func(string) Plan {
			return Plan{Steps: []Step{
				{Queries: 2, Process: "CREATED", AuthLetter: "ING"},
				{After: time.Hour, Process: "UN_RECEIVED"},
				{After: 2 * time.Hour, Queries: 5, Process: "ORGANFINISHED"},
			}}
		}})
		process := func() string {
			_, answer := do(t, g, ask(path))
			return answer["data"].(map[string]any)["process"].(string)
		}
		outline := func() string {
			_, answer := do(t, g, ask("/v2/identity/auth/api/common/12/outline"))
			return answer["data"].(map[string]any)["flowStatus"].(string)
		}
		require.Equal(t, "INIT", process())
		require.Equal(t, "INIT", outline())
		require.Equal(t, "CREATED", process())
		require.Equal(t, "ING", outline())
		time.Sleep(time.Hour)
		require.Equal(t, "UN_RECEIVED", process())
		time.Sleep(time.Hour)
		require.Equal(t, "UN_RECEIVED", process(), "the fifth query is still to come")
		require.Empty(t, g.Outcome("12"))
		require.Equal(t, "ORGANFINISHED", process())
		require.Equal(t, "SUCCESS", outline())
		require.Equal(t, "success", g.Outcome("12"))
		require.Equal(t, Counts{Queries: 5, Outlines: 3}, g.Counts("12"))
		require.Error(t, g.Finish("12", true))
		require.Empty(t, g.Complaints())
	})
}

func TestFinishByHand(t *testing.T) {
	t.Parallel()
	g := gateway(t, Config{Script: func(string) Plan { return Plan{Steps: []Step{{Process: "CREATED"}}} }})
	require.NoError(t, g.Finish("12", false))
	require.Equal(t, "fail", g.Outcome("12"))
	_, answer := do(t, g, ask(path))
	require.Equal(t, "PAY_FAILED", answer["data"].(map[string]any)["process"])
	require.NoError(t, g.Finish("13", true))
	require.Equal(t, "success", g.Outcome("13"))
	require.Equal(t, []string{"12", "13"}, g.Flows())
}

func TestOnlyItsAppFindsAFlow(t *testing.T) {
	t.Parallel()
	for _, plan := range []Plan{{App: "other"}, {Missing: true}} {
		g := gateway(t, Config{Script: func(string) Plan { return plan }})
		for _, p := range []string{path, "/v2/identity/auth/api/common/12/outline"} {
			status, answer := do(t, g, ask(p))
			require.Equal(t, 200, status)
			require.Equal(t, map[string]any{"code": 30500004.0, "message": "认证流程不存在", "data": nil}, answer)
		}
	}
}

// A gate sees every action and reply by a stable name, and can lose it.
func TestTheGateSeesEverything(t *testing.T) {
	t.Parallel()
	var ops []string
	g := gateway(t, Config{
		Gate: func(_ context.Context, op string) Verdict { ops = append(ops, op); return Proceed },
		Peer: func(*http.Request) string { return "pod-1" },
	})
	_, _ = do(t, g, ask(path))
	_, _ = do(t, g, ask(path))
	require.Equal(t, []string{
		"query/12/pod-1/1/act", "query/12/pod-1/1/reply", "query/12/pod-1/2/act", "query/12/pod-1/2/reply",
	}, ops)

	lost := gateway(t, Config{Gate: func(context.Context, string) Verdict { return Drop }})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		lost.ServeHTTP(httptest.NewRecorder(), ask(path))
	})
	require.Zero(t, lost.Counts("12"), "lost before it acted")
}

// Close waits for what runs and refuses what comes later.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{
			Apps:   map[string]string{app: secret},
			Script: func(string) Plan { return Plan{Steps: []Step{{After: time.Hour, Process: "ORGANFINISHED"}}} },
		})
		g.Start("12")
		g.Close()
		require.Panics(t, func() { g.ServeHTTP(httptest.NewRecorder(), ask(path)) })
	})
}
