package sim

import (
	"bytes"
	"encoding/json"
	"strings"
)

// The vendor mixes up two orders: what it says in a reply, or in a callback, is about another one.

// crosses reports whether what a call brings can be about another debit. A question about an order that we do not have
// has nothing that its answer could be held against.
func crosses(c *call) bool {
	switch c.kind {
	case kindReply:
		return strings.Contains(c.name, " "+commandTopic)
	case kindCallback:
		return !strings.Contains(c.name, "forged") && !strings.HasPrefix(c.name, "callback F")
	}
	return true
}

// contrary is the end that an order did not come to.
func contrary(status string) string {
	if status == "success" {
		return "fail"
	}
	return "success"
}

// crossedReply is a reply with the contrary word about a debit of another kind.
func crossedReply(reply []byte) *bytes.Buffer {
	var r map[string]any
	must(json.Unmarshal(reply, &r))
	if response, ok := r["response"].(map[string]any); ok {
		status, _ := response["pay_status"].(string)
		response["pay_status"], response["pay_type"], response["pay_order_no"] = contrary(status), "102", "PX-1"
	}
	crossed, err := json.Marshal(r)
	must(err)
	return bytes.NewBuffer(crossed)
}

// crossedCallback is a callback to an order's own address with the contrary word about a debit of another kind.
func (w *world) crossedCallback(orderNo string) string {
	return callbackAbout(orderNo, "PX-1", "102", contrary(w.watch.ledger(orderNo).Status))
}
