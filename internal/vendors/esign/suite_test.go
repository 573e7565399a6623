package esign_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/esign"
	sim "paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/vendortest"
	"paydispatch/internal/vendors/wire"
)

// asker lets the suite, which knows senders, drive an adapter that only asks: a question may be put twice.
type asker struct{ *esign.Client }

func (a asker) Send(ctx context.Context, c commands.Command) (commands.Reply, error) {
	return a.Ask(ctx, c)
}

// finished is a flow that has succeeded, whatever is asked how often.
type finished struct{ http.Handler }

func (finished) Moves(string) int { return 1 }

func TestVendorSuite(t *testing.T) {
	t.Parallel()
	vendortest.Run(t, vendortest.Harness{
		New: func(t testing.TB, address string, calls wire.Config) vendors.Vendor {
			at, err := url.Parse(address)
			require.NoError(t, err)
			// The suite's servers have a path; this vendor's paths are fixed and signed.
			c := config(at.Scheme + "://" + at.Host)
			c.HTTP = calls
			return asker{newClient(t, c)}
		},
		Double: func(t testing.TB) vendortest.Double {
			g := sim.New(sim.Config{Apps: apps()})
			t.Cleanup(func() {
				require.Empty(t, g.Complaints())
				g.Close()
			})
			return finished{g}
		},
		Command: command,
		Replies: exchanges(),
		Refusal: func(message string) string {
			return fmt.Sprintf(`{"code":30500000,"message":%s,"data":null}`, strconv.Quote(message))
		},
		Secrets: []string{testSecret, secondKey, payerNo, payeeNo},
	})
}

// exchanges is the class table of the query's answers that need no outline.
func exchanges() []vendortest.Exchange {
	data := func(process string) string {
		return fmt.Sprintf(`{"process":%s,"subAccount":%q,"oppAccountNo":%q,"message":"paid by %s"}`, process, payeeNo, payerNo, payerNo)
	}
	reply := func(code, data string) string {
		return fmt.Sprintf(`{"code":%s,"message":"成功","data":%s}`, code, data)
	}
	done := data(`"ORGANFINISHED"`)
	return []vendortest.Exchange{
		{Name: "finished", Body: reply("0", done), Want: commands.StatusSucceeded, Code: "0"},
		{Name: "finished and all null", Body: reply("0", `{"process":"ORGANFINISHED","payAmount":null,"oppAccountNo":"null"}`), Want: commands.StatusSucceeded},
		{Name: "code in a string", Body: reply(`"0"`, done), Want: commands.StatusSucceeded},
		{Name: "byte order mark", Body: "\ufeff" + reply("0", done), Want: commands.StatusSucceeded},
		{Name: "unknown members", Body: `{"more":[{}],"success":true,"code":0,"data":{"process":"ORGANFINISHED","more":{"a":[]}}}`, Want: commands.StatusSucceeded},
		{Name: "names our flow", Body: reply("0", `{"process":"ORGANFINISHED","flowId":"{order}"}`), Want: commands.StatusSucceeded},
		{Name: "numbers", Body: reply("0", `{"process":"ORGANFINISHED","createTime":1655871059000,"payAmount":0.01}`), Want: commands.StatusSucceeded},
		{Name: "pending", Body: reply("0", data(`"UN_RECEIVED"`)), Want: commands.StatusPending, Code: "0"},
		{Name: "unknown process", Body: reply("0", data(`"ORGAN_FINISHED"`)), Want: commands.StatusPending},
		{Name: "no such flow", Body: reply("30500004", "null"), Want: commands.StatusFailed, Code: "30500004"},
		{Name: "expired", Body: `{"code":30500003}`, Want: commands.StatusFailed, Code: "30500003"},

		{Name: "names another flow", Body: reply("0", `{"process":"ORGANFINISHED","flowId":"1"}`), Code: esign.CodeWrongFlow},
		{Name: "no code", Body: `{"data":` + done + `}`, Code: esign.CodeUnreadable},
		{Name: "code null", Body: reply("null", done), Code: esign.CodeUnreadable},
		{Name: "code empty", Body: reply(`""`, done), Code: esign.CodeUnreadable},
		{Name: "code true", Body: reply("true", done), Code: esign.CodeUnreadable},
		{Name: "code 0.0", Body: reply("0.0", done), Code: esign.CodeUnreadable},
		{Name: "code an object", Body: reply("{}", done), Code: esign.CodeUnreadable},
		{Name: "code in another case", Body: strings.Replace(reply("0", done), "code", "Code", 1), Code: esign.CodeUnreadable},
		{Name: "process in another case", Body: reply("0", strings.Replace(done, "process", "Process", 1)), Code: esign.CodeNoData},
		{Name: "code twice", Body: `{"code":30500000,"code":0,"data":` + done + `}`, Code: esign.CodeUnreadable},
		{Name: "process twice", Body: reply("0", `{"process":"INIT","process":"ORGANFINISHED"}`), Code: esign.CodeUnreadable},
		{Name: "no data", Body: `{"code":0,"message":"成功"}`, Code: esign.CodeNoData},
		{Name: "data null", Body: reply("0", "null"), Code: esign.CodeNoData},
		{Name: "data empty", Body: reply("0", "{}"), Code: esign.CodeNoData},
		{Name: "data a list", Body: reply("0", "["+done+"]"), Code: esign.CodeUnreadable},
		{Name: "data a text", Body: reply("0", strconv.Quote(done)), Code: esign.CodeUnreadable},
		{Name: "process null", Body: reply("0", data("null")), Code: esign.CodeNoData},
		{Name: "process the word null", Body: reply("0", data(`"null"`)), Code: esign.CodeNoData},
		{Name: "process empty", Body: reply("0", data(`""`)), Code: esign.CodeNoData},
		{Name: "process a list", Body: reply("0", data(`["ORGANFINISHED"]`)), Code: esign.CodeUnreadable},
		{Name: "an account number as an object", Body: reply("0", `{"process":"ORGANFINISHED","oppAccountNo":{}}`), Code: esign.CodeUnreadable},
		{Name: "trouble", Body: reply("30500000", "null"), Code: esign.CodeTrouble},
		{Name: "trouble beside an answer", Body: reply("30500000", done), Code: esign.CodeTrouble},
		{Name: "an authorization's body without its status", Body: `{"success":false,"code":401,"message":"INVALID_SIGNATURE"}`, Code: esign.CodeBusiness},
		{Name: "an unknown code", Body: reply("1", done), Code: esign.CodeBusiness},
		{Name: "a negative code", Body: reply("-1", "null"), Code: esign.CodeBusiness},
	}
}
