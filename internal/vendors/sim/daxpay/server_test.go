package daxpay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/vendors/sim/daxpay"
)

// The requests of these tests are written out and signed by the vectors' own digests where there is one, so that the
// double is held against the vendor's code and not against the adapter.
const (
	secret = "123456"
	// at is reqTime of the vectors.
	at = 1717419815
	// signed is vector J02, whose digests are the vendor's own.
	signed = `{"channel":"wechat_pay","sign":"cf52496ef6f2e185aa4c072a0930727914e0ec0a299c85558981660bbddc469d","reqTime":1717419815}`
	// withNonce is vector J03: nonceStr and an empty receiverNo are signed.
	withNonce = `{"channel":"ali_pay","receiverNo":"","clientIp":"127.0.0.1","sign":"27106ae4c73844d085e2d57b61aeb09a7e5178ecd78b28250e9351eeef07973e","reqTime":1717419815,"nonceStr":"d112892e382a7093"}`
)

// inTime runs f in a bubble whose clock stands at the vectors' time, plus late.
func inTime(t *testing.T, late time.Duration, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(at, 0).Add(late))) // a bubble's clock jumps
		f(t)
	})
}

// ask posts a body to a fresh server and returns the answer with its complaints.
func ask(t *testing.T, c daxpay.Config, body string) (answer string, complaints []string) {
	t.Helper()
	if c.Secret == "" {
		c.Secret = secret
	}
	s := daxpay.New(c)
	defer s.Close()
	r := httptest.NewRequest(http.MethodPost, daxpay.Path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
	return w.Body.String(), s.Complaints()
}

func failure(code int, msg string) string {
	text, err := json.Marshal(msg)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"msg":%s,"code":%d,"data":null,"traceId":"trace0000001"}`, text, code)
}

func TestValidationOrderAndWords(t *testing.T) {
	t.Parallel()
	wrongSign := strings.Replace(signed, "cf52", "cf53", 1)
	neither := `{"channel":" ","sign":"x","reqTime":1717419815}`
	both := "验证参数错误\n请求时间必填\n所属通道和接收方编号不可同时为空"
	for name, c := range map[string]struct {
		config daxpay.Config
		late   time.Duration
		body   string
		want   string
	}{
		"bad json":                       {body: `{"channel":`, want: failure(10005, "参数解析错误")},
		"null":                           {body: `null`, want: failure(10005, "参数解析错误")},
		"a list for a text":              {body: `{"channel":["a"]}`, want: failure(10005, "参数解析错误")},
		"reqTime no number":              {body: `{"channel":"a","reqTime":"now"}`, want: failure(10005, "参数解析错误")},
		"validation before the sign":     {body: `{}`, want: failure(10006, both)},
		"neither":                        {body: neither, want: failure(10006, "验证参数错误\n所属通道和接收方编号不可同时为空")},
		"no address":                     {body: strings.Replace(signed, "{", `{"clientIp":"home",`, 1), want: failure(10006, "验证参数错误\nIP地址格式不正确")},
		"long nonce":                     {body: strings.Replace(signed, "{", `{"nonceStr":"`+strings.Repeat("x", 33)+`",`, 1), want: failure(10006, "验证参数错误\n随机数不可超过32位")},
		"wrong sign":                     {body: wrongSign, want: failure(20052, "验签失败")},
		"no sign":                        {body: `{"channel":"a","reqTime":1717419815}`, want: failure(20052, "验签失败")},
		"upper-case sign":                {body: strings.Replace(signed, "cf52496ef6f2e", "CF52496EF6F2E", 1), want: failure(20052, "验签失败")},
		"the other type":                 {config: daxpay.Config{SignType: "MD5"}, body: signed, want: failure(20052, "验签失败")},
		"the sign before the clock":      {late: time.Hour, body: wrongSign, want: failure(20052, "验签失败")},
		"10 s old":                       {late: 10 * time.Second, body: signed},
		"older":                          {late: 10*time.Second + 1, body: signed, want: failure(10006, "验证参数错误\n请求已过期，请重新发送！")},
		"older where more is allowed":    {config: daxpay.Config{ReqTimeout: time.Minute}, late: time.Minute, body: signed},
		"60.9 s ahead":                   {late: -60900 * time.Millisecond, body: signed},
		"61 s ahead":                     {late: -61 * time.Second, body: signed, want: failure(10006, "验证参数错误\n请求时间晚于服务器接收到的时间，请检查")},
		"no sign needed":                 {config: daxpay.Config{NoReqSign: true}, body: wrongSign},
		"no sign needed, the clock is":   {config: daxpay.Config{NoReqSign: true}, late: time.Minute, body: wrongSign, want: failure(10006, "验证参数错误\n请求已过期，请重新发送！")},
		"nonceStr":                       {body: withNonce},
		"reqTime in a text":              {body: strings.Replace(signed, "1717419815", `"1717419815"`, 1)},
		"an unknown field, not signed":   {body: strings.Replace(signed, "{", `{"appId":"1",`, 1)},
		"2.0.7 wrong sign":               {config: daxpay.Config{Version: daxpay.V207}, body: wrongSign, want: failure(20000, "未通过签名验证")},
		"2.0.7 has no window":            {config: daxpay.Config{Version: daxpay.V207}, late: 24 * time.Hour, body: signed},
		"2.0.7 does not know nonceStr":   {config: daxpay.Config{Version: daxpay.V207}, body: withNonce, want: failure(20000, "未通过签名验证")},
		"2.0.7 has no lengths":           {config: daxpay.Config{Version: daxpay.V207}, body: strings.Replace(signed, `"sign":"`, `"sign":"`+strings.Repeat("0", 65), 1), want: failure(20000, "未通过签名验证")},
		"2.0.7 needs reqTime":            {config: daxpay.Config{Version: daxpay.V207}, body: `{}`, want: failure(10006, "验证参数错误\n请求时间必填")},
		"2.0.7 neither, sign goes first": {config: daxpay.Config{Version: daxpay.V207}, body: neither, want: failure(20000, "未通过签名验证")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTime(t, c.late, func(t *testing.T) {
				got, complaints := ask(t, c.config, c.body)
				if c.want != "" {
					require.Equal(t, c.want, got)
					require.NotEmpty(t, complaints)
					return
				}
				require.Contains(t, got, `{"msg":"success","code":0,"data":{"code":0,"msg":null,`)
				require.Contains(t, got, `"receivers":[]},"traceId":"trace0000001"}`)
			})
		})
	}
}

// The answers J11 and J12 of the vectors: the server's own class signed them.
func TestAnswersAreTheVendors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../daxpay/testdata/vectors.json")
	require.NoError(t, err)
	var file struct {
		Real []struct{ ID, BodyJSON, HMACSHA256, MD5 string } `json:"real_code_javac"`
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	tried := 0
	for _, v := range file.Real {
		if v.BodyJSON == "" {
			continue
		}
		tried++
		for _, kind := range []string{"HMAC_SHA256", "MD5"} {
			t.Run(v.ID+" "+kind, func(t *testing.T) {
				t.Parallel()
				inTime(t, 125*time.Second, func(t *testing.T) {
					want := v.BodyJSON
					if kind == "MD5" {
						want = strings.Replace(want, v.HMACSHA256, v.MD5, 1)
					}
					require.Equal(t, want, answerWith(kind, v.ID))
				})
			})
		}
	}
	require.Equal(t, 2, tried)
}

// answerWith is the answer with the receivers of a vector. J11's are of two channels, which no one question gets.
func answerWith(kind, id string) string {
	c := daxpay.Config{Secret: secret, SignType: kind}
	if id == "J11" {
		c.Receivers = []daxpay.Receiver{
			{ReceiverNo: "123", Channel: "ali_pay", ReceiverType: "ali_user_id", ReceiverAccount: "2088722032251651", RelationType: "SUPPLIER"},
			{ReceiverNo: "B0002", Channel: "wechat_pay", ReceiverType: "wx_personal", ReceiverAccount: "oABC_def-123", ReceiverName: "李 四", RelationType: "CUSTOM", RelationName: "代理\"商\"\n一级"},
		}
	}
	return daxpay.Answer(c, time.Now(), "fvtm0cFqoU4a")
}

func TestStore(t *testing.T) {
	t.Parallel()
	c := daxpay.Config{NoReqSign: true, Receivers: []daxpay.Receiver{
		{ReceiverNo: "A1", Channel: "ali_pay"}, {ReceiverNo: "A2", Channel: "ali_pay"}, {ReceiverNo: "A1", Channel: "wechat_pay"},
	}}
	for name, q := range map[string]struct {
		channel, number string
		want            int
	}{
		"channel": {"ali_pay", "", 2}, "number": {"", "A1", 2}, "both": {"ali_pay", "A1", 1}, "none": {"wechat_pay", "A2", 0},
		"another case": {"", "a2", 1}, "a blank number": {"wechat_pay", "  ", 1}, "an unknown channel": {"x", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTime(t, 0, func(t *testing.T) {
				got, complaints := ask(t, c, fmt.Sprintf(`{"channel":%q,"receiverNo":%q,"reqTime":%d}`, q.channel, q.number, at))
				require.Equal(t, q.want, strings.Count(got, `"receiverType":null`))
				require.Empty(t, complaints)
			})
		})
	}
	s := daxpay.New(c)
	t.Cleanup(s.Close)
	s.Add(daxpay.Receiver{ReceiverNo: "A9"})
	require.Contains(t, post(t, s, fmt.Sprintf(`{"receiverNo":"A9","reqTime":%d}`, time.Now().Unix())), `"receiverNo":"A9"`)
}

func post(t testing.TB, s *daxpay.Server, body string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, daxpay.Path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Body.String()
}

func TestOldServerRefusesNeitherInItsMethod(t *testing.T) {
	t.Parallel()
	inTime(t, 0, func(t *testing.T) {
		got, complaints := ask(t, daxpay.Config{Version: daxpay.V207, NoReqSign: true}, `{"reqTime":1717419815}`)
		require.Contains(t, got, `{"msg":"success","code":0,"data":{"code":1,"msg":"所属通道和接收方编号不可同时为空","resTime":1717419815,"sign":"`)
		require.NotContains(t, got, "receivers")
		require.Equal(t, []string{"neither channel nor receiverNo"}, complaints)
	})
}

func TestOtherRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, path, kind string
		status             int
		want               string
	}{
		"GET":           {http.MethodGet, daxpay.Path, "", 200, `{"msg":"不支持GET请求方法，支持以下POST","code":1,"data":null,"traceId":null}`},
		"another path":  {http.MethodPost, "/unipay/query/allocationOrder", "application/json", 404, "<html>"},
		"with charset":  {http.MethodPost, daxpay.Path, "application/json;charset=UTF-8", 200, failure(10001, "系统错误")},
		"another type":  {http.MethodPost, daxpay.Path, "text/plain", 200, failure(10001, "系统错误")},
		"a double path": {http.MethodPost, "/" + daxpay.Path, "application/json", 404, "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := daxpay.New(daxpay.Config{Secret: secret})
			defer s.Close()
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(signed))
			r.Header.Set("Content-Type", c.kind)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code)
			require.Contains(t, w.Body.String(), c.want)
			require.Len(t, s.Complaints(), 1)
			require.Empty(t, s.Questions())
		})
	}
}

