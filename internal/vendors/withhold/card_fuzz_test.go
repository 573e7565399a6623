package withhold

import (
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/scrub"
)

// FuzzDecodeCards: what is taken is whole, and all of it that is personal or a code is known to the scrubber.
func FuzzDecodeCards(f *testing.F) {
	f.Add([]byte(`{"requestId":"R","name":"n","id_card_number":"i","mobile":"m","pay_type":"101","bank_card_number":"c"}`))
	f.Add([]byte(`{"requestId":"R","verification_code":"1","unique_code":"u","pay_type":"101","bank_card_number":"c"}`))
	f.Add([]byte(`{"requestId":"R","biz_order_no":"B","account":"a"}`))
	f.Add([]byte(`{"requestId":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if o, err := DecodePrebind(raw); err == nil {
			require.NotEmpty(t, o.RequestID)
			for _, text := range []Personal{o.Name, o.IDCardNumber, o.Mobile, o.BankCardNumber} {
				require.Contains(t, scrub.Personal(commands.Command{Body: raw}), string(text))
			}
		} else {
			require.Zero(t, o)
		}
		if o, err := DecodeConfirm(raw); err == nil {
			for _, text := range []Personal{o.VerificationCode, o.UniqueCode, o.BankCardNumber} {
				require.NotEmpty(t, text)
				require.Contains(t, scrub.Personal(commands.Command{Body: raw}), string(text))
			}
		} else {
			require.Zero(t, o)
		}
		if q, err := DecodeQuery(raw); err == nil {
			require.NotEmpty(t, q.BizOrderNo)
		} else {
			require.Zero(t, q)
		}
	})
}

// FuzzTieReply: whatever comes, a success needs status 1 and the value.
func FuzzTieReply(f *testing.F) {
	f.Add([]byte(`{"status":"1","message":"m","response":{"unique_code":"U"}}`))
	f.Add([]byte(`{"status":-1,"message":"m","response":"{\"unique_code\":1}"}`))
	f.Add([]byte(`{"status":1,"response":[{"unique_code":null}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := decodeAnswer(raw)
		if err != nil {
			return
		}
		reply, err := a.tieReply("unique_code", CodeNoUniqueCode, scrub.Text)
		switch {
		case err != nil:
			require.Zero(t, reply)
		case reply.Status == commands.StatusSucceeded:
			require.Equal(t, 1, a.status)
			require.NotEmpty(t, reply.Fields["unique_code"])
		default:
			require.Equal(t, commands.StatusRefused, reply.Status)
			require.Negative(t, a.status)
			require.Empty(t, reply.Fields)
		}
	})
}
