package withhold_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/withhold"
)

// callbackP01 is P01 of the vectors, as PHP sends it.
const callbackP01 = `{"biz_order_no":"B20240101000001","channel_response":"","order_type":"single_withhold",` +
	`"pay_order_no":"P20240101000001","pay_status":"success","pay_time":"2024-01-01 12:00:00","pay_type":"101",` +
	`"sign":"9acbcaa4e499e8f4286c926246e653e4"}`

// formP01 is the same as a form.
func formP01() url.Values {
	return url.Values{
		"biz_order_no": {"B20240101000001"}, "channel_response": {""}, "order_type": {"single_withhold"},
		"pay_order_no": {"P20240101000001"}, "pay_status": {"success"}, "pay_time": {"2024-01-01 12:00:00"},
		"pay_type": {"101"}, "sign": {"9acbcaa4e499e8f4286c926246e653e4"},
	}
}

func TestDecodeCallback(t *testing.T) {
	t.Parallel()
	want := withhold.Callback{
		BizOrderNo: "B20240101000001", PayOrderNo: "P20240101000001", PayType: "101", PayStatus: "success",
		PayTime: "2024-01-01 12:00:00",
	}
	for name, body := range map[string]string{
		"json":                  callbackP01,
		"json in another order": `{"sign":"9acbcaa4e499e8f4286c926246e653e4",` + strings.Replace(callbackP01[1:], `,"sign":"9acbcaa4e499e8f4286c926246e653e4"`, "", 1),
		"space around it":       "\ufeff\r\n " + callbackP01 + "\n",
		"upper case sign":       strings.Replace(callbackP01, "9acbcaa4e499e8f4286c926246e653e4", "9ACBCAA4E499E8F4286C926246E653E4", 1),
		"form":                  formP01().Encode(),
	} {
		got, err := withhold.DecodeCallback([]byte(body))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	reply, err := want.Reply()
	require.NoError(t, err)
	require.Equal(t, commands.Reply{
		Status: commands.StatusSucceeded, Code: "callback", Fields: map[string]string{
			"pay_order_no": "P20240101000001", "pay_type": "101", "pay_status": "success", "pay_time": "2024-01-01 12:00:00",
		},
	}, reply)
	want.ChannelResponse, want.PayStatus = "card 6222000000000000000", "fail"
	reply, err = want.Reply()
	require.NoError(t, err)
	require.Equal(t, commands.StatusFailed, reply.Status)
	require.Equal(t, "card ***", reply.Fields["channel_response"])
}

// TestNullsLeftOutOfTheSign: P05 sent with its null, signed as senders do that leave nulls out.
func TestNullsLeftOutOfTheSign(t *testing.T) {
	t.Parallel()
	got, err := withhold.DecodeCallback([]byte(`{"biz_order_no":"B20240101000001","channel_response":"",` +
		`"order_type":"single_withhold","pay_order_no":"P20240101000001","pay_status":"pending","pay_time":null,` +
		`"pay_type":"101","sign":"591391459c918ca0a8c44314c0ab1159"}`))
	require.NoError(t, err)
	require.Empty(t, got.PayTime)
}

func TestBadCallbacks(t *testing.T) {
	t.Parallel()
	change := func(from, to string) string { return strings.Replace(callbackP01, from, to, 1) }
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"empty":             {"", withhold.ErrCallbackUnreadable},
		"null":              {"null", withhold.ErrCallbackUnreadable},
		"array":             {"[" + callbackP01 + "]", withhold.ErrCallbackUnreadable},
		"cut":               {callbackP01[:50], withhold.ErrCallbackUnreadable},
		"two":               {callbackP01 + callbackP01, withhold.ErrCallbackUnreadable},
		"bad escape":        {"a=%zz", withhold.ErrCallbackUnreadable},
		"multipart":         {"--x\r\nContent-Disposition: form-data; name=\"sign\"\r\n\r\nx\r\n--x--", withhold.ErrCallbackUnreadable},
		"a name twice":      {change(`"pay_status"`, `"pay_status":"fail","pay_status"`), withhold.ErrCallbackUnreadable},
		"a form name twice": {formP01().Encode() + "&pay_status=fail", withhold.ErrCallbackUnreadable},
		"no sign":           {change(`,"sign":"9acbcaa4e499e8f4286c926246e653e4"`, ""), withhold.ErrCallbackUnreadable},
		"null sign":         {change(`"9acbcaa4e499e8f4286c926246e653e4"`, "null"), withhold.ErrCallbackUnreadable},
		"no order":          {change("B20240101000001", ""), withhold.ErrCallbackUnreadable},
		"another type":      {change("single_withhold", "refund"), withhold.ErrCallbackUnreadable},
		"unknown status":    {change(`"success"`, `"SUCCESS"`), withhold.ErrCallbackUnreadable},
		"names in another case": {
			change("pay_status", "Pay_Status"), withhold.ErrCallbackUnreadable,
		},
		"status changed":   {change(`"success"`, `"fail"`), withhold.ErrCallbackChecksum},
		"order changed":    {change("B20240101000001", "B20240101000002"), withhold.ErrCallbackChecksum},
		"a member more":    {change(`{`, `{"a":1,`), withhold.ErrCallbackChecksum},
		"a null more":      {change(`{`, `{"a":1,"b":null,`), withhold.ErrCallbackChecksum},
		"sign of nothing":  {change("9acbcaa4e499e8f4286c926246e653e4", "d41d8cd98f00b204e9800998ecf8427e"), withhold.ErrCallbackChecksum},
		"short sign":       {change("9acbcaa4e499e8f4286c926246e653e4", "9acb"), withhold.ErrCallbackChecksum},
		"sign of a number": {change(`"9acbcaa4e499e8f4286c926246e653e4"`, "9"), withhold.ErrCallbackChecksum},
	} {
		_, err := withhold.DecodeCallback([]byte(c.body))
		require.ErrorIs(t, err, c.want, name)
		require.NotContains(t, err.Error(), "B2024", name)
	}
}
