package withhold

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/jsonobject"
	"paydispatch/internal/vendors/scrub"
)

// What can be wrong with a callback.
var (
	// ErrCallbackUnreadable: neither a JSON object nor a form, or a required value is missing.
	ErrCallbackUnreadable = errors.New("unreadable callback")
	// ErrCallbackChecksum: the sign fits the content in no known dialect. It is a sign of damage or of an unknown
	// dialect, not of an attack: anyone can compute a fitting one.
	ErrCallbackChecksum = errors.New("callback checksum does not fit")
)

// orderType is the only order_type that belongs to this adapter.
const orderType = "single_withhold"

// Callback is the gateway's asynchronous word about an order (seed 001, section 5). It is hearsay until it is
// authenticated otherwise: the sign has no secret.
type Callback struct {
	BizOrderNo string
	PayOrderNo string
	PayType    string
	// PayStatus is one of success, fail, initial, pending, wait_pay.
	PayStatus string
	PayTime   string
	// ChannelResponse is as the gateway sent it; Reply scrubs it.
	ChannelResponse string
}

// DecodeCallback reads a callback's body, JSON or form (the body tells which; PHP senders often declare the wrong one),
// and checks its sign. The body must be bounded by the caller.
func DecodeCallback(body []byte) (Callback, error) {
	members, err := callbackMembers(body)
	if err != nil {
		return Callback{}, err
	}
	values := make(map[string]string, len(members))
	for _, m := range members {
		text, ok := scalar(m.rawValue)
		if !ok {
			text = string(m.rawValue)
		}
		values[m.key] = text
	}
	for _, name := range []string{"biz_order_no", "order_type", "pay_status", "sign"} {
		if values[name] == "" {
			return Callback{}, fmt.Errorf("%w: %s is missing", ErrCallbackUnreadable, name)
		}
	}
	if values["order_type"] != orderType {
		return Callback{}, fmt.Errorf("%w: order_type is not %s", ErrCallbackUnreadable, orderType)
	}
	if translateStatus(values["pay_status"]) == commands.StatusUnclear {
		return Callback{}, fmt.Errorf("%w: pay_status is not one of the documented words", ErrCallbackUnreadable)
	}
	if !checksumFits(members, values["sign"]) {
		return Callback{}, ErrCallbackChecksum
	}
	return Callback{
		BizOrderNo: values["biz_order_no"], PayOrderNo: values["pay_order_no"], PayType: values["pay_type"],
		PayStatus: values["pay_status"], PayTime: values["pay_time"], ChannelResponse: values["channel_response"],
	}, nil
}

// Reply translates the callback into the words of the core, scrubbed like a reply to Ask. Code is "callback".
func (c Callback) Reply() (commands.Reply, error) {
	return translate("callback", "", map[string]string{
		"pay_order_no": c.PayOrderNo, "pay_type": c.PayType, "pay_status": c.PayStatus, "pay_time": c.PayTime,
		"channel_response": c.ChannelResponse,
	}, scrub.Text)
}

// callbackMembers reads a JSON object, or a form as an object of strings.
func callbackMembers(body []byte) ([]member, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(body) > 0 && body[0] == '{' {
		members, err := readMembers(body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCallbackUnreadable, err)
		}
		return members, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form) == 0 {
		return nil, fmt.Errorf("%w: neither a JSON object nor a form", ErrCallbackUnreadable)
	}
	var members []member
	for key, values := range form {
		if len(values) != 1 {
			return nil, fmt.Errorf("%w: %w", ErrCallbackUnreadable, jsonobject.ErrTwice)
		}
		value, err := encode(values[0])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCallbackUnreadable, err)
		}
		rawKey, err := encode(key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCallbackUnreadable, err)
		}
		members = append(members, member{key: key, rawKey: rawKey, rawValue: value})
	}
	return members, nil
}

// checksumFits compares sign with the md5 of the members but sign, sorted by key, in the dialect that they were sent
// in, and then in a few others: the gateway may sign with other flags of json_encode than it sends with. Accepting
// several costs no security, since the sign has no secret.
func checksumFits(members []member, sign string) bool {
	signed := slices.DeleteFunc(slices.Clone(members), func(m member) bool { return m.key == "sign" })
	slices.SortFunc(signed, func(a, b member) int { return strings.Compare(a.key, b.key) })
	filled := slices.DeleteFunc(slices.Clone(signed), func(m member) bool {
		return string(bytes.TrimSpace(m.rawValue)) == "null"
	})
	want := []byte(strings.ToLower(sign))
	fits := 0
	for _, set := range [][]member{signed, filled} {
		for _, text := range dialects(set) {
			fits |= subtle.ConstantTimeCompare([]byte(md5Hex(text)), want)
		}
	}
	return fits == 1
}

// dialects are the texts that a sender may have signed: the raw tokens, joined compactly, as Python does by default,
// or with the line end of Go's Encoder; and the tokens rewritten as PHP does with its flags.
func dialects(members []member) []string {
	raw := join(members, ",", ":", func(token []byte) string { return string(token) })
	out := []string{raw, join(members, ", ", ": ", func(token []byte) string { return string(token) }), raw + "\n"}
	for _, d := range []dialect{{true, true}, {true, false}, {false, true}, {false, false}} {
		out = append(out, join(members, ",", ":", d.rewrite))
	}
	return out
}

func join(members []member, comma, colon string, write func([]byte) string) string {
	var out strings.Builder
	out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			out.WriteString(comma)
		}
		out.WriteString(write(m.rawKey))
		out.WriteString(colon)
		out.WriteString(write(m.rawValue))
	}
	out.WriteByte('}')
	return out.String()
}

// dialect says how PHP's json_encode writes strings.
type dialect struct {
	// escapeSlash: without JSON_UNESCAPED_SLASHES.
	escapeSlash bool
	// escapeUnicode: without JSON_UNESCAPED_UNICODE.
	escapeUnicode bool
}

// rewrite writes a JSON value anew: strings in the dialect, no space between tokens, everything else as it stands.
func (d dialect) rewrite(raw []byte) string {
	var out strings.Builder
	for i := 0; i < len(raw); {
		switch raw[i] {
		case '"':
			end := stringEnd(raw, i)
			var text string
			if json.Unmarshal(raw[i:end], &text) != nil {
				return string(raw)
			}
			d.quote(&out, text)
			i = end
		case ' ', '\t', '\r', '\n':
			i++
		default:
			out.WriteByte(raw[i])
			i++
		}
	}
	return out.String()
}

// stringEnd returns the index after the string token that begins at i.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

func (d dialect) quote(out *strings.Builder, text string) {
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\' || r == '/' && d.escapeSlash:
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < 0x20:
			out.WriteString(control(r))
		case r == '\u2028' || r == '\u2029', r > 0x7e && r != 0x7f && d.escapeUnicode:
			escapeRune(out, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}

func control(r rune) string {
	switch r {
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// escapeRune writes lower case \u escapes, two of them beyond the basic plane.
func escapeRune(out *strings.Builder, r rune) {
	if r > 0xffff {
		r -= 0x10000
		fmt.Fprintf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		return
	}
	fmt.Fprintf(out, `\u%04x`, r)
}
