package withhold_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	sim "paydispatch/internal/vendors/sim/withhold"
	"paydispatch/internal/vendors/vendortest"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
	"paydispatch/schemas"
)

const (
	testUnique = "U20240101000001"
	testSMS    = "123456"
)

// cardCommand is a command of a topic with some fields changed; nil removes one.
func cardCommand(topic string, change map[string]any) commands.Command {
	fields := map[string]any{"requestId": "R1"}
	switch topic {
	case "withhold.card.prebind":
		fields["id_card_number"], fields["mobile"], fields["name"] = testID, testMobile, testName
		fields["bank_card_number"], fields["pay_type"] = testCard, "101"
	case "withhold.card.confirm":
		fields["verification_code"], fields["unique_code"] = testSMS, testUnique
		fields["bank_card_number"], fields["pay_type"] = testCard, "101"
	case "withhold.query":
		fields["biz_order_no"] = "B1"
	}
	for name, v := range change {
		if fields[name] = v; v == nil {
			delete(fields, name)
		}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	account, _ := fields["account"].(string)
	id, _ := fields["requestId"].(string)
	return commands.Command{Topic: topic, RequestID: commands.RequestID(id), Key: commands.OperationKey(id), Account: account, Body: raw}
}

func prebind(change map[string]any) commands.Command {
	return cardCommand("withhold.card.prebind", change)
}

func confirm(change map[string]any) commands.Command {
	return cardCommand("withhold.card.confirm", change)
}

func TestTyingACard(t *testing.T) {
	t.Parallel()
	g, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	require.NoError(t, client.Prebind().Check(prebind(nil)))
	reply, err := client.Prebind().Send(t.Context(), prebind(nil))
	require.NoError(t, err)
	unique := reply.Fields["unique_code"]
	require.NotEmpty(t, unique)
	require.Equal(t, commands.Reply{
		Status: commands.StatusSucceeded, Code: "1", Message: "success", Fields: map[string]string{"unique_code": unique},
	}, reply)
	require.Equal(t, 1, g.Messages("R1"))

	right := map[string]any{"requestId": "R2", "unique_code": unique}
	for name, c := range map[string]struct {
		change  map[string]any
		message string
	}{
		"another code": {map[string]any{"verification_code": "654321"}, "验证码错误"},
		"no such tie":  {map[string]any{"unique_code": "U0"}, "签约唯一码不存在"},
		"another card": {map[string]any{"bank_card_number": "6222000000000000001"}, "银行卡号或签约支付类型与预绑卡不一致"},
		"another type": {map[string]any{"pay_type": "102"}, "银行卡号或签约支付类型与预绑卡不一致"},
		"another ua":   {map[string]any{"account": "second"}, "签约唯一码不存在"},
	} {
		change := map[string]any{"requestId": "R2", "unique_code": unique}
		for k, v := range c.change {
			change[k] = v
		}
		reply, err = client.Confirm().Send(t.Context(), confirm(change))
		require.NoError(t, err, name)
		require.Equal(t, commands.Reply{Status: commands.StatusRefused, Code: "-1", Message: c.message}, reply, name)
	}
	require.NoError(t, client.Confirm().Check(confirm(right)))
	reply, err = client.Confirm().Send(t.Context(), confirm(right))
	require.NoError(t, err)
	require.Equal(t, commands.StatusSucceeded, reply.Status)
	require.Equal(t, map[string]string{"protocol_no": g.Ties()[0].Protocol}, reply.Fields)
	require.NotEmpty(t, reply.Fields["protocol_no"])

	reply, err = client.Confirm().Send(t.Context(), confirm(right))
	require.NoError(t, err)
	require.Equal(t, commands.StatusRefused, reply.Status, "a unique_code ties once")
	require.Empty(t, g.Complaints())
	require.Empty(t, g.Ledger(), "tying moves no money")
}

func TestTyingFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan     sim.Plan
		code     string // "" means refused
		messages int
	}{
		"refused":              {sim.Plan{Refuse: "参数错误"}, "", 0},
		"refused after effect": {sim.Plan{RefuseAfter: "系统繁忙"}, "", 1},
		"request lost":         {sim.Plan{DropRequest: true}, wire.CodeEOF, 0},
		"reply lost":           {sim.Plan{DropReply: true}, wire.CodeEOF, 1},
		"502 after effect":     {sim.Plan{Status: 502}, wire.CodeStatus5xx, 1},
		"garbage after effect": {sim.Plan{Garbage: true}, withhold.CodeUnreadable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, url := serve(t, sim.Config{CardScript: func(method, id string, attempt int) sim.Plan {
				if fmt.Sprint(method, " ", id, " ", attempt) != "pre-tied-card R1 1" {
					return sim.Plan{}
				}
				return c.plan
			}})
			reply, err := newClient(t, config(url)).Prebind().Send(t.Context(), prebind(nil))
			if c.code == "" {
				require.NoError(t, err)
				require.Equal(t, commands.StatusRefused, reply.Status)
			} else {
				require.Zero(t, reply)
				require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
				require.Equal(t, c.code, vendors.CodeOf(err))
			}
			require.Equal(t, c.messages, g.Messages("R1"))
			require.Equal(t, 1, g.Submissions("pre-tied-card", "R1"), "one Send is one submission")
		})
	}
}

