package withhold_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	client := newClient(t, config("http://127.0.0.1:1"))
	for _, c := range []struct {
		name   string
		change map[string]any
		want   []string
	}{
		{"valid", nil, nil},
		{"at the limit", map[string]any{"amount": "50000"}, nil},
		{"second account", map[string]any{"account": "second"}, nil},
		{"amount 0", map[string]any{"amount": "0.00"}, []string{"amount: must be more than 0"}},
		{"negative", map[string]any{"amount": "-5"}, []string{"amount: must be a decimal number"}},
		{"three decimals", map[string]any{"amount": "1.005"}, []string{"amount: must have at most two decimals"}},
		{"exponent", map[string]any{"amount": "1e2"}, []string{"amount: must be a decimal number"}},
		{"beyond the limit", map[string]any{"amount": "50000.01"}, []string{"amount: must be at most 50000.00"}},
		{"far beyond the limit", map[string]any{"amount": "99999999999999999999"}, []string{"amount: more than 13 digits"}},
		{"amount as a number", map[string]any{"amount": 100}, []string{"amount: must be a string"}},
		{"no card, no protocol", map[string]any{"bank_card_number": nil, "biz_data": nil}, []string{"at least one of them"}},
		{"no card, empty biz_data", map[string]any{"bank_card_number": nil, "biz_data": map[string]any{}}, []string{"at least one of them"}},
		{"biz_data a list", map[string]any{"biz_data": []any{}}, []string{"biz_data: must be an object"}},
		{"biz_data with more", map[string]any{"biz_data": map[string]any{"x": "1"}}, []string{"biz_data.x: is not a field"}},
		{"unknown account", map[string]any{"account": "third"}, []string{"account: is not one of the configured"}},
		{"empty name", map[string]any{"name": ""}, []string{"name: must not be empty"}},
		{"null name", map[string]any{"name": nil}, []string{"name: is missing"}},
		{"unknown field", map[string]any{"notify_url": "https://evil.test"}, []string{"notify_url: is not a field"}},
		{"card number as a field name", map[string]any{testCard: "1"}, []string{"(a field with an unusual name)"}},
		{"another case", map[string]any{"Amount": "1"}, []string{"Amount: is not a field"}},
		{"all at once", map[string]any{"amount": "0", "mobile": nil, "pay_type": 7}, []string{"amount:", "mobile:", "pay_type:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := client.Check(command("B1", c.change))
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, part := range c.want {
				require.ErrorContains(t, err, part)
			}
			for _, secret := range []string{testName, testID, testMobile, testCard, testProto} {
				require.NotContains(t, err.Error(), secret)
			}
			// Send refuses it too, without a request.
			_, err = client.Send(t.Context(), command("B1", c.change))
			require.Equal(t, commands.ClassPermanent, vendors.ClassOf(err))
			require.Equal(t, withhold.CodeInvalid, vendors.CodeOf(err))
		})
	}
}

func TestCheckHoldsTheCommandAgainstItsBody(t *testing.T) {
	t.Parallel()
	client := newClient(t, config("http://127.0.0.1:1"))
	cmd := command("B1", map[string]any{"account": "main"})
	cmd.Key, cmd.RequestID, cmd.Account = "B2", "R2", "second"
	err := client.Check(cmd)
	for _, part := range []string{"biz_order_no: differs", "requestId: differs", "account: differs"} {
		require.ErrorContains(t, err, part)
	}
	for _, raw := range []string{"", "null", "[]", "{", `{"a":1} {}`, `{"amount":"1","amount":"2"}`, "\xff"} {
		cmd.Body = commands.Body(raw)
		require.ErrorContains(t, client.Check(cmd), "the command: ", raw)
	}
}

