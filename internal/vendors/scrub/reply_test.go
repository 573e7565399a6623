package scrub

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
)

// command is one that knows a person.
func command() commands.Command {
	return commands.Command{
		RequestID: "R1", Key: "B1", Carry: map[string]string{"amount": "1.00", "pay_type": "101"},
		Body: commands.Body(`{"requestId":"R1","biz_order_no":"B1","amount":"1.00","pay_type":"101","name":"张三",` +
			`"id_card_number":"110101199003070000","mobile":"13800000000","bank_card_number":"6222000000000000000",` +
			`"verification_code":"240101","biz_data":{"protocol_no":"XY-7788"}}`),
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("1234567890", 4)
	for name, c := range map[string]struct{ in, want string }{
		// What is compared later stays as it is.
		"an order's number":          {"P20240101000001234567", "P20240101000001234567"},
		"18 digits":                  {"202401010000012345", "202401010000012345"},
		"19 digits":                  {"4753370980523384831", "4753370980523384831"},
		"32 digits":                  {digits[:32], digits[:32]},
		"digits behind letters":      {"WX4111111111111111", "WX4111111111111111"},
		"a time":                     {"2024-01-01 12:00:00", "2024-01-01 12:00:00"},
		"a time without separators":  {"20240101120000", "20240101120000"},
		"a time in two parts":        {"20240101 120000", "20240101 120000"},
		"a time with a zone":         {"2024-01-01T12:00:00+08:00", "2024-01-01T12:00:00+08:00"},
		"milliseconds":               {"1704067200000", "1704067200000"},
		"an amount":                  {"999999.00", "999999.00"},
		"a uuid":                     {"550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"},
		"a word":                     {"wait_pay", "wait_pay"},
		"a texted code by chance":    {"P2401019", "P2401019"},
		"a date that is no birth":    {"110101202413070004", "110101202413070004"},
		"a wrong check character":    {"11010519491231002Y", "11010519491231002Y"},
		"a card with a wrong digit":  {"4111111111111112", "4111111111111112"},
		"twelve digits":              {"139000000001", "139000000001"},
		"eleven that are no mobile":  {"12800000000", "12800000000"},
		"nothing":                    {"", ""},
		"a name in another language": {"浙江天谷", "浙江天谷"},
		// What is personal goes.
		"a card":                 {"4111111111111111", "***"},
		"a card of UnionPay":     {"6222021234567890128", "***"},
		"a card with spaces":     {"4111 1111 1111 1111", "***"},
		"a card with dashes":     {"4111-1111-1111-1111", "***"},
		"a card among others":    {"A1,4111111111111111", "A1,***"},
		"an identity number":     {"11010519491231002X", "***"},
		"a small x":              {"11010519491231002x", "***"},
		"a mobile":               {"13912345678", "***"},
		"the command's card":     {"6222000000000000000", "***"},
		"holding it":             {"C6222000000000000000C", "***"},
		"the command's name":     {"张三", "***"},
		"holding the name":       {"付款人张三", "付款人***"},
		"the protocol":           {"XY-7788", "***"},
		"a short one whole":      {"240101", "***"},
		"prose":                  {"to 20231231000001234567", "to ***"},
		"an identifier's prose":  {"see P20231231000001234567 ok", "see P*** ok"},
		"a card in other digits": {"４１１１１１１１１１１１１１１１", "***"},
		// What a reader cannot see goes.
		"a line break":         {"a\r\nb", "a  b"},
		"an escape sequence":   {"\x1b[31mred", "[31mred"},
		"C1":                   {"a\u009b31m", "a 31m"},
		"an override":          {"P1\u202e99", "P199"},
		"a card behind marks":  {"4111\u200f1111\u061c1111\u20661111", "***"},
		"a line separator":     {"a\u2028b", "a b"},
		"not text":             {"a\xffb", "a\uFFFDb"},
		"zero width":           {"a\u200bb\ufeff", "ab"},
		"a delete":             {"a\x7fb", "a b"},
		"a name behind a mark": {"张\u200e三", "***"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reply := Reply(commands.Reply{Fields: map[string]string{"f": c.in}}, command())
			require.Equal(t, c.want, reply.Fields["f"])
			require.Empty(t, reply.LeftOut)
			raw, err := json.Marshal(map[string]any{"deep": []string{c.in}})
			require.NoError(t, err)
			reply = Reply(commands.Reply{Extra: map[string]json.RawMessage{"f": raw}}, command())
			var extra struct{ Deep []string }
			require.NoError(t, json.Unmarshal(reply.Extra["f"], &extra))
			require.Equal(t, c.want, extra.Deep[0], "the same inside of lists")
		})
	}
}

