package daxpay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"paydispatch/internal/vendors/scrub"
)

// receiver is one receiver of the answer, under the vendor's names. All are texts (the seed's number for relationName
// is wrong; a number is taken as its digits), and any may be null.
type receiver struct {
	ReceiverNo      *string `json:"receiverNo"`
	Channel         *string `json:"channel"`
	ReceiverType    *string `json:"receiverType"`
	ReceiverAccount *string `json:"receiverAccount"`
	ReceiverName    *string `json:"receiverName"`
	RelationType    *string `json:"relationType"`
	RelationName    *string `json:"relationName"`
}

// Format implements fmt.Formatter: the server sends accounts and names in plain text.
func (receiver) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

var errReceivers = errors.New("the answer's receivers are not a list of receivers")

// readReceivers reads the list; null and absence are no list, the server sends [] when it finds nobody.
func readReceivers(raw json.RawMessage) ([]receiver, error) {
	var items []json.RawMessage
	if kindOf(raw) != isList || json.Unmarshal(raw, &items) != nil {
		return nil, errReceivers
	}
	out := make([]receiver, 0, len(items))
	for _, item := range items {
		fields, err := readObject(item)
		if err != nil {
			return nil, errReceivers
		}
		var r receiver
		for name, to := range map[string]**string{
			"receiverNo": &r.ReceiverNo, "channel": &r.Channel, "receiverType": &r.ReceiverType,
			"receiverAccount": &r.ReceiverAccount, "receiverName": &r.ReceiverName,
			"relationType": &r.RelationType, "relationName": &r.RelationName,
		} {
			text, ok := scalar(fields[name])
			if !ok {
				return nil, errReceivers
			}
			if kindOf(fields[name]) != isNull {
				*to = &text
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// answers reports whether the receiver is one that the query asked for. The server's database compares without regard to
// case and to blanks at the end; a value that it does not give contradicts nothing.
func (r receiver) answers(q Query) bool {
	same := func(asked, got *string) bool {
		return blank(asked) || blank(got) ||
			strings.EqualFold(strings.TrimRight(*asked, " "), strings.TrimRight(*got, " "))
	}
	return same(q.Channel, r.Channel) && same(q.ReceiverNo, r.ReceiverNo)
}

// shown is the receiver as it may leave: account and name masked unless full, the free text scrubbed, nothing endless.
func (r receiver) shown(full bool) receiver {
	change := func(text *string, f func(string) string) *string {
		if text == nil || *text == "" {
			return text
		}
		changed := f(*text)
		return &changed
	}
	for _, text := range []**string{
		&r.ReceiverNo, &r.Channel, &r.ReceiverType, &r.ReceiverAccount, &r.ReceiverName, &r.RelationType,
	} {
		*text = change(*text, scrub.Bound)
	}
	if !full {
		r.ReceiverAccount = change(r.ReceiverAccount, maskAccount)
		r.ReceiverName = change(r.ReceiverName, func(string) string { return "***" })
	}
	r.RelationName = change(r.RelationName, func(text string) string { return scrub.Text(text) })
	return r
}

// maskAccount leaves the last four characters of an account of more than eight: enough to tell one from another.
func maskAccount(account string) string {
	runes := []rune(account)
	if len(runes) <= 8 {
		return "****"
	}
	return "****" + string(runes[len(runes)-4:])
}

// maxListBytes bounds the list that is told, as results write it; what is told must fit beside the rest of a result.
const maxListBytes = 96 << 10

// fitting returns the receivers from the beginning that a result has room for.
func fitting(all []receiver) ([]receiver, error) {
	size := 0
	for i, r := range all {
		one, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if size += len(one) + 1; size > maxListBytes {
			return all[:i], nil
		}
	}
	return all, nil
}

// encode writes JSON with raw UTF-8, without the line end that an Encoder adds.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
