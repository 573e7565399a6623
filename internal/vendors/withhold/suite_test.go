package withhold_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	sim "paydispatch/internal/vendors/sim/withhold"
	"paydispatch/internal/vendors/vendortest"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

func TestVendorSuite(t *testing.T) {
	t.Parallel()
	vendortest.Run(t, vendortest.Harness{
		New: func(t testing.TB, url string, calls wire.Config) vendors.Vendor {
			c := config(url)
			c.HTTP = calls
			c.NotifyURL = func(string) string { return "https://us.example/cb/NOTIFYTOKEN123456" }
			return newClient(t, c)
		},
		Double: func(t testing.TB) vendortest.Double {
			g := sim.New(sim.Config{
				Accounts: accounts(), Script: func(string, int) sim.Plan { return sim.Plan{NoCallback: true} },
			})
			t.Cleanup(func() {
				require.Empty(t, g.Complaints())
				g.Close()
			})
			return g
		},
		Command: func(order string) commands.Command { return command(order, nil) },
		Replies: exchanges(),
		Refusal: func(message string) string {
			return fmt.Sprintf(`{"status":"-1","message":%s,"response":null}`, strconv.Quote(message))
		},
		Secrets: []string{testKey, testName, testID, testMobile, testCard, testProto, "NOTIFYTOKEN123456"},
	})
}