func TestFaultsByScript(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan daxpay.Plan
		want string // "" means that the connection ends
	}{
		"drop request": {daxpay.Plan{DropRequest: true}, ""},
		"drop reply":   {daxpay.Plan{DropReply: true}, ""},
		"status":       {daxpay.Plan{Status: 503}, "upstream gone"},
		"garbage":      {daxpay.Plan{Garbage: true}, "<!DOCTYPE"},
		"unsigned":     {daxpay.Plan{Unsigned: true}, `"sign":null`},
		"refused":      {daxpay.Plan{Refuse: "no"}, `"data":{"code":1,"msg":"no"`},
		"failed":       {daxpay.Plan{Fail: 20023, Message: "off"}, `{"msg":"off","code":20023,"data":null`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := daxpay.New(daxpay.Config{Secret: secret, NoReqSign: true, Script: func(n int, q daxpay.Query) daxpay.Plan {
				if n != 1 || q.Channel != "c" || q.ReqTime == "" {
					return daxpay.Plan{}
				}
				return c.plan
			}})
			l, err := daxpay.Listen(s, "")
			require.NoError(t, err)
			t.Cleanup(l.Close)
			client := &http.Client{Timeout: 30 * time.Second}
			t.Cleanup(client.CloseIdleConnections)
			do := func() (string, error) {
				body := strings.NewReader(`{"channel":"c","reqTime":` + strconv.FormatInt(time.Now().Unix(), 10) + `}`)
				res, err := client.Post(l.URL+daxpay.Path, "application/json", body)
				if err != nil {
					return "", err
				}
				defer func() { _ = res.Body.Close() }()
				text, err := io.ReadAll(res.Body)
				return string(text), err
			}
			got, err := do()
			require.Equal(t, c.want == "", err != nil)
			require.Contains(t, got, c.want)
			got, err = do()
			require.NoError(t, err)
			require.Contains(t, got, `"receivers":[]`)
			require.Equal(t, 2, s.Requests())
			require.Len(t, s.Questions(), 2)
		})
	}
}

