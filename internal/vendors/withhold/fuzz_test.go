package withhold

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/scrub"
)

// FuzzCipher seals and opens any text in any setting.
func FuzzCipher(f *testing.F) {
	f.Add([]byte(`{"a":"张三"}`), "0123456789abcdef", uint16(0))
	f.Add([]byte("0123456789abcdef"), "k", uint16(0xffff))
	f.Add([]byte{}, "", uint16(77))
	f.Fuzz(func(t *testing.T, text []byte, key string, pick uint16) {
		choose := func(from ...string) string {
			out := from[int(pick)%len(from)]
			pick /= uint16(len(from))
			return out
		}
		c := CipherConfig{
			KeyBits: map[string]int{"a": 128, "b": 192, "c": 256}[choose("a", "b", "c")],
			KeyForm: choose("php", "raw", "md5hex"), Padding: choose("pkcs7", "zero", "none"),
			Encoding: choose("base64", "base64url", "hex", "HEX"), Order: choose("plain", "double", "base64first"),
		}
		if choose("ecb", "cbc") == "cbc" {
			c.Mode, c.IV = "cbc", choose("zero", "key", "prefix", "text:1234567890123456")
		}
		box, err := NewCipher(c, Key(key))
		if err != nil {
			return
		}
		sealed, err := box.Seal(text)
		if err != nil {
			require.Equal(t, "none", c.Padding)
			return
		}
		opened, err := box.Open(sealed)
		require.NoError(t, err)
		want := text
		if c.Padding == "zero" && c.Order != "base64first" {
			want = bytes.TrimRight(text, "\x00")
		}
		require.True(t, bytes.Equal(want, opened))
		// Anything else must be an error or a text, never a panic.
		_, _ = box.Open(string(text))
		_, _ = box.Open(sealed[:len(sealed)/2])
	})
}

// FuzzAnswer: whatever comes, a final status needs our order's number and the exact word in it.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"status":"1","message":"","response":{"biz_order_no":"B-1","pay_status":"success"}}`,
		`{"status":1,"message":null,"response":[{"biz_order_no":"B-1","pay_status":"fail"}]}`,
		`{"status":-1,"message":"订单不存在","response":null}`,
		`{"status":"1","response":"{\"biz_order_no\":\"B-1\",\"pay_status\":\"success\"}"}`,
		`{"status":"1","response":[]}`, `{`, "", "\xef\xbb\xbf{}", `{"status":{}}`,
	} {
		f.Add([]byte(s))
	}
	missing, err := compileWordings([]string{"订单不存在"})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := decodeAnswer(raw)
		if err != nil {
			return
		}
		for _, ask := range []bool{false, true} {
			var reply commands.Reply
			if ask {
				reply, err = a.askReply("B-1", missing, scrub.Text)
			} else {
				reply, err = a.sendReply("B-1", scrub.Text)
			}
			if err != nil {
				require.Equal(t, commands.ClassUnknown, vendors.ClassOf(err))
				require.Zero(t, reply)
				continue
			}
			require.NotEqual(t, commands.StatusUnclear, reply.Status)
			require.True(t, utf8.ValidString(reply.Message))
			if reply.Status.Final() {
				require.Equal(t, 1, a.status)
				require.Contains(t, string(a.response["biz_order_no"]), `"`)
				require.Contains(t, []string{"success", "fail"}, reply.Fields["pay_status"])
			}
			require.Equal(t, ask && reply.Status == commands.StatusMissing, reply.Status == commands.StatusMissing)
		}
	})
}

// FuzzDecodeCallback: an accepted callback's values are those of a plain JSON reader, and its sign stops fitting when a
// value changes.
func FuzzDecodeCallback(f *testing.F) {
	f.Add([]byte(`{"biz_order_no":"B20240101000001","channel_response":"","order_type":"single_withhold","pay_order_no":"P20240101000001","pay_status":"success","pay_time":"2024-01-01 12:00:00","pay_type":"101","sign":"9acbcaa4e499e8f4286c926246e653e4"}`))
	f.Add([]byte("biz_order_no=1&sign=2"))
	f.Add([]byte(`{"a":"\u2028\/<>","sign":"x"}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		members, err := callbackMembers(raw)
		if err != nil {
			_, err = DecodeCallback(raw)
			require.ErrorIs(t, err, ErrCallbackUnreadable)
			return
		}
		for _, text := range dialects(members) {
			require.True(t, json.Valid([]byte(text)) || !utf8.Valid(raw), text)
		}
		c, err := DecodeCallback(raw)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.BizOrderNo)
		_, err = c.Reply()
		require.NoError(t, err)
	})
}

// FuzzChecksum signs any values as the plain rule says, and checks that they fit and that a changed one does not.
func FuzzChecksum(f *testing.F) {
	f.Add("B1", "余额/<&>\u2028\x00😀", "sign")
	f.Add("", "\x7f", "a")
	f.Fuzz(func(t *testing.T, one, two, name string) {
		values := map[string]any{"a": one, "b": two, "z" + name: 1}
		text, err := encode(values)
		require.NoError(t, err)
		members, err := callbackMembers(text)
		if err != nil {
			return
		}
		sign := md5Hex(string(text))
		require.True(t, checksumFits(members, sign))
		members[0].rawValue = json.RawMessage(`"` + strings.Repeat("x", len(one)+1) + `"`)
		require.False(t, checksumFits(members, sign))
	})
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add([]byte(`{"requestId":"R","biz_order_no":"B","amount":"1.00","name":"n","id_card_number":"i","mobile":"m","pay_type":"101","bank_card_number":"c","biz_data":{"protocol_no":"p"}}`))
	f.Add([]byte(`{"amount":1e2}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := DecodeOrder(raw)
		if err != nil {
			require.Zero(t, o)
			return
		}
		require.Positive(t, o.Amount)
		require.NotEmpty(t, o.BizOrderNo)
		require.False(t, o.BankCardNumber == "" && o.ProtocolNo == "")
		require.Subset(t, scrub.Personal(commands.Command{Body: raw}), []string{string(o.Name), string(o.Mobile), string(o.IDCardNumber)})
	})
}