// TestGoldenRequests holds every byte that leaves, body and headers, against testdata/requests.golden.
func TestGoldenRequests(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		c := config("http://gateway.test/api")
		c.NotifyURL = func(order string) string { return "https://svc.example.com/cb/wh/" + order + "/tok123" }
		dial, stop := handlerOverPipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			fmt.Fprintf(&got, "%s %s\nHost: %s\n", r.Method, r.URL, r.Host)
			_ = r.Header.Write(&got)
			fmt.Fprintf(&got, "\n%s\n\n", raw)
		}))
		c.HTTP.DialContext = dial
		client, err := withhold.New(c)
		require.NoError(t, err)
		for _, cmd := range []commands.Command{
			command("B20240101000001", nil),
			command("B2", map[string]any{"account": "second", "bank_card_number": nil, "amount": "0.5", "name": "<O'Neil & \"张\">"}),
			command("B3", map[string]any{"biz_data": nil}),
		} {
			_, err = client.Send(t.Context(), cmd)
			require.Error(t, err)
			_, err = client.Ask(t.Context(), cmd)
			require.Error(t, err)
		}
		client.Close()
		stop()
	})
	text := strings.ReplaceAll(got.String(), "\r\n", "\n")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile("testdata/requests.golden", []byte(text), 0o600))
	}
	want, err := os.ReadFile("testdata/requests.golden")
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

// TestRequestIDs: a send carries the command's own, each query one of its own.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	ids := make(chan string, 8)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var env struct{ RequestID, Timestamp, Method string }
		if json.NewDecoder(r.Body).Decode(&env) == nil {
			ids <- env.RequestID
		}
	}))
	t.Cleanup(s.Close)
	client := newClient(t, config(s.URL))
	for range 2 {
		_, err := client.Send(t.Context(), command("B1", nil))
		require.Error(t, err)
		require.Equal(t, "R-B1", <-ids)
	}
	seen := map[string]bool{}
	for range 3 {
		_, err := client.Ask(t.Context(), command("B1", nil))
		require.Error(t, err)
		id := <-ids
		require.True(t, strings.HasPrefix(id, "R-B1-q"))
		require.False(t, seen[id])
		seen[id] = true
	}
}

// TestAskNeedsNoBody: the query command and the operator's tool have none of the order's fields.
func TestAskNeedsNoBody(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"-1","message":"订单不存在","response":[]}`)
	}))
	t.Cleanup(s.Close)
	cmd := command("B1", nil)
	cmd.Body = nil
	reply, err := newClient(t, config(s.URL)).Ask(t.Context(), cmd)
	require.NoError(t, err)
	require.Equal(t, commands.StatusMissing, reply.Status)

	cmd.Account = "third"
	_, err = newClient(t, config(s.URL)).Ask(t.Context(), cmd)
	require.Equal(t, withhold.CodeBuild, vendors.CodeOf(err))
}

func TestMissingWordings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		words   []string
		message string
		missing bool
	}{
		{"none configured", nil, notFound, false},
		{"exact", []string{notFound}, notFound, true},
		{"part of a text", []string{notFound}, "暂时" + notFound, false},
		{"a dot is a dot", []string{"no.order"}, "no order", false},
		{"second wording", []string{"x", "no such order"}, "no such order", true},
		{"pattern", []string{"/^order [A-Z0-9]+ not found$/"}, "order B1 not found", true},
		{"pattern misses", []string{"/^order [A-Z0-9]+ not found$/"}, "order B1 not found, retry", false},
		{"long message is not cut before matching", []string{"/end$/"}, strings.Repeat("a", 400) + "end", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, `{"status":-1,"message":%q,"response":null}`, c.message)
			}))
			t.Cleanup(s.Close)
			conf := config(s.URL)
			conf.MissingWords = c.words
			reply, err := newClient(t, conf).Ask(t.Context(), command("B1", nil))
			if c.missing {
				require.NoError(t, err)
				require.Equal(t, commands.StatusMissing, reply.Status)
				return
			}
			require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
			require.Equal(t, withhold.CodeAskRefused, vendors.CodeOf(err))
		})
	}
}

// TestReplyFields: what reaches the result event.
func TestReplyFields(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":1,"message":"ok 13800000000","response":{"biz_order_no":"B1",
			"pay_order_no":"P20240101000000000001","pay_type":101,"pay_status":"fail","pay_time":null,
			"channel_response":{"code":"51","msg":"card 6222000000000000000 of 张三"},"more":"x"}}`)
	}))
	t.Cleanup(s.Close)
	reply, err := newClient(t, config(s.URL)).Send(t.Context(), command("B1", nil))
	require.NoError(t, err)
	require.Equal(t, commands.Reply{
		Status: commands.StatusFailed, Code: "1", Message: "ok ***",
		Fields: map[string]string{
			"pay_order_no": "P20240101000000000001", "pay_type": "101", "pay_status": "fail",
			"channel_response": `{"code":"51","msg":"card *** of ***"}`,
		},
	}, reply)
}

