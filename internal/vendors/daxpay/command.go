package daxpay

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"paydispatch/internal/commands"
)

// Query is a decoded alloc.receiver.query command, under the vendor's own names. What the command does not name is nil;
// an empty text is something else, since the vendor signs it.
type Query struct {
	RequestID  string
	Channel    *string
	ReceiverNo *string
	ClientIP   *string
	Account    string
}

// DecodeQuery reads a command's body. All problems are reported together; no error holds a value of the body.
func DecodeQuery(body commands.Body) (Query, error) {
	fields, err := readObject(body)
	if err != nil {
		return Query{}, fmt.Errorf("the command: %w", err)
	}
	in := queryReader{fields: fields}
	q := Query{
		Channel: in.text("channel"), ReceiverNo: in.text("receiverNo"), ClientIP: in.text("clientIp"),
	}
	if id := in.text("requestId"); id == nil || *id == "" {
		in.problem("requestId", "is missing")
	} else {
		q.RequestID = *id
	}
	if account := in.text("account"); account != nil {
		q.Account = *account
	}
	in.unknown()
	// A server of 2.0.8 refuses it, with code 10006, after a round trip.
	if blank(q.Channel) && blank(q.ReceiverNo) {
		in.problem("channel, receiverNo", "at least one of them is needed, and blank ones do not count")
	}
	if !blank(q.ClientIP) && !isAddress(*q.ClientIP) {
		in.problem("clientIp", "must be an IPv4 or IPv6 address")
	}
	if err := errors.Join(in.problems...); err != nil {
		return Query{}, err
	}
	return q, nil
}

func blank(text *string) bool { return text == nil || strings.TrimSpace(*text) == "" }

func isAddress(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Zone() == ""
}

// queryReader takes fields out of a command and gathers what is wrong with them.
type queryReader struct {
	fields   object
	taken    []string
	problems []error
}

func (r *queryReader) problem(field, text string) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", field, text))
}

// text returns a string field, nil if it is absent.
func (r *queryReader) text(name string) *string {
	r.taken = append(r.taken, name)
	raw, ok := r.fields[name]
	if !ok {
		return nil
	}
	var text string
	if kindOf(raw) != isString || json.Unmarshal(raw, &text) != nil {
		r.problem(name, "must be a string")
		return nil
	}
	return &text
}

// unknown refuses fields that nobody took. A name may be data in the wrong place, so only short plain ones are named.
func (r *queryReader) unknown() {
	var extra []string
	for name := range r.fields {
		if !slices.Contains(r.taken, name) {
			extra = append(extra, plainName(name))
		}
	}
	slices.Sort(extra)
	for _, name := range extra {
		r.problem(name, "is not a field of this command")
	}
}

func plainName(name string) string {
	plain := strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
	if !plain || len(name) > 40 {
		return "(a field with an unusual name)"
	}
	return name
}

// request is the posted body. Its members stand in the order in which the vendor's own client writes them.
type request struct {
	Channel    *string `json:"channel,omitempty"`
	ReceiverNo *string `json:"receiverNo,omitempty"`
	ClientIP   *string `json:"clientIp,omitempty"`
	Sign       string  `json:"sign,omitempty"`
	// ReqTime is in Unix seconds.
	ReqTime  int64  `json:"reqTime"`
	NonceStr string `json:"nonceStr,omitempty"`
}

// seal returns the signed body. What is signed is read back from what will be sent, so the two cannot differ.
func (q Query) seal(t SignType, secret Secret, reqTime int64, nonce string) ([]byte, error) {
	r := request{
		Channel: q.Channel, ReceiverNo: q.ReceiverNo, ClientIP: q.ClientIP, ReqTime: reqTime, NonceStr: nonce,
	}
	unsigned, err := encode(r)
	if err != nil {
		return nil, err
	}
	fields, err := readObject(unsigned)
	if err != nil {
		return nil, err
	}
	if r.Sign, err = sign(fields, t, secret); err != nil {
		return nil, err
	}
	return encode(r)
}
