package daxpay

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// bean is the parameter object of the server: texts by their names, null when absent.
type bean struct {
	fields  map[string]string
	unknown []string
	reqTime time.Time
}

// fieldNames are those of the server's class; 2.0.7 has no nonceStr.
func fieldNames(v Version) []string {
	names := []string{"channel", "clientIp", "receiverNo", "reqTime", "sign"}
	if v == V208 {
		names = append(names, "nonceStr")
	}
	return names
}

// readBean reads a request as Jackson does: scalars become texts, nulls vanish, unknown fields do no harm.
func readBean(body []byte) (bean, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var raw map[string]any
	if err := dec.Decode(&raw); err != nil || raw == nil {
		return bean{}, errors.New("no JSON object")
	}
	b := bean{fields: map[string]string{}}
	for name, value := range raw {
		if !slices.Contains(fieldNames(V208), name) {
			b.unknown = append(b.unknown, name)
			continue
		}
		switch value := value.(type) {
		case nil:
		case string:
			b.fields[name] = value
		case json.Number, bool:
			b.fields[name] = fmt.Sprint(value)
		default:
			return bean{}, errors.New("a list or an object where a text belongs")
		}
	}
	if text, ok := b.fields["reqTime"]; ok {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return bean{}, errors.New("reqTime is no number of seconds")
		}
		b.reqTime = time.Unix(seconds, 0)
		b.fields["reqTime"] = strconv.FormatInt(seconds, 10)
	}
	return b, nil
}

func (b bean) get(name string) string { return b.fields[name] }

func (b bean) blank(name string) bool { return strings.TrimSpace(b.fields[name]) == "" }

// odd are the fields that this version does not know. The server does not mind; whoever sent them should.
func (b bean) odd(v Version) []string {
	odd := slices.Clone(b.unknown)
	if _, ok := b.fields["nonceStr"]; ok && v == V207 {
		odd = append(odd, "nonceStr")
	}
	slices.Sort(odd)
	return odd
}

func (b bean) query() Query {
	return Query{
		Channel: b.get("channel"), ReceiverNo: b.get("receiverNo"), ClientIP: b.get("clientIp"),
		NonceStr: b.get("nonceStr"), Sign: b.get("sign"), ReqTime: b.get("reqTime"),
	}
}

// broken are the texts of the validation rules that the bean breaks.
func (b bean) broken(v Version) []string {
	var texts []string
	for _, rule := range []struct {
		name string
		max  int
		text string
	}{
		{"clientIp", 64, "客户端ip不可超过64位"},
		{"nonceStr", 32, "随机数不可超过32位"},
		{"sign", 64, "签名不可超过64位"},
	} {
		if v == V208 && len(utf16.Encode([]rune(b.get(rule.name)))) > rule.max {
			texts = append(texts, rule.text)
		}
	}
	if !b.blank("clientIp") && net.ParseIP(b.get("clientIp")) == nil {
		texts = append(texts, "IP地址格式不正确")
	}
	if _, ok := b.fields["reqTime"]; !ok {
		texts = append(texts, "请求时间必填")
	}
	if v == V208 && b.blank("channel") && b.blank("receiverNo") {
		texts = append(texts, "所属通道和接收方编号不可同时为空")
	}
	return texts
}

// signed are the bean's fields without sign, as this version knows them; null is absent.
func (b bean) signed(v Version) map[string]string {
	out := map[string]string{}
	for _, name := range fieldNames(v) {
		if text, ok := b.fields[name]; ok && name != "sign" {
			out[name] = text
		}
	}
	return out
}

// signature joins the fields in ascending order, deletes quotes and backslashes, appends the secret, digests.
func signature(fields map[string]string, kind, secret string) string {
	var pairs []string
	for name, text := range fields {
		pairs = append(pairs, name+"="+text)
	}
	// No name is the beginning of another one, so the pairs sort as the names do.
	slices.Sort(pairs)
	link := strings.NewReplacer("\\", "", "\"", "").Replace(strings.Join(pairs, "&")) + "&key=" + secret
	if kind == "MD5" {
		digest := md5.Sum([]byte(link))
		return hex.EncodeToString(digest[:])
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(link))
	return hex.EncodeToString(mac.Sum(nil))
}

// result is the data object of an answer.
type result struct {
	code      int
	msg       string
	resTime   int64
	list      bool
	receivers []Receiver
}

// json writes the object as the server's Jackson does, nulls included, with its signature.
func (r result) json(c Config, plan Plan) string {
	fields := map[string]string{"code": strconv.Itoa(r.code), "resTime": strconv.FormatInt(r.resTime, 10)}
	if r.msg != "" {
		fields["msg"] = r.msg
	}
	if len(r.receivers) > 0 {
		var items []string
		for _, one := range r.receivers {
			items = append(items, one.signed())
		}
		fields["receivers"] = "[" + strings.Join(items, ",") + "]"
	}
	secret := c.Secret
	if plan.WrongSign {
		secret += "-of-someone-else"
	}
	sign := quoted(signature(fields, c.SignType, secret))
	if plan.Unsigned {
		sign = "null"
	}
	out := fmt.Sprintf(`{"code":%d,"msg":%s,"resTime":%d,"sign":%s`, r.code, orNull(r.msg), r.resTime, sign)
	if r.list {
		var items []string
		for _, one := range r.receivers {
			items = append(items, one.json())
		}
		out += `,"receivers":[` + strings.Join(items, ",") + "]"
	}
	return out + "}"
}

// members are the receiver's fields in the order of their names.
func (r Receiver) members() [][2]string {
	return [][2]string{
		{"channel", r.Channel}, {"receiverAccount", r.ReceiverAccount}, {"receiverName", r.ReceiverName},
		{"receiverNo", r.ReceiverNo}, {"receiverType", r.ReceiverType}, {"relationName", r.RelationName},
		{"relationType", r.RelationType},
	}
}

// signed is the receiver as it stands in the text that is signed, before quotes and backslashes are deleted from that.
func (r Receiver) signed() string {
	var parts []string
	for _, m := range r.members() {
		if m[1] != "" {
			parts = append(parts, m[0]+":"+hutool(m[1]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// hutool escapes what the server's JSON library escapes, in UTF-16 units.
func hutool(text string) string {
	named := map[uint16]string{'\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`}
	var out []uint16
	for _, u := range utf16.Encode([]rune(text)) {
		name, ok := named[u]
		switch {
		case ok:
			out = append(out, utf16.Encode([]rune(name))...)
		case u < 0x20, u >= 0x80 && u <= 0xa0, u >= 0x2000 && u <= 0x2010, u >= 0x2028 && u <= 0x202f, u >= 0x2066 && u <= 0x206f:
			out = append(out, utf16.Encode([]rune(fmt.Sprintf(`\u%04x`, u)))...)
		default:
			out = append(out, u)
		}
	}
	return string(utf16.Decode(out))
}

// json is the receiver as it is sent, its fields in declared order.
func (r Receiver) json() string {
	return fmt.Sprintf(`{"receiverNo":%s,"channel":%s,"receiverType":%s,"receiverAccount":%s,"receiverName":%s,`+
		`"relationType":%s,"relationName":%s}`, orNull(r.ReceiverNo), orNull(r.Channel), orNull(r.ReceiverType),
		orNull(r.ReceiverAccount), orNull(r.ReceiverName), orNull(r.RelationType), orNull(r.RelationName))
}