func TestQueryAsksAboutItsOrder(t *testing.T) {
	t.Parallel()
	g, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	cmd := cardCommand("withhold.query", nil)
	require.NoError(t, client.Query().Check(cmd))
	reply, err := client.Query().Ask(t.Context(), cmd)
	require.NoError(t, err)
	require.Equal(t, commands.StatusMissing, reply.Status)

	_, err = client.Send(t.Context(), command("B1", nil))
	require.NoError(t, err)
	reply, err = client.Query().Ask(t.Context(), cmd)
	require.NoError(t, err)
	require.Equal(t, commands.StatusSucceeded, reply.Status)
	require.Equal(t, "success", reply.Fields["pay_status"])
	require.Equal(t, g.Ledger()[0].PayOrderNo, reply.Fields["pay_order_no"])
	require.Equal(t, 1, g.Moves("B1"))
	require.Empty(t, g.Complaints())
}

// checker is what all three have.
type checker interface {
	Check(commands.Command) error
}

func TestCheckTheOtherInterfaces(t *testing.T) {
	t.Parallel()
	g, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	by := map[string]struct {
		check checker
		call  func(commands.Command) (commands.Reply, error)
	}{
		"withhold.card.prebind": {client.Prebind(), func(c commands.Command) (commands.Reply, error) { return client.Prebind().Send(t.Context(), c) }},
		"withhold.card.confirm": {client.Confirm(), func(c commands.Command) (commands.Reply, error) { return client.Confirm().Send(t.Context(), c) }},
		"withhold.query":        {client.Query(), func(c commands.Command) (commands.Reply, error) { return client.Query().Ask(t.Context(), c) }},
	}
	for _, c := range []struct {
		topic  string
		change map[string]any
		want   string
	}{
		{"withhold.card.prebind", map[string]any{"name": nil, "mobile": 138}, "name: is missing\nmobile: must be a string"},
		{"withhold.card.prebind", map[string]any{"bank_card_number": nil}, "bank_card_number: is missing"},
		{"withhold.card.prebind", map[string]any{"amount": "1"}, "amount: is not a field of this command"},
		{"withhold.card.prebind", map[string]any{"account": "third"}, "account: is not one of the configured accounts"},
		{"withhold.card.prebind", map[string]any{"pay_type": ""}, "pay_type: must not be empty"},
		{"withhold.card.confirm", map[string]any{"verification_code": nil}, "verification_code: is missing"},
		{"withhold.card.confirm", map[string]any{"unique_code": ""}, "unique_code: must not be empty"},
		{"withhold.card.confirm", map[string]any{"name": testName}, "name: is not a field of this command"},
		{"withhold.query", map[string]any{"biz_order_no": nil}, "biz_order_no: is missing"},
		{"withhold.query", map[string]any{"amount": "1"}, "amount: is not a field of this command"},
		{"withhold.query", map[string]any{"account": "third"}, "account: is not one of the configured accounts"},
	} {
		cmd := cardCommand(c.topic, c.change)
		require.EqualError(t, by[c.topic].check.Check(cmd), c.want)
		reply, err := by[c.topic].call(cmd)
		require.Zero(t, reply)
		require.Equal(t, commands.ClassPermanent, vendors.ClassOf(err))
		require.Equal(t, withhold.CodeInvalid, vendors.CodeOf(err))
	}
	for topic, one := range by {
		cmd := cardCommand(topic, map[string]any{"account": "main"})
		cmd.RequestID, cmd.Account = "R9", "second"
		require.EqualError(t, one.check.Check(cmd), "requestId: differs from the command's\naccount: differs from the command's", topic)
		cmd.Body = []byte(`{"requestId":`)
		require.ErrorContains(t, one.check.Check(cmd), "the command: not one JSON object", topic)
	}
	require.Zero(t, g.Requests())
}

