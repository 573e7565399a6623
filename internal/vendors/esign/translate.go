package esign

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/scrub"
	"paydispatch/internal/vendors/wire"
)

// Stable codes of answers that prove nothing, and of commands that were not sent.
const (
	CodeInvalid       = "invalid_command"
	CodeBuild         = "request_not_built"
	CodeUnreadable    = "unreadable_reply"
	CodeNoData        = "reply_without_data"
	CodeWrongFlow     = "reply_names_another_flow"
	CodeTrouble       = "operation_error"
	CodeNotConfigured = "app_not_configured"
	CodeBusiness      = "business_error"
	CodeOutline       = "outline_refused"
	CodeToken         = "token_not_given"
)

// Stable codes of the gateway's refusals (HTTP 401 and 403), which never reached the business.
const (
	CodeAuth          = "auth_refused"
	CodeAuthMissing   = "auth_missing_parameter"
	CodeAuthStrategy  = "auth_no_strategy"
	CodeAuthApp       = "auth_unknown_app"
	CodeAuthToken     = "auth_token"
	CodeAuthTimestamp = "auth_invalid_timestamp"
	CodeAuthSignature = "auth_invalid_signature"
	CodeAuthIP        = "auth_ip"
	CodeAuthForbidden = "auth_forbidden"
)

// Business codes with a meaning of their own (seed 000; 30500001 and 30500052 from the vendor's table of codes).
const (
	codeOK            = 0
	codeTrouble       = 30500000
	codeSubFlowFailed = 30500001
	codeFlowEnded     = 30500002
	codeExpired       = 30500003
	codeTriesUsedUp   = 30500052
	codeNotConfigured = 30500200
)

// Values of process (seed 000).
const (
	processFinished  = "ORGANFINISHED"
	processPayFailed = "PAY_FAILED"
)

// responseFields are the members of data (seed 000).
func responseFields() []string {
	return []string{
		"process", "message", "subAccount", "subAccountChannelName", "mainAccountName", "oppAccountNo", "oppAccountName",
		"oppBankName", "payAmount", "tradeTime", "createTime", "modifyTime", "bizFlowNo", "auditing",
		"authLetterAuditStatus",
	}
}

// answer is a decoded business answer: {"code": …, "message": …, "data": …}.
type answer struct {
	code int
	// message is scrubbed. It may change at any time, says the vendor, so nothing is judged by it.
	message string
	// data is nil when there is none.
	data object
}

// decodeAnswer reads an answer, code as a number or as digits in a string. What it cannot read is an error, free of the
// answer's content.
func decodeAnswer(body []byte, secrets []string) (answer, error) {
	fields, err := readObject(body)
	if err != nil {
		return answer{}, fmt.Errorf("the reply: %w", err)
	}
	text, there, _ := fields.text("code")
	code, err := strconv.Atoi(text)
	if !there || err != nil {
		return answer{}, errors.New("the reply's code is no number")
	}
	out := answer{code: code, message: scrub.Text(fields.word("message"), secrets...)}
	data := strings.TrimSpace(string(fields["data"]))
	if data == "" || data == "null" {
		return out, nil
	}
	if out.data, err = readObject([]byte(data)); err != nil {
		return answer{}, fmt.Errorf("the reply's data: %w", err)
	}
	return out, nil
}

// refused is the error of a request that the gateway did not let through. A read has no effect, so all that is proven
// is that this one was not answered.
func refused(res wire.Response, secrets []string) error {
	message := ""
	if fields, err := readObject(res.Body); err == nil {
		message = fields.word("message")
	}
	code := CodeAuth
	for _, known := range []struct{ part, code string }{
		{"缺少参数", CodeAuthMissing},
		{"AUTHSTRATEGY_NOT_FOUND", CodeAuthStrategy},
		{"无效的应用", CodeAuthApp},
		{"TOKEN错误", CodeAuthToken},
		{"TOKEN_CANT_BE_NULL", CodeAuthToken},
		{"INVALID_TIMESTAMP", CodeAuthTimestamp},
		{"INVALID_SIGNATURE", CodeAuthSignature},
		{"SIMPLE_MODE_CANT_PASS", CodeAuthSignature},
	} {
		if strings.Contains(message, known.part) {
			code = known.code
			break
		}
	}
	if res.Status == 403 {
		code = CodeAuthForbidden
		if strings.Contains(message, "IP") {
			code = CodeAuthIP
		}
	}
	return &vendors.Error{Code: code, Err: fmt.Errorf("the gateway refused the request with HTTP status %d: %s",
		res.Status, scrub.Text(message, secrets...))}
}

// step is what a poll does after the query.
type step uint8

const (
	// settled: the reply stands.
	settled step = iota
	// toConfirm: the outline has to say what became of the flow.
	toConfirm
)

