package withhold

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Code is what every text message of this gateway says.
const Code = "123456"

// Tie is one text message that the gateway sent for pre-tied-card: one line of its second ledger. It holds no personal
// data but what a test needs to tell messages apart.
type Tie struct {
	UA        string
	RequestID string
	PayType   string
	// UniqueCode stands for the message in the next step.
	UniqueCode string
	// Protocol is the protocol_no once the card is tied.
	Protocol string
	// Tries are the confirmations that named this message.
	Tries int

	card string
}

// Ties returns all text messages in the order in which they were sent. Two of one request are one too many.
func (g *Gateway) Ties() []Tie {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Tie, len(g.ties))
	for i, t := range g.ties {
		out[i] = *t
	}
	return out
}

// Messages is how many text messages a request caused.
func (g *Gateway) Messages(requestID string) int {
	n := 0
	for _, t := range g.Ties() {
		if t.RequestID == requestID {
			n++
		}
	}
	return n
}

// Submissions is how many requests of a method came for a requestId, lost and refused ones included.
func (g *Gateway) Submissions(method, requestID string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cardAttempts[method+"/"+requestID]
}

// card reads the parameters of a card method and acts on them.
func (c call) card(plain []byte, act func(call, map[string]any), required ...string) {
	p, err := readParams(plain, required...)
	if err != nil {
		c.g.complain(c.w, err)
		return
	}
	c.order = "-"
	act(c, p)
}

// cardPlan counts a submission of a card method and returns its fate.
func (g *Gateway) cardPlan(c call) Plan {
	c.wait(g.config.Latency)
	c.gate("act")
	g.mu.Lock()
	g.cardAttempts[c.method+"/"+c.id]++
	attempt := g.cardAttempts[c.method+"/"+c.id]
	g.mu.Unlock()
	plan := g.config.CardScript(c.method, c.id, attempt)
	if plan.DropRequest {
		c.drop()
	}
	if plan.Slow > 0 {
		c.wait(plan.Slow)
		c.gate("wake")
	}
	return plan
}

// prebind acts on pre-tied-card: each one that is not refused sends a text message.
func (g *Gateway) prebind(c call, p map[string]any) {
	plan := g.cardPlan(c)
	if plan.Refuse != "" {
		c.refuse(plan.Refuse)
		return
	}
	g.mu.Lock()
	t := &Tie{
		UA: c.ua, RequestID: c.id, PayType: text(p, "pay_type"), card: text(p, "bank_card_number"),
		UniqueCode: digest("U", c.ua, c.id, fmt.Sprint(g.cardAttempts[c.method+"/"+c.id])),
	}
	g.ties = append(g.ties, t)
	g.mu.Unlock()
	c.answer(plan, map[string]any{"unique_code": t.UniqueCode})
}

// confirm acts on confirm-tied-card: the right code for a message that was sent ties the card of that message, once.
func (g *Gateway) confirm(c call, p map[string]any) {
	plan := g.cardPlan(c)
	if plan.Refuse != "" {
		c.refuse(plan.Refuse)
		return
	}
	protocol, why := g.tie(c.ua, p)
	if why != "" {
		c.refuse(why)
		return
	}
	c.answer(plan, map[string]any{"protocol_no": protocol})
}

// tie ties a card, or says why not.
func (g *Gateway) tie(ua string, p map[string]any) (protocol, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.ties, func(t *Tie) bool { return t.UA == ua && t.UniqueCode == p["unique_code"] })
	if i < 0 {
		return "", "签约唯一码不存在"
	}
	t := g.ties[i]
	t.Tries++
	switch {
	case t.Protocol != "":
		return "", "签约唯一码已使用"
	case t.card != p["bank_card_number"] || t.PayType != p["pay_type"]:
		return "", "银行卡号或签约支付类型与预绑卡不一致"
	case p["verification_code"] != Code:
		return "", "验证码错误"
	}
	t.Protocol = digest("X", t.UniqueCode)
	return t.Protocol, ""
}

// digest makes a number that depends on nothing but what it stands for, so that a simulation may be repeated.
func digest(letter string, of ...string) string {
	sum := md5.Sum([]byte(strings.Join(of, "/")))
	return letter + hex.EncodeToString(sum[:10])
}