func TestGateNamesAndVerdicts(t *testing.T) {
	t.Parallel()
	inTime(t, 0, func(t *testing.T) {
		var ops []string
		gate := func(_ context.Context, op string) daxpay.Verdict {
			ops = append(ops, op)
			return daxpay.Proceed
		}
		slow := func(int, daxpay.Query) daxpay.Plan { return daxpay.Plan{Slow: time.Second, SlowReply: time.Second} }
		began := time.Now()
		_, _ = ask(t, daxpay.Config{Gate: gate, Script: slow, Latency: time.Second}, withNonce)
		require.Equal(t, 3*time.Second, time.Since(began))
		_, _ = ask(t, daxpay.Config{Gate: gate}, signed)
		require.Equal(t, []string{
			"allocationReceiver/ali_pay,/d112892e382a7093/act", "allocationReceiver/ali_pay,/d112892e382a7093/wake",
			"allocationReceiver/ali_pay,/d112892e382a7093/reply",
			"allocationReceiver/wechat_pay,/1717419815/act", "allocationReceiver/wechat_pay,/1717419815/reply",
		}, ops)

		s := daxpay.New(daxpay.Config{Secret: secret, Gate: func(context.Context, string) daxpay.Verdict { return daxpay.Drop }})
		require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { post(t, s, signed) })
		require.Empty(t, s.Questions())
		s.Close()
		require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { post(t, s, signed) }, "after Close there is no service")
	})
}

func TestCloseEndsWhatHangs(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	s := daxpay.New(daxpay.Config{Secret: secret, Gate: func(context.Context, string) daxpay.Verdict {
		close(entered)
		return daxpay.Hang
	}})
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		r := httptest.NewRequest(http.MethodPost, daxpay.Path, strings.NewReader(signed))
		r.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}()
	<-entered
	go s.Close()
	require.Equal(t, http.ErrAbortHandler, <-done)
}

// FuzzRequests: no request makes the server fall over, and without the secret none is answered with receivers.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(signed))
	f.Add([]byte(withNonce))
	f.Add([]byte(`{"channel":null,"receiverNo":1e3,"reqTime":-1,"sign":true}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := daxpay.New(daxpay.Config{Secret: "no seed was signed with this", Receivers: []daxpay.Receiver{{ReceiverNo: "1"}}})
		defer s.Close()
		r := httptest.NewRequest(http.MethodPost, daxpay.Path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		require.True(t, json.Valid(w.Body.Bytes()))
		require.Empty(t, s.Questions())
	})
}
