package daxpay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// Stable codes of answers that came whole but are no answer, and of commands that were not sent.
const (
	CodeInvalid       = "invalid_command"
	CodeBuild         = "request_not_built"
	CodeUnreadable    = "unreadable_reply"
	CodeBadSignature  = "bad_signature"
	CodeWrongReceiver = "reply_names_another_receiver"
	// CodeAuth: the server refused our signature. Secret, sign type or nonceStr do not fit this installation.
	CodeAuth = "auth_refused"
	// CodeTime: the server refused our reqTime. The clocks differ, or the request was on its way for too long.
	CodeTime = "request_out_of_time"
	// CodeSystem: the server failed (10001).
	CodeSystem = "vendor_system_error"
	// CodeOther: a code for which no meaning is settled, such as 20023 (interface switched off).
	CodeOther = "unknown_vendor_code"
)

// The server's top-level codes that are told apart (spec page, section 3).
const (
	topOK          = 0
	topSystem      = 10001
	topUnreadable  = 10005
	topInvalid     = 10006
	topOldFailure  = 20000
	topBadSign     = 20052
	oldSignWords   = "未通过签名验证"
	expiredWords   = "请求已过期"
	fromFutureWord = "请求时间晚于"
)

// answer is a decoded envelope: {"msg": …, "code": …, "data": …, "traceId": …}. Only data is signed.
type answer struct {
	code    int
	message string
	// data is nil when the server sent none.
	data object
	// trace finds the request in the server's log.
	trace string
}

// decodeAnswer reads an envelope. Its errors hold nothing of the reply.
func decodeAnswer(body []byte) (answer, error) {
	fields, err := readObject(body)
	if err != nil {
		return answer{}, fmt.Errorf("the reply: %w", err)
	}
	var a answer
	if a.code, err = number(fields["code"]); err != nil {
		return answer{}, fmt.Errorf("the reply's code: %w", err)
	}
	a.message, _ = scalar(fields["msg"])
	a.trace, _ = scalar(fields["traceId"])
	if kindOf(fields["data"]) == isNull {
		return a, nil
	}
	if a.data, err = readObject(fields["data"]); err != nil {
		return answer{}, fmt.Errorf("the reply's data: %w", err)
	}
	return a, nil
}

// number reads a code, which some versions write as a string.
func number(raw json.RawMessage) (int, error) {
	text, ok := scalar(raw)
	if !ok {
		return 0, errors.New("is no number")
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, errors.New("is no number")
	}
	return n, nil
}

// translate says what an answer to q means. valid reports whether a data object's signature is right; clean makes the
// server's free text fit to leave; full lets accounts and names leave unmasked.
func (a answer) translate(q Query, valid func(object) bool, clean func(string) string, full bool) (commands.Reply, error) {
	switch {
	case a.code != topOK && a.data != nil:
		return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply has both an error code and data")
	case a.code != topOK:
		return a.refusal(clean)
	case a.data == nil:
		return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply says code 0 but holds no data")
	case !valid(a.data):
		return commands.Reply{}, wire.Unreadable(CodeBadSignature, "the reply's data is not signed, or not with our "+
			"secret and sign type"+a.traced(clean))
	}
	code, err := number(a.data["code"])
	if err != nil {
		return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply's data.code is no number")
	}
	message, _ := scalar(a.data["msg"])
	reply := commands.Reply{Status: commands.StatusFailed, Code: strconv.Itoa(code), Message: clean(message)}
	if code != 0 {
		return reply, nil
	}
	found, err := readReceivers(a.data["receivers"])
	if err != nil {
		return commands.Reply{}, wire.Unreadable(CodeUnreadable, err.Error())
	}
	for i, r := range found {
		if !r.answers(q) {
			return commands.Reply{}, wire.Unreadable(CodeWrongReceiver, "the reply names a receiver of another channel or "+
				"number than asked for")
		}
		found[i] = r.shown(full)
	}
	if full {
		reply.Open = []string{"receiverAccount", "receiverName"}
	}
	return answered(reply, found)
}

// answered completes a reply with the receivers found. Of more than a result has room for the first are told, and the
// others counted.
func answered(reply commands.Reply, found []receiver) (commands.Reply, error) {
	unfit := wire.Unreadable(CodeUnreadable, "the reply's receivers cannot be passed on")
	told, err := fitting(found)
	if err != nil {
		return commands.Reply{}, unfit
	}
	list, err := encode(told)
	if err != nil {
		return commands.Reply{}, unfit
	}
	reply.Status, reply.Extra = commands.StatusSucceeded, map[string]json.RawMessage{"receivers": list}
	if len(told) < len(found) {
		reply.LeftOut = []string{"receivers"}
		reply.Fields = map[string]string{
			"receivers_found": strconv.Itoa(len(found)), "receivers_told": strconv.Itoa(len(told)),
		}
	}
	return reply, nil
}

// refusal is what an unsigned error says. Anyone on the way could have made it up, so it never says that somebody does
// or does not exist.
func (a answer) refusal(clean func(string) string) (commands.Reply, error) {
	failed := func(class commands.Class, code, text string) (commands.Reply, error) {
		return commands.Reply{}, &vendors.Error{
			Class: class, Code: code,
			Err: fmt.Errorf("%s: code %d, %s%s", text, a.code, clean(a.message), a.traced(clean)),
		}
	}
	switch {
	case a.code == topBadSign, a.code == topOldFailure && strings.Contains(a.message, oldSignWords):
		return failed(commands.ClassPermanent, CodeAuth, "the server refused our signature; compare secret, sign type "+
			"and nonceStr with its version and settings")
	case a.code == topInvalid && (strings.Contains(a.message, expiredWords) || strings.Contains(a.message, fromFutureWord)):
		return failed(commands.ClassRetryable, CodeTime, "the server refused our reqTime; compare the clocks")
	case a.code == topUnreadable, a.code == topInvalid:
		return commands.Reply{
			Status: commands.StatusFailed, Code: strconv.Itoa(a.code), Message: clean(a.message),
		}, nil
	case a.code == topSystem:
		return failed(commands.ClassUnknown, CodeSystem, "the server failed")
	}
	return failed(commands.ClassUnknown, CodeOther, "the server answered with an error that is not known")
}

func (a answer) traced(clean func(string) string) string {
	if a.trace == "" {
		return ""
	}
	return " (traceId " + clean(a.trace) + ")"
}