func TestConfigProblemsComeTogether(t *testing.T) {
	t.Parallel()
	_, err := withhold.New(withhold.Config{
		URL: "https://user:" + testKey + "@gateway.test",
		Accounts: map[string]withhold.Account{
			"": {UA: "u", Key: testKey}, "no ua": {Key: testKey}, "long": {UA: "u", Key: testKey + "extra"}, "none": {UA: "u"},
		},
		DefaultAccount: "other",
		MissingWords:   []string{"", "/(/", "/.*/"},
		MaxAmount:      "1e9",
		HTTP:           wire.Config{MaxReply: -1},
	})
	for _, part := range []string{
		"URL: must not hold a user", "a name is empty", `account "no ua": ua is empty`,
		`account "long": cipher: the key has 21 bytes, AES-128 needs exactly 16`, `account "none": cipher: the key is empty`,
		`default account: "other"`, "missing wording 1", "missing wording 2", "missing wording 3", "largest amount",
		"HTTP timeout", "HTTP largest reply",
	} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), testKey)

	_, err = withhold.New(withhold.Config{Cipher: withhold.CipherConfig{
		Mode: "gcm", KeyBits: 64, KeyForm: "x", Padding: "x", Encoding: "x", Order: "x",
	}})
	for _, part := range []string{
		"URL: must be absolute", "accounts: at least one", "cipher mode", "key bits", "key form", "padding", "encoding", "order",
	} {
		require.ErrorContains(t, err, part)
	}
	for _, bad := range []withhold.CipherConfig{
		{IV: "zero"}, {Mode: "cbc"}, {Mode: "cbc", IV: "random"}, {Mode: "cbc", IV: "text:short"}, {KeyForm: "md5hex"},
	} {
		require.Error(t, bad.Validate(), "%+v", bad)
	}
}

// TestSecretsMaskThemselves prints all that holds one in all the ways in which it could reach a log.
func TestSecretsMaskThemselves(t *testing.T) {
	t.Parallel()
	order, err := withhold.DecodeOrder(body("B1", nil))
	require.NoError(t, err)
	box, err := withhold.NewCipher(withhold.CipherConfig{Mode: "cbc", IV: "key"}, testKey)
	require.NoError(t, err)
	conf := config("http://127.0.0.1:1")
	key := withhold.Key(testKey)
	card := withhold.Personal(testCard)
	for _, v := range []any{
		order, &order, box, conf.Accounts, conf.Accounts["main"], key, &key, card, &card, []withhold.Key{key},
		map[string]withhold.Personal{"card": card}, newClient(t, conf), errors.Join(fmt.Errorf("%v", key)),
	} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		encoded, _ := json.Marshal(v)
		text := log.String() + string(encoded)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			text += fmt.Sprintf(verb, v)
		}
		for _, secret := range []string{testKey, testCard, testName, testID, testMobile, testProto, fmt.Sprintf("%x", testKey), fmt.Sprintf("%x", testCard)} {
			require.NotContains(t, text, secret, "%T", v)
		}
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", conf)
	require.NotContains(t, log.String(), testKey)
	require.Contains(t, log.String(), `"accounts":["main","second"]`)
	require.NotContains(t, fmt.Sprintf("%+v %#v", conf, conf), testKey)
}

func TestZeroTimeoutIsRefused(t *testing.T) {
	t.Parallel()
	conf := config("http://127.0.0.1:1")
	conf.HTTP.Timeout = 0
	_, err := withhold.New(conf)
	require.ErrorContains(t, err, "HTTP timeout")
	conf.HTTP.Timeout = time.Second
	require.NoError(t, conf.Validate())
}
