package withhold

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	prebound  = `{"bank_card_number":"6222","id_card_number":"1","mobile":"1","name":"张三","pay_type":"101"}`
	confirmed = `{"bank_card_number":"6222","pay_type":"101","unique_code":"%s","verification_code":"%s"}`
)

func prebindCard(g *Gateway) reply { return ask(g, request("pre-tied-card", prebound, nil)) }

func confirmCard(g *Gateway, unique, code string) reply {
	return ask(g, request("confirm-tied-card", fmt.Sprintf(confirmed, unique, code), nil))
}

// accepted: the gateway writes the status of a success as a number.
func (r reply) accepted() bool { return r.Status == 1.0 }

func TestEveryPrebindSendsAMessage(t *testing.T) {
	t.Parallel()
	g := start(t, Config{})
	first, second := prebindCard(g), prebindCard(g)
	require.True(t, first.accepted())
	require.NotEmpty(t, first.Response["unique_code"])
	require.NotEqual(t, first.Response, second.Response)
	require.Equal(t, 2, g.Messages("R1"), "the double is no help against a second send")
	require.Equal(t, 2, g.Submissions("pre-tied-card", "R1"))
	require.Zero(t, g.Messages("R2"))
	require.Empty(t, g.Ledger())
}

func TestConfirmTiesOnce(t *testing.T) {
	t.Parallel()
	g := start(t, Config{})
	require.Equal(t, "签约唯一码不存在", confirmCard(g, "U0", Code).Message)
	unique := prebindCard(g).Response["unique_code"]
	require.Equal(t, reply{code: 200, Status: "-1", Message: "验证码错误"}, confirmCard(g, unique, "000000"))
	other := strings.Replace(fmt.Sprintf(confirmed, unique, Code), "6222", "6223", 1)
	require.Equal(t, "银行卡号或签约支付类型与预绑卡不一致", ask(g, request("confirm-tied-card", other, nil)).Message)
	require.Empty(t, g.Ties()[0].Protocol)

	tied := confirmCard(g, unique, Code)
	require.Equal(t, g.Ties()[0].Protocol, tied.Response["protocol_no"])
	require.NotEmpty(t, tied.Response["protocol_no"])
	require.Equal(t, "签约唯一码已使用", confirmCard(g, unique, Code).Message)
	require.Equal(t, 4, g.Ties()[0].Tries)
	require.Empty(t, g.Complaints())
}

// The same story has the same numbers, in whatever order its parts come.
func TestUniqueCodesDependOnTheRequestAlone(t *testing.T) {
	t.Parallel()
	as := func(id string) func(map[string]any) { return func(env map[string]any) { env["requestId"] = id } }
	codes := func(ids ...string) map[string]string {
		g := start(t, Config{})
		out := map[string]string{}
		for _, id := range ids {
			out[id] = ask(g, request("pre-tied-card", prebound, as(id))).Response["unique_code"]
		}
		return out
	}
	require.Equal(t, codes("R1", "R2", "R3"), codes("R3", "R1", "R2"))
}

func TestCardParametersAreRequired(t *testing.T) {
	t.Parallel()
	for method, plain := range map[string]string{"pre-tied-card": prebound, "confirm-tied-card": fmt.Sprintf(confirmed, "U", Code)} {
		for _, name := range []string{
			"bank_card_number", "id_card_number", "mobile", "name", "pay_type", "unique_code", "verification_code",
		} {
			if !strings.Contains(plain, `"`+name+`"`) {
				continue
			}
			g := start(t, Config{})
			// The same place in the order, but nobody's name.
			got := ask(g, request(method, strings.Replace(plain, `"`+name+`"`, `"`+name+`_"`, 1), nil))
			require.Equal(t, "-4", got.Status, "%s without %s", method, name)
			require.Len(t, g.Complaints(), 1)
			require.Empty(t, g.Ties())
		}
	}
}

func TestCardFaultsByScript(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan     Plan
		want     reply
		messages int
	}{
		"refused":       {Plan{Refuse: "no"}, reply{code: 200, Status: "-1", Message: "no"}, 0},
		"refused after": {Plan{RefuseAfter: "no"}, reply{code: 200, Status: "-1", Message: "no"}, 1},
		"request lost":  {Plan{DropRequest: true}, reply{dropped: true}, 0},
		"reply lost":    {Plan{DropReply: true}, reply{dropped: true}, 1},
		"status":        {Plan{Status: 502}, reply{code: 502}, 1},
		"garbage":       {Plan{Garbage: true}, reply{code: 200}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, Config{CardScript: func(method, id string, attempt int) Plan {
				if method == "pre-tied-card" && id == "R1" && attempt == 1 {
					return c.plan
				}
				return Plan{}
			}})
			require.Equal(t, c.want, prebindCard(g))
			require.Equal(t, c.messages, g.Messages("R1"))
			require.True(t, prebindCard(g).accepted())
			require.Equal(t, c.messages+1, g.Messages("R1"))
		})
	}
}

func TestCardsPassTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ops []string
		g := start(t, Config{
			Gate: func(_ context.Context, op string) Verdict {
				ops = append(ops, op)
				return Proceed
			},
			CardScript: func(string, string, int) Plan { return Plan{Slow: time.Second} },
		})
		began := time.Now()
		unique := prebindCard(g).Response["unique_code"]
		require.True(t, confirmCard(g, unique, Code).accepted())
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, []string{
			"pre-tied-card/-/R1/act", "pre-tied-card/-/R1/wake", "pre-tied-card/-/R1/reply",
			"confirm-tied-card/-/R1/act", "confirm-tied-card/-/R1/wake", "confirm-tied-card/-/R1/reply",
		}, ops)
	})
}
