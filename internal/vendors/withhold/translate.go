package withhold

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/jsonobject"
	"paydispatch/internal/vendors/wire"
)

// Stable codes of replies that came whole but prove nothing, and of commands that were not sent.
const (
	CodeInvalid    = "invalid_command"
	CodeBuild      = "request_not_built"
	CodeUnreadable = "unreadable_reply"
	CodeNoResponse = "reply_without_order"
	CodeWrongOrder = "reply_names_another_order"
	CodePayStatus  = "unknown_pay_status"
	CodeAskRefused = "ask_refused"
)

// answer is a decoded reply of the gateway: {"status": …, "message": …, "response": …}.
type answer struct {
	// status is the outer status: 1 says that the request was accepted, a negative one that it was not.
	status  int
	message string
	// response is nil when the gateway sent nothing ([], null, "" or no member at all).
	response object
}

// decodeAnswer reads a reply liberally, since gateways of this family write status as "1", 1, "-1" or -1, and response
// as an object, [], null, "" or JSON in a string. What it cannot read is an error, free of the reply's content.
func decodeAnswer(body []byte) (answer, error) {
	fields, err := jsonobject.Read(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if err != nil {
		return answer{}, fmt.Errorf("the reply: %w", err)
	}
	text, ok := scalar(fields["status"])
	if !ok {
		return answer{}, errors.New("the reply's status is no number")
	}
	status, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return answer{}, errors.New("the reply's status is no number")
	}
	message, ok := scalar(fields["message"])
	if !ok {
		message = string(fields["message"])
	}
	response, err := decodeResponse(fields["response"], true)
	if err != nil {
		return answer{}, err
	}
	return answer{status: status, message: message, response: response}, nil
}

// decodeResponse reads the inner part; text says whether JSON in a string may be unpacked.
func decodeResponse(raw json.RawMessage, text bool) (object, error) {
	bad := errors.New("the reply's response is neither an object nor empty")
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, nil
	}
	switch raw[0] {
	case '{':
		fields, err := jsonobject.Read(raw)
		if err != nil || len(fields) == 0 {
			return nil, err
		}
		return fields, nil
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil || len(items) > 1 {
			return nil, bad
		}
		if len(items) == 0 {
			return nil, nil
		}
		if items[0] = bytes.TrimSpace(items[0]); items[0][0] != '{' {
			return nil, bad
		}
		return decodeResponse(items[0], false)
	case '"':
		var inner string
		if json.Unmarshal(raw, &inner) != nil || inner != "" && !text {
			return nil, bad
		}
		return decodeResponse([]byte(inner), false)
	}
	if string(raw) == "null" {
		return nil, nil
	}
	return nil, bad
}

// replyFields are the members of response that reach the result, under the vendor's names.
var replyFields = []string{"pay_order_no", "pay_type", "pay_status", "pay_time", "channel_response"}

// orderReply translates an accepted answer about one order. Only an answer that names our order counts.
func (a answer) orderReply(order string, clean scrubber) (commands.Reply, error) {
	if a.response == nil {
		return commands.Reply{}, wire.Unreadable(CodeNoResponse, "the reply says status 1 but holds no order")
	}
	named, ok := scalar(a.response["biz_order_no"])
	if !ok || named != order {
		return commands.Reply{}, wire.Unreadable(CodeWrongOrder, "the reply does not name our biz_order_no")
	}
	values := make(map[string]string, len(replyFields))
	for _, name := range replyFields {
		text, ok := scalar(a.response[name])
		if !ok {
			// Gateways put whole objects into channel_response; elsewhere they make the reply unreadable.
			if name != "channel_response" {
				return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply's "+name+" is not a plain value")
			}
			text = string(a.response[name])
		}
		values[name] = text
	}
	return translate(strconv.Itoa(a.status), a.message, values, clean)
}

// translate maps a pay_status and carries the other values over. values hold the members of replyFields.
func translate(code, message string, values map[string]string, clean scrubber) (commands.Reply, error) {
	status := translateStatus(values["pay_status"])
	if status == commands.StatusUnclear {
		return commands.Reply{}, wire.Unreadable(CodePayStatus, "the reply's pay_status is none of success, fail, "+
			"initial, pending, wait_pay")
	}
	fields := maps.Clone(values)
	fields["channel_response"] = clean(values["channel_response"])
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "" })
	return commands.Reply{
		Status: status, Code: code, Message: clean(message), Fields: fields,
	}, nil
}

// translateStatus maps pay_status (seed 001; wait_pay in the query only), StatusUnclear for any other word.
func translateStatus(payStatus string) commands.Status {
	switch payStatus {
	case "success":
		return commands.StatusSucceeded
	case "fail":
		return commands.StatusFailed
	case "initial", "pending", "wait_pay":
		return commands.StatusPending
	}
	return commands.StatusUnclear
}

// refusal is the reply to a submission that was not accepted. It is no proof that no debit exists.
func (a answer) refusal(status commands.Status, clean scrubber) commands.Reply {
	return commands.Reply{
		Status: status, Code: strconv.Itoa(a.status), Message: clean(a.message),
	}
}

// sendReply translates the reply to single-withhold.
func (a answer) sendReply(order string, clean scrubber) (commands.Reply, error) {
	switch {
	case a.status == 1:
		return a.orderReply(order, clean)
	case a.status < 0:
		return a.refusal(commands.StatusRefused, clean), nil
	}
	return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply's status is neither 1 nor negative")
}

// askReply translates the reply to single-order-query.
func (a answer) askReply(order string, missing wordings, clean scrubber) (commands.Reply, error) {
	switch {
	case a.status == 1:
		return a.orderReply(order, clean)
	case a.status < 0 && a.response == nil && missing.match(a.message):
		return a.refusal(commands.StatusMissing, clean), nil
	case a.status < 0:
		return commands.Reply{}, wire.Unreadable(CodeAskRefused, fmt.Sprintf("the gateway refused the query with "+
			"status %d: %s", a.status, clean(a.message)))
	}
	return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply's status is neither 1 nor negative")
}

// wordings recognise "no such order".
type wordings []*regexp.Regexp

// compileWordings reads settings: a text between slashes is a regular expression that may match anywhere, any other
// text must be the whole message. No settings: nothing matches, so an order is never taken for missing.
func compileWordings(settings []string) (wordings, error) {
	var (
		out  wordings
		errs []error
	)
	for i, text := range settings {
		pattern := `\A` + regexp.QuoteMeta(strings.TrimSpace(text)) + `\z`
		if len(text) > 2 && strings.HasPrefix(text, "/") && strings.HasSuffix(text, "/") {
			pattern = text[1 : len(text)-1]
		}
		re, err := regexp.Compile(pattern)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("missing wording %d: %w", i+1, err))
		case re.MatchString(""):
			errs = append(errs, fmt.Errorf("missing wording %d: it matches an empty message", i+1))
		default:
			out = append(out, re)
		}
	}
	return out, errors.Join(errs...)
}

func (w wordings) match(message string) bool {
	message = strings.TrimSpace(message)
	return slices.ContainsFunc(w, func(re *regexp.Regexp) bool { return re.MatchString(message) })
}