// translate maps the query's answer.
func (c *Client) translate(ans answer, flow string) (commands.Reply, step, error) {
	switch {
	case ans.code == codeOK:
		return c.translateProcess(ans, flow)
	case ans.code == codeFlowEnded || ans.code == codeSubFlowFailed || ans.code == codeTriesUsedUp:
		reply := ans.businessReply(commands.StatusPending)
		// What was heard of process before is no longer so.
		reply.Extra = map[string]json.RawMessage{"process": json.RawMessage("null")}
		return reply, toConfirm, nil
	case slices.Contains(c.failed, ans.code):
		return ans.businessReply(commands.StatusFailed), settled, nil
	}
	return commands.Reply{}, settled, ans.unclear()
}

// businessReply is a reply made of a business code alone.
func (a answer) businessReply(s commands.Status) commands.Reply {
	return commands.Reply{Status: s, Code: strconv.Itoa(a.code), Message: a.message}
}

// unclear is the error of a business code that proves nothing about the flow.
func (a answer) unclear() error {
	code, what := CodeBusiness, "answered with a code that is not known to say anything about the flow"
	switch a.code {
	case codeTrouble:
		code, what = CodeTrouble, "reports an operation error"
	case codeNotConfigured:
		code, what = CodeNotConfigured, "does not find the application's configuration; ask e签宝 to set it up"
	}
	return wire.Unreadable(code, fmt.Sprintf("the vendor %s: code %d, %s", what, a.code, a.message))
}

// translateProcess maps an answer with code 0.
func (c *Client) translateProcess(ans answer, flow string) (commands.Reply, step, error) {
	if err := ans.about(flow); err != nil {
		return commands.Reply{}, settled, err
	}
	reply := commands.Reply{
		Status: commands.StatusPending, Code: strconv.Itoa(ans.code), Fields: map[string]string{},
		Extra: map[string]json.RawMessage{},
	}
	if c.showNumbers {
		reply.Open = []string{"subAccount", "oppAccountNo"}
	}
	for _, name := range responseFields() {
		text, there, readable := ans.data.text(name)
		switch {
		case !readable:
			return commands.Reply{}, settled, wire.Unreadable(CodeUnreadable, "the reply's "+name+" is not a plain value")
		case there:
			reply.Fields[name] = c.present(name, text, ans.data)
		default:
			reply.Extra[name] = json.RawMessage("null")
		}
	}
	process := reply.Fields["process"]
	if process == "" {
		return commands.Reply{}, settled, wire.Unreadable(CodeNoData, "the reply holds no process")
	}
	next, known := settled, true
	switch process {
	case processFinished:
		reply.Status = commands.StatusSucceeded
	case processPayFailed:
		next = toConfirm
	case "UNAVAILABLE", "INIT", "CREATED", "UN_RECEIVED":
	default:
		known = false
	}
	c.observe(process, known)
	return reply, next, nil
}

// about refuses an answer without data, and one that names another flow; the vendor documents no such member, but
// might add it.
func (a answer) about(flow string) error {
	if a.data == nil {
		return wire.Unreadable(CodeNoData, "the reply says code 0 but holds no data")
	}
	if named, there, readable := a.data.text("flowId"); !readable || there && named != flow {
		return wire.Unreadable(CodeWrongFlow, "the reply names another flow")
	}
	return nil
}

// present makes a value fit for results as far as only this adapter can: account numbers masked, secrets taken out of free
// texts. The rest is done for every vendor alike.
func (c *Client) present(name, text string, data object) string {
	switch name {
	case "subAccount", "oppAccountNo":
		if !c.showNumbers {
			return maskNumber(text)
		}
	case "message", "auditing":
		known := append([]string{data.word("subAccount"), data.word("oppAccountNo")}, c.secrets...)
		return scrub.Text(text, known...)
	}
	return text
}

// maskNumber keeps the last four characters of an account number, none of a short one.
func maskNumber(text string) string {
	runes := []rune(scrub.Bound(text))
	switch {
	case len(runes) == 0:
		return ""
	case len(runes) < 8:
		return "***"
	}
	return "***" + string(runes[len(runes)-4:])
}

// confirm completes a reply with the outline's word (its flowStatus is INIT, ING, SUCCESS or FAIL). An expired flow
// has failed; any other refusal leaves the matter open.
func (c *Client) confirm(reply commands.Reply, ans answer, flow string) (commands.Reply, error) {
	if ans.code == codeExpired {
		reply.Status, reply.Code, reply.Message = commands.StatusFailed, strconv.Itoa(ans.code), ans.message
		return reply, nil
	}
	if ans.code != codeOK {
		return commands.Reply{}, wire.Unreadable(CodeOutline, fmt.Sprintf("the outline was refused: code %d, %s",
			ans.code, ans.message))
	}
	if err := ans.about(flow); err != nil {
		return commands.Reply{}, err
	}
	status := ans.data.word("flowStatus")
	switch status {
	case "":
		return commands.Reply{}, wire.Unreadable(CodeNoData, "the outline holds no flowStatus")
	case "SUCCESS":
		reply.Status = commands.StatusSucceeded
	case "FAIL":
		reply.Status = commands.StatusFailed
	}
	if reply.Fields == nil {
		reply.Fields = map[string]string{}
	}
	reply.Fields["flowStatus"] = status
	if reason := ans.data.word("failReason"); reason != "" {
		reply.Fields["failReason"] = scrub.Text(reason, c.secrets...)
	}
	return reply, nil
}
