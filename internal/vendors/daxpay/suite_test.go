package daxpay_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/daxpay"
	sim "paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/vendortest"
	"paydispatch/internal/vendors/wire"
)

// asking is the adapter as the suite wants it: there is nothing to send.
type asking struct {
	vendors.Sender
	*daxpay.Client
}

// still is the double as the suite wants it: no money moves, and the address has a path of its own.
type still struct{ *sim.Server }

func (s still) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.StripPrefix("/gateway", s.Server).ServeHTTP(w, r)
}

func (still) Moves(string) int { return 0 }

func TestVendorSuite(t *testing.T) {
	t.Parallel()
	vendortest.Run(t, vendortest.Harness{
		ReadOnly: true,
		New: func(t testing.TB, url string, calls wire.Config) vendors.Vendor {
			c := config(url)
			c.HTTP = calls
			return asking{Client: newClient(t, c)}
		},
		Double: func(t testing.TB) vendortest.Double {
			s := sim.New(sim.Config{Secret: testSecret, Receivers: store()})
			t.Cleanup(func() {
				require.Empty(t, s.Complaints())
				s.Close()
			})
			return still{s}
		},
		Command: func(string) commands.Command { return command(nil) },
		Replies: exchanges(),
		Refusal: func(message string) string {
			return fmt.Sprintf(`{"msg":%s,"code":10006,"data":null,"traceId":%s}`, strconv.Quote(message), strconv.Quote(message))
		},
		Secrets: []string{testSecret, testAccount, testLogin},
	})
}

// signed is an answer whose data has the link string text and the JSON members.
func signed(text, members string) string {
	mac := hmac.New(sha256.New, []byte(testSecret))
	mac.Write([]byte(text + "&key=" + testSecret))
	return `{"msg":"success","code":0,"data":{` + members + `,"sign":"` + hex.EncodeToString(mac.Sum(nil)) + `"},"traceId":"t"}`
}