// sending is an adapter as the suite wants it: there is nothing to ask.
type sending struct {
	vendors.Sender
	vendors.Asker
}

func TestVendorSuiteOfTheOtherInterfaces(t *testing.T) {
	t.Parallel()
	accept := func(field string) string { return `{"status":1,"message":"ok","response":{"` + field + `":"V-77"}}` }
	for _, c := range []struct {
		name    string
		topic   string
		sender  func(*withhold.Client) vendors.Sender
		field   string
		without string
		secrets []string
	}{
		{"prebind", "withhold.card.prebind", func(c *withhold.Client) vendors.Sender { return c.Prebind() }, "unique_code", withhold.CodeNoUniqueCode, []string{testKey, testName, testID, testMobile, testCard}},
		{"confirm", "withhold.card.confirm", func(c *withhold.Client) vendors.Sender { return c.Confirm() }, "protocol_no", withhold.CodeNoProtocol, []string{testKey, testSMS + "789", testUnique, testCard}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code := map[string]any{}
			if c.name == "confirm" {
				// The key holds 123456.
				code["verification_code"] = testSMS + "789"
			}
			vendortest.Run(t, vendortest.Harness{
				SendOnly: true,
				New: func(t testing.TB, url string, calls wire.Config) vendors.Vendor {
					settings := config(url)
					settings.HTTP = calls
					client := newClient(t, settings)
					return sending{Sender: c.sender(client)}
				},
				Double: func(t testing.TB) vendortest.Double {
					g := sim.New(sim.Config{Accounts: accounts()})
					t.Cleanup(g.Close)
					return g
				},
				Command: func(string) commands.Command { return cardCommand(c.topic, code) },
				Replies: []vendortest.Exchange{
					{Name: "taken", Body: accept(c.field), Want: commands.StatusSucceeded, Code: "1"},
					{Name: "status a text", Body: strings.Replace(accept(c.field), `1`, `"1"`, 1), Want: commands.StatusSucceeded},
					{Name: "response in a text", Body: `{"status":1,"response":"{\"` + c.field + `\":\"V\"}"}`, Want: commands.StatusSucceeded},
					{Name: "response in a list", Body: `{"status":1,"response":[{"` + c.field + `":77}]}`, Want: commands.StatusSucceeded},
					{Name: "refused", Body: `{"status":"-1","message":"no","response":null}`, Want: commands.StatusRefused, Code: "-1"},
					{Name: "refused with a value", Body: strings.Replace(accept(c.field), `1`, `-1`, 1), Want: commands.StatusRefused},
					{Name: "no value", Body: `{"status":1,"response":{}}`, Code: c.without},
					{Name: "no response", Body: `{"status":1}`, Code: c.without},
					{Name: "an empty value", Body: `{"status":1,"response":{"` + c.field + `":""}}`, Code: c.without},
					{Name: "an object", Body: `{"status":1,"response":{"` + c.field + `":{"a":1}}}`, Code: c.without},
					{Name: "another case", Body: accept(strings.ToUpper(c.field)), Code: c.without},
					{Name: "status 0", Body: strings.Replace(accept(c.field), `1`, `0`, 1), Code: withhold.CodeUnreadable},
					{Name: "status 2", Body: strings.Replace(accept(c.field), `1`, `2`, 1), Code: withhold.CodeUnreadable},
				},
				Refusal: func(message string) string {
					return fmt.Sprintf(`{"status":"-1","message":%s,"response":null}`, strconv.Quote(message))
				},
				Secrets: c.secrets,
			})
		})
	}
}

func TestMessagesRepeatNoNewCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field string
		send  func(*withhold.Client) (commands.Reply, error)
	}{
		{"unique_code", func(c *withhold.Client) (commands.Reply, error) { return c.Prebind().Send(t.Context(), prebind(nil)) }},
		{"protocol_no", func(c *withhold.Client) (commands.Reply, error) { return c.Confirm().Send(t.Context(), confirm(nil)) }},
	} {
		dial, stop := handlerOverPipe(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"status":1,"message":"made V-77 with 123456 for U20240101000001","response":{"`+c.field+`":"V-77"}}`)
		}))
		t.Cleanup(stop)
		settings := config("http://gateway.test")
		settings.HTTP.DialContext = dial
		reply, err := c.send(newClient(t, settings))
		require.NoError(t, err)
		require.Equal(t, map[string]string{c.field: "V-77"}, reply.Fields)
		require.NotContains(t, reply.Message, "V-77")
	}
}

func TestCodesMaskThemselves(t *testing.T) {
	t.Parallel()
	p, err := withhold.DecodePrebind(prebind(nil).Body)
	require.NoError(t, err)
	c, err := withhold.DecodeConfirm(confirm(nil).Body)
	require.NoError(t, err)
	client := newClient(t, config("http://127.0.0.1:1"))
	hidden := struct{ it *withhold.Client }{client}
	for _, v := range []any{p, &p, c, &c, confirm(nil), client.Prebind(), client.Confirm(), client.Query(), hidden} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		encoded, err := json.Marshal(v)
		require.NoError(t, err)
		text := log.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v)
		for _, secret := range []string{testKey, testCard, testName, testID, testMobile, testSMS, testUnique} {
			require.NotContains(t, text, secret, "%T", v)
		}
	}
}

// TestGoldenCardRequests holds every byte of the bodies that leave against testdata/cards.golden. The first two are the
// vectors of the vendor's facts.
func TestGoldenCardRequests(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		dial, stop := handlerOverPipe(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			fmt.Fprintf(&got, "%s %s\n%s\n%s\n\n", r.Method, r.URL, r.Header.Get("Content-Type"), raw)
		}))
		settings := config("http://gateway.test/api")
		settings.HTTP.DialContext = dial
		client, err := withhold.New(settings)
		require.NoError(t, err)
		for _, call := range []func() (commands.Reply, error){
			func() (commands.Reply, error) { return client.Prebind().Send(t.Context(), prebind(nil)) },
			func() (commands.Reply, error) { return client.Confirm().Send(t.Context(), confirm(nil)) },
			func() (commands.Reply, error) {
				return client.Prebind().Send(t.Context(), prebind(map[string]any{"account": "second", "name": "<O'Neil & \"张\">"}))
			},
			func() (commands.Reply, error) {
				return client.Query().Ask(t.Context(), cardCommand("withhold.query", map[string]any{"biz_order_no": "B20240101000001"}))
			},
		} {
			_, err := call()
			require.Error(t, err)
		}
		client.Close()
		stop()
	})
	require.Contains(t, got.String(), `"sign":"7443701977e5074513b0ee8e86f0702a"`)
	require.Contains(t, got.String(), `"sign":"f4f44e6347bef46b4f5ce0c4509d1ebb"`)
	require.Contains(t, got.String(), `"sign":"83ad5491a727aca879d22b15242bb12a"`)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile("testdata/cards.golden", got.Bytes(), 0o600))
	}
	want, err := os.ReadFile("testdata/cards.golden")
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

// What the schemas let through the adapter takes, and what it answers the result's schema knows.
func TestCardSchemasAgree(t *testing.T) {
	t.Parallel()
	set, err := schemas.Load()
	require.NoError(t, err)
	_, url := serve(t, sim.Config{})
	client := newClient(t, config(url))
	for topic, one := range map[string]checker{
		"withhold.card.prebind": client.Prebind(), "withhold.card.confirm": client.Confirm(), "withhold.query": client.Query(),
	} {
		cmd := cardCommand(topic, map[string]any{"account": "second"})
		require.NoError(t, set.Validate(topic, cmd.Body))
		require.NoError(t, one.Check(cmd))
	}
	reply, err := client.Prebind().Send(t.Context(), prebind(nil))
	require.NoError(t, err)
	data, err := json.Marshal(map[string]string{
		"requestId": "R1", "pay_type": "101", "code": reply.Code, "message": reply.Message, "unique_code": reply.Fields["unique_code"],
	})
	require.NoError(t, err)
	require.NoError(t, set.Validate("withhold.card.result", data))
}

func TestCardsInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := sim.New(sim.Config{Accounts: accounts(), CardScript: func(string, string, int) sim.Plan {
			return sim.Plan{Slow: time.Minute}
		}})
		defer g.Close()
		dial, stop := handlerOverPipe(g)
		defer stop()
		settings := config("http://gateway.test")
		settings.HTTP.DialContext = dial
		client := newClient(t, settings)
		defer client.Close()
		_, err := client.Prebind().Send(t.Context(), prebind(nil))
		require.Equal(t, wire.CodeTimeout, vendors.CodeOf(err))
		require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
		require.Zero(t, g.Messages("R1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1, g.Messages("R1"), "the message goes out although nobody waits for the reply")
	})
}