// A value that cannot be told whole is named, and two long ones that begin alike still differ.
func TestLongValues(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("P9", 1<<19)
	one := Reply(commands.Reply{Fields: map[string]string{"pay_order_no": long}}, command())
	other := Reply(commands.Reply{Fields: map[string]string{"pay_order_no": long + "1"}}, command())
	require.Len(t, one.Fields["pay_order_no"], MaxText)
	require.NotEqual(t, one.Fields, other.Fields)
	require.Equal(t, []string{"pay_order_no"}, one.LeftOut)

	prose := Reply(commands.Reply{Message: strings.Repeat("长 ", 1000)}, command())
	require.Equal(t, MaxText, utf8.RuneCountInString(prose.Message))
}

func TestWhatDoesNotFitIsLeftOutAndNamed(t *testing.T) {
	t.Parallel()
	many := map[string]string{"pay_order_no": "P1"}
	for i := range 500 {
		many[fmt.Sprintf("f%c%c", 'a'+i/26, 'a'+i%26)] = strings.Repeat("<", 100)
	}
	reply := Reply(commands.Reply{Fields: many}, command())
	require.Equal(t, "P1", reply.Fields["pay_order_no"], "the larger ones go first")
	require.LessOrEqual(t, len(reply.Fields), maxFields)
	encoded, err := json.Marshal(reply.Fields)
	require.NoError(t, err)
	require.LessOrEqual(t, len(encoded), maxFieldBytes+maxFields*8)
	require.NotEmpty(t, reply.LeftOut)
	require.LessOrEqual(t, len(reply.LeftOut), maxFields)
	require.Equal(t, reply, Reply(commands.Reply{Fields: maps.Clone(many)}, command()), "the same again")

	for name, raw := range map[string]string{
		"too deep": strings.Repeat("[", 50) + strings.Repeat("]", 50), "not JSON": `{"a`, "two values": `1 2`,
		"a long number": strings.Repeat("9", 100), "large": `["` + strings.Repeat("x ", maxExtraBytes) + `",` + strings.Repeat(`"y",`, maxExtraBytes) + `1]`,
	} {
		reply := Reply(commands.Reply{Extra: map[string]json.RawMessage{"list": json.RawMessage(raw), "none": json.RawMessage("null")}}, command())
		require.Equal(t, map[string]json.RawMessage{"none": json.RawMessage("null")}, reply.Extra, name)
		require.Equal(t, []string{"list"}, reply.LeftOut, name)
	}
}

func TestNamesAreThoseOfPrograms(t *testing.T) {
	t.Parallel()
	fields := map[string]string{}
	for _, name := range []string{"", "a b", "a\n", "张三", "6222021234567890128", "x13800000000", strings.Repeat("n", 65), "1a", `"`, "a\u202eb"} {
		fields[name] = "v"
	}
	good := map[string]string{"pay_order_no": "v", "flowStatus": "v", "a.b-c1": "v"}
	maps.Copy(fields, good)
	require.Equal(t, good, Reply(commands.Reply{Fields: fields}, command()).Fields)
	raw, err := json.Marshal(fields)
	require.NoError(t, err)
	reply := Reply(commands.Reply{Extra: map[string]json.RawMessage{"x": raw}}, command())
	wanted, err := json.Marshal(good)
	require.NoError(t, err)
	require.JSONEq(t, string(wanted), string(reply.Extra["x"]))
}

// A setting may want numbers shown; control characters and length are nobody's wish.
func TestOpenFields(t *testing.T) {
	t.Parallel()
	const account = "6222021234567890128"
	reply := Reply(commands.Reply{
		Open: []string{"subAccount"}, Fields: map[string]string{"subAccount": account + "\n", "other": account},
		Extra: map[string]json.RawMessage{"list": json.RawMessage(`[{"subAccount":"` + account + `","other":6222021234567890128}]`)},
	}, command())
	require.Equal(t, map[string]string{"subAccount": account, "other": "***"}, reply.Fields)
	require.JSONEq(t, `[{"subAccount":"`+account+`","other":"***"}]`, string(reply.Extra["list"]))
}

// What the command carries into every result is not personal, also where a name reads the same.
func TestCarriedValuesStay(t *testing.T) {
	t.Parallel()
	c := command()
	c.Body = commands.Body(strings.Replace(string(c.Body), "张三", "101", 1))
	reply := Reply(commands.Reply{Fields: map[string]string{"pay_type": "101", "pay_order_no": "101"}}, c)
	require.Equal(t, map[string]string{"pay_type": "101", "pay_order_no": "***"}, reply.Fields)
}

func TestCodesAndErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"-1": "-1", "callback": "callback", "30500001": "30500001", "a\nb": "a b", "13800000000\x00": "***"} {
		require.Equal(t, want, Reply(commands.Reply{Code: in}, command()).Code)
	}
	require.LessOrEqual(t, utf8.RuneCountInString(Reply(commands.Reply{Code: strings.Repeat("码", 500)}, command()).Code), maxCode)

	err := Error(&vendors.Error{Class: commands.ClassPermanent, Code: "refused", RetryAfter: 7, Err: errors.New("张三\n6222000000000000000 " + strings.Repeat("x", 5000))}, command())
	require.Equal(t, commands.ClassPermanent, vendors.ClassOf(err))
	require.Equal(t, "refused", vendors.CodeOf(err))
	typed, ok := errors.AsType[*vendors.Error](err)
	require.True(t, ok)
	require.EqualValues(t, 7, typed.RetryAfter)
	for e := err; e != nil; e = errors.Unwrap(e) {
		require.NotContains(t, e.Error(), "张三")
		require.NotContains(t, e.Error(), "6222")
		require.NotContains(t, e.Error(), "\n")
		require.Less(t, len(e.Error()), 400)
	}
	require.Equal(t, "unclassified", vendors.CodeOf(Error(&vendors.Error{Code: "Card 6222!", Err: errors.New("x")}, command())))
	require.Equal(t, "unclassified", vendors.CodeOf(Error(errors.New("x"), command())))
	require.NotPanics(t, func() { _ = Error(&vendors.Error{Code: "bare"}, command()).Error() })
	require.NoError(t, Error(nil, command()))
}

// FuzzReply: whatever a vendor says, what leaves is text, bounded, free of what a terminal acts on, encodes, and is clean.
func FuzzReply(f *testing.F) {
	f.Add("pay_order_no", "P20240101000001234567", "余额不足", `{"a":[{"b":"6222021234567890128"}]}`, "张三")
	f.Add("x\n", "4111 1111 1111 1111 ,4111111111111111", "\x1b[31m\u202e", `"\ud800"`, "**")
	f.Add("a", strings.Repeat("1-", 200), strings.Repeat("长", 300), `[1e5,null,true]`, "1-1-")
	f.Add("a", strings.Repeat("1-", 100)+" "+strings.Repeat("-1", 100), "", "[]", "1-1-")
	f.Add("b", "A 1", "a*1", "{", "*")
	f.Fuzz(func(t *testing.T, name, value, message, extra, person string) {
		body, err := json.Marshal(map[string]string{"name": person})
		require.NoError(t, err)
		c := commands.Command{Key: "K", Body: body}
		given := commands.Reply{
			Code: value, Message: message, Fields: map[string]string{name: value, "v": message},
			Extra: map[string]json.RawMessage{name: json.RawMessage(extra), "w": json.RawMessage(extra)},
		}
		out := Reply(given, c)
		require.LessOrEqual(t, utf8.RuneCountInString(out.Code), maxCode)
		requireReadable(t, out.Code, out.Message)
		for name, v := range out.Fields {
			require.LessOrEqual(t, utf8.RuneCountInString(v), MaxText)
			require.True(t, isName(name))
			requireReadable(t, v)
		}
		encoded, err := json.Marshal(out)
		require.NoError(t, err)
		require.LessOrEqual(t, len(encoded), 256<<10)
		for _, raw := range out.Extra {
			var tree any
			require.NoError(t, json.Unmarshal(raw, &tree))
			requireReadableTree(t, tree)
		}
		require.Equal(t, out, Reply(out, c), "cleaning twice changes the reply")
		err = Error(&vendors.Error{Code: value, Err: errors.New(message)}, c)
		requireReadable(t, err.Error())
	})
}

func requireReadable(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.True(t, utf8.ValidString(text))
		for _, r := range text {
			require.False(t, unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029', "%q", text)
		}
	}
}

func requireReadableTree(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case string:
		requireReadable(t, v)
	case []any:
		for _, inner := range v {
			requireReadableTree(t, inner)
		}
	case map[string]any:
		for name, inner := range v {
			require.True(t, isName(name))
			requireReadableTree(t, inner)
		}
	}
}

func TestHalvesOfCharacters(t *testing.T) {
	t.Parallel()
	reply := Reply(commands.Reply{
		Fields: map[string]string{"f": "a\xed\xa0\x80b"}, Extra: map[string]json.RawMessage{"f": json.RawMessage(`"a\ud800b"`)},
	}, command())
	require.Equal(t, "a\uFFFDb", reply.Fields["f"])
	require.Equal(t, `"a`+"\uFFFD"+`b"`, string(reply.Extra["f"]))
}

func BenchmarkReply(b *testing.B) {
	reply := commands.Reply{Status: commands.StatusSucceeded, Code: "1", Message: "", Fields: map[string]string{
		"pay_order_no": "P20240101000001234567", "pay_type": "101", "pay_status": "success", "pay_time": "2024-01-01 12:00:00",
	}}
	c := command()
	b.ReportAllocs()
	for b.Loop() {
		_ = Reply(reply, c)
	}
}