// exchanges is the class table of the gateway.
func exchanges() []vendortest.Exchange {
	inner := func(status string) string {
		return fmt.Sprintf(`{"biz_order_no":"{order}","pay_order_no":"P1","pay_type":"101","pay_status":%q,`+
			`"pay_time":"2024-01-01 12:00:00","channel_response":""}`, status)
	}
	reply := func(status, response string) string {
		return fmt.Sprintf(`{"status":%s,"message":"m","response":%s}`, status, response)
	}
	quoted := func(text string) string { return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"` }
	both := []vendortest.Exchange{
		{Name: "success", Body: reply(`"1"`, inner("success")), Want: commands.StatusSucceeded, Code: "1"},
		{Name: "status as a number", Body: reply(`1`, inner("success")), Want: commands.StatusSucceeded},
		{Name: "fail", Body: reply(`1`, inner("fail")), Want: commands.StatusFailed},
		{Name: "initial", Body: reply(`1`, inner("initial")), Want: commands.StatusPending},
		{Name: "pending", Body: reply(`1`, inner("pending")), Want: commands.StatusPending},
		{Name: "wait_pay", Body: reply(`1`, inner("wait_pay")), Want: commands.StatusPending},
		{Name: "response in a string", Body: reply(`1`, quoted(inner("success"))), Want: commands.StatusSucceeded},
		{Name: "response in an array", Body: reply(`1`, "["+inner("success")+"]"), Want: commands.StatusSucceeded},
		{Name: "byte order mark", Body: "\ufeff" + reply(`1`, inner("success")), Want: commands.StatusSucceeded},
		{Name: "unknown members", Body: `{"more":[{}],"status":"1","response":` + inner("success") + `}`, Want: commands.StatusSucceeded},

		{Name: "unknown pay_status", Body: reply(`1`, inner("SUCCESS")), Code: withhold.CodePayStatus},
		{Name: "refunded", Body: reply(`1`, inner("refunded")), Code: withhold.CodePayStatus},
		{Name: "no pay_status", Body: reply(`1`, `{"biz_order_no":"{order}"}`), Code: withhold.CodePayStatus},
		{Name: "another order", Body: reply(`1`, strings.ReplaceAll(inner("success"), "{order}", "B-2")), Code: withhold.CodeWrongOrder},
		{Name: "another order failed", Body: reply(`1`, strings.ReplaceAll(inner("fail"), "{order}", "B-2")), Code: withhold.CodeWrongOrder},
		{Name: "no order named", Body: reply(`1`, `{"pay_status":"success"}`), Code: withhold.CodeWrongOrder},
		{Name: "order in another case", Body: reply(`1`, strings.ReplaceAll(inner("success"), "biz_order_no", "Biz_Order_No")), Code: withhold.CodeWrongOrder},
		{Name: "status in another case", Body: strings.ReplaceAll(reply(`1`, inner("success")), `"status"`, `"Status"`), Code: withhold.CodeUnreadable},
		{Name: "a name twice", Body: reply(`1`, `{"biz_order_no":"{order}","pay_status":"fail","pay_status":"success"}`), Code: withhold.CodeUnreadable},
		{Name: "two orders", Body: reply(`1`, "["+inner("success")+","+inner("fail")+"]"), Code: withhold.CodeUnreadable},
		{Name: "string in a string", Body: reply(`1`, `"\"x\""`), Code: withhold.CodeUnreadable},
		{Name: "accepted without an order", Body: reply(`1`, `[]`), Code: withhold.CodeNoResponse},
		{Name: "accepted with null", Body: reply(`1`, `null`), Code: withhold.CodeNoResponse},
		{Name: "accepted with nothing", Body: reply(`1`, `""`), Code: withhold.CodeNoResponse},
		{Name: "accepted with an empty object", Body: reply(`1`, `{}`), Code: withhold.CodeNoResponse},
		{Name: "accepted without response", Body: `{"status":"1","message":""}`, Code: withhold.CodeNoResponse},
		{Name: "status 0", Body: reply(`0`, inner("success")), Code: withhold.CodeUnreadable},
		{Name: "status 2", Body: reply(`"2"`, inner("success")), Code: withhold.CodeUnreadable},
		{Name: "status true", Body: reply(`true`, inner("success")), Code: withhold.CodeUnreadable},
		{Name: "status 1.0", Body: reply(`1.0`, inner("success")), Code: withhold.CodeUnreadable},
		{Name: "status empty", Body: reply(`""`, inner("success")), Code: withhold.CodeUnreadable},
		{Name: "status null", Body: reply(`null`, inner("success")), Code: withhold.CodeUnreadable},
		{Name: "pay_order_no an object", Body: reply(`1`, `{"biz_order_no":"{order}","pay_status":"success","pay_order_no":{"a":1}}`), Code: withhold.CodeUnreadable},
	}
	var out []vendortest.Exchange
	for _, x := range both {
		out = append(out, x)
		x.Name, x.Ask = "ask: "+x.Name, true
		out = append(out, x)
	}
	refused := func(status, message, response string) string {
		return fmt.Sprintf(`{"status":%s,"message":%q,"response":%s}`, status, message, response)
	}
	return append(out, []vendortest.Exchange{
		{Name: "refused", Body: refused(`"-1"`, "参数错误", "null"), Want: commands.StatusRefused, Code: "-1"},
		{Name: "refused with a number", Body: refused(`-1`, "x", `[]`), Want: commands.StatusRefused, Code: "-1"},
		{Name: "refused sign", Body: refused(`"-5"`, "illegal request. sign auth failed.", `""`), Want: commands.StatusRefused, Code: "-5"},
		{Name: "refused although the order shows success", Body: refused(`-1`, "dup", inner("success")), Want: commands.StatusRefused},
		{Name: "a submission cannot find nothing", Body: refused(`-1`, notFound, "null"), Want: commands.StatusRefused},
		{Name: "refused without a message", Body: `{"status":-1}`, Want: commands.StatusRefused},
		{Name: "ask: missing", Ask: true, Body: refused(`"-1"`, notFound, "null"), Want: commands.StatusMissing, Code: "-1"},
		{Name: "ask: missing with space", Ask: true, Body: refused(`-1`, " "+notFound+"\n", `[]`), Want: commands.StatusMissing},
		{Name: "ask: missing but with an order", Ask: true, Body: refused(`-1`, notFound, inner("success")), Code: withhold.CodeAskRefused},
		{Name: "ask: another wording", Ask: true, Body: refused(`-1`, "查询"+notFound+"或系统繁忙", "null"), Code: withhold.CodeAskRefused},
		{Name: "ask: system busy", Ask: true, Body: refused(`-1`, "系统繁忙", "null"), Code: withhold.CodeAskRefused},
		{Name: "ask: refused without a message", Ask: true, Body: `{"status":-1}`, Code: withhold.CodeAskRefused},
	}...)
}