// exchanges is the table of answers.
func exchanges() []vendortest.Exchange {
	const (
		zero      = `"code":0,"msg":null,"resTime":1`
		person    = `{"receiverNo":"123","channel":"ali_pay","receiverAccount":"` + testAccount + `","receiverName":null}`
		personTxt = `{channel:ali_pay,receiverAccount:` + testAccount + `,receiverNo:123}`
	)
	unsigned := func(code, message string) string {
		return fmt.Sprintf(`{"msg":%q,"code":%s,"data":null,"traceId":"x"}`, message, code)
	}
	good := signed("code=0&receivers=["+personTxt+"]&resTime=1", zero+`,"receivers":[`+person+`]`)
	with := func(receivers, text string) string {
		return signed("code=0"+text+"&resTime=1", zero+`,"receivers":`+receivers)
	}
	const bad, unreadable = daxpay.CodeBadSignature, daxpay.CodeUnreadable
	return []vendortest.Exchange{
		{Name: "one", Body: good, Want: commands.StatusSucceeded, Code: "0"},
		{Name: "nobody", Body: with(`[]`, ""), Want: commands.StatusSucceeded, Code: "0"},
		{Name: "top code as a text", Body: strings.Replace(good, `"code":0`, `"code":"0"`, 1), Want: commands.StatusSucceeded},
		{Name: "unknown members", Body: signed("more=[{a:1}]&code=0&resTime=1", zero+`,"receivers":[],"more":[{"a":1}]`), Code: bad},
		{Name: "unknown members signed", Body: signed("code=0&more=[{a:1}]&resTime=1", zero+`,"receivers":[],"more":[{"a":1}]`), Want: commands.StatusSucceeded},
		{Name: "relationName a number", Body: with(`[{"channel":"ali_pay","relationName":0}]`, `&receivers=[{channel:ali_pay,relationName:0}]`), Want: commands.StatusSucceeded},
		{Name: "data code a text", Body: signed("code=0&resTime=1", `"code":"0","resTime":"1","receivers":[]`), Want: commands.StatusSucceeded},
		{Name: "business error", Body: signed("code=1&msg=m&resTime=1", `"code":1,"msg":"m","resTime":1`), Want: commands.StatusFailed, Code: "1"},
		{Name: "another business error", Body: signed("code=20023&resTime=1", `"code":20023,"msg":null,"resTime":1`), Want: commands.StatusFailed, Code: "20023"},
		{Name: "10005", Body: unsigned("10005", "x"), Want: commands.StatusFailed, Code: "10005"},
		{Name: "10006", Body: unsigned("10006", "x"), Want: commands.StatusFailed, Code: "10006"},

		{Name: "a signature that is not ours", Body: strings.Replace(good, `"sign":"`, `"sign":"0`, 1), Code: bad},
		{Name: "a success made a failure", Body: strings.Replace(good, `"code":0,"msg":null`, `"code":1,"msg":null`, 1), Code: bad},
		{Name: "a receiver taken out", Body: strings.Replace(good, person, "", 1), Code: bad},
		{Name: "a receiver turned round", Body: strings.Replace(good, "123", "124", 1), Code: bad},
		{Name: "an unsigned success", Body: `{"code":0,"data":{"code":0,"receivers":[]}}`, Code: bad},
		{Name: "receivers as the signed text", Body: with(`"[`+personTxt+`]"`, `&receivers=[`+personTxt+`]`), Code: unreadable},
		{Name: "no receivers", Body: signed("code=0&resTime=1", zero), Code: unreadable},
		{Name: "receivers null", Body: with(`null`, ""), Code: unreadable},
		{Name: "a receiver null", Body: with(`[null]`, "&receivers=[]"), Code: unreadable},
		{Name: "no data code", Body: signed("resTime=1", `"resTime":1,"receivers":[]`), Code: unreadable},
		{Name: "another channel", Body: with(`[{"channel":"wechat_pay"}]`, `&receivers=[{channel:wechat_pay}]`), Code: daxpay.CodeWrongReceiver},
		{Name: "success without data", Body: `{"code":0,"msg":"success","data":null}`, Code: unreadable},
		{Name: "data a list", Body: `{"code":0,"data":[]}`, Code: unreadable},
		{Name: "no code", Body: strings.Replace(good, `"code":0,"data"`, `"data"`, 1), Code: unreadable},
		{Name: "code null", Body: strings.Replace(good, `"code":0,"data"`, `"code":null,"data"`, 1), Code: unreadable},
		{Name: "code 0.0", Body: strings.Replace(good, `"code":0,"data"`, `"code":0.0,"data"`, 1), Code: unreadable},
		{Name: "code twice", Body: strings.Replace(good, `"code":0,"data"`, `"code":1,"Code":0,"data"`, 1), Code: unreadable},
		{Name: "an error with data", Body: strings.Replace(good, `"code":0,"data"`, `"code":1,"data"`, 1), Code: unreadable},

		{Name: "our signature refused", Body: unsigned("20052", "验签失败"), Class: commands.ClassPermanent, Code: daxpay.CodeAuth},
		{Name: "our signature refused by 2.0.7", Body: unsigned("20000", "未通过签名验证"), Class: commands.ClassPermanent, Code: daxpay.CodeAuth},
		{Name: "another 20000", Body: unsigned("20000", "余额不足"), Code: daxpay.CodeOther},
		{Name: "too late", Body: unsigned("10006", "验证参数错误\n请求已过期，请重新发送！"), Class: commands.ClassRetryable, Code: daxpay.CodeTime},
		{Name: "too early", Body: unsigned("10006", "验证参数错误\r\n请求时间晚于服务器接收到的时间，请检查"), Class: commands.ClassRetryable, Code: daxpay.CodeTime},
		{Name: "10001", Body: unsigned("10001", "系统错误"), Code: daxpay.CodeSystem},
		{Name: "20023", Body: unsigned("20023", "x"), Code: daxpay.CodeOther},
		{Name: "30000", Body: unsigned("30000", "x"), Code: daxpay.CodeOther},
	}
}
