package withhold

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// call is one request that passed the checks.
type call struct {
	g      *Gateway
	w      http.ResponseWriter
	r      *http.Request
	ua     string
	method string
	id     string
	order  string
}

// gate asks for permission to go on; without it the request ends here.
func (c call) gate(step string) {
	switch c.g.config.Gate(c.g.ctx, c.method+"/"+c.order+"/"+c.id+"/"+step) {
	case Drop:
		c.drop()
	case Hang:
		c.hang()
	}
}

// wait lets time pass; the request ends here if the gateway closes meanwhile.
func (c call) wait(d time.Duration) {
	if !c.g.sleep(d) {
		c.drop()
	}
}

// drop closes the connection without an answer; it does not return.
func (c call) drop() { panic(http.ErrAbortHandler) }

// hang says nothing until the client has left; it does not return.
func (c call) hang() {
	select {
	case <-c.r.Context().Done():
	case <-c.g.ctx.Done():
	}
	c.drop()
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.enter()()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	env, plain, err := g.check(r, body)
	if err != nil {
		g.complain(w, err)
		return
	}
	c := call{g: g, w: w, r: r, ua: env.UA, method: env.Method, id: env.RequestID}
	switch env.Method {
	case "single-withhold":
		p, err := readWithhold(plain)
		if err != nil {
			g.complain(w, err)
			return
		}
		c.order = p.BizOrderNo
		g.withhold(c, p)
	case "single-order-query":
		p, err := readParams(plain, "biz_order_no")
		if err != nil {
			g.complain(w, err)
			return
		}
		c.order = text(p, "biz_order_no")
		g.query(c)
	case "pre-tied-card":
		c.card(plain, g.prebind, "id_card_number", "bank_card_number", "mobile", "name", "pay_type")
	case "confirm-tied-card":
		c.card(plain, g.confirm, "verification_code", "unique_code", "bank_card_number", "pay_type")
	default:
		g.complain(w, refusal{"-7", "illegal request. method not exists."})
	}
}

// enter counts a request in; the returned function counts it out. After Close there is no service.
func (g *Gateway) enter() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	g.requests++
	g.work.Add(1)
	return g.work.Done
}

// withhold acts on one submission.
func (g *Gateway) withhold(c call, p withholdParams) {
	c.wait(g.config.Latency)
	c.gate("act")
	g.mu.Lock()
	g.attempts[c.order]++
	g.tried[account{c.ua, c.order}]++
	attempt := g.tried[account{c.ua, c.order}]
	g.mu.Unlock()
	plan := g.config.Script(c.order, attempt)
	if plan.DropRequest {
		c.drop()
	}
	if plan.Slow > 0 {
		c.wait(plan.Slow)
		c.gate("wake")
	}
	if plan.Refuse != "" {
		c.refuse(plan.Refuse)
		return
	}
	g.mu.Lock()
	if g.config.RefuseDuplicates && len(g.of(c.ua, c.order)) > 0 {
		g.mu.Unlock()
		c.refuse("订单号重复")
		return
	}
	e := g.accept(c.ua, p, plan)
	answer := *e
	g.mu.Unlock()
	g.follow(e)
	c.reply(plan, answer)
}

// follow starts what happens to an order after its submission.
func (g *Gateway) follow(e *Entry) {
	switch {
	case !e.plan.Pending && e.plan.CallbackEarly:
		if !g.callBack(e, 1, 1) {
			g.background(func() { g.callBack(e, 2, g.tries()) })
		}
	case !e.plan.Pending:
		g.startCallback(e)
	case e.plan.After > 0:
		g.background(func() {
			if !g.sleep(e.plan.After) || g.config.Gate(g.ctx, "settle/"+e.Order) != Proceed {
				return
			}
			g.mu.Lock()
			pending := e.Status == "pending"
			g.settle(e)
			g.mu.Unlock()
			if pending {
				g.callBack(e, 1, g.tries())
			}
		})
	}
}

// reply answers a debit as its plan says.
func (c call) reply(plan Plan, e Entry) { c.answer(plan, e.response()) }

// answer answers a submission that had its effect as its plan says.
func (c call) answer(plan Plan, response map[string]any) {
	c.wait(plan.SlowReply)
	c.gate("reply")
	switch {
	case plan.DropReply:
		c.drop()
	case plan.HangReply:
		c.hang()
	case plan.Status != 0:
		writePage(c.w, plan.Status)
	case plan.Garbage:
		_, _ = io.WriteString(c.w, "<br />\n<b>Warning</b>: json_encode() in /www/gateway.php")
	case plan.RefuseAfter != "":
		writeReply(c.w, "-1", plan.RefuseAfter, nil)
	default:
		writeReply(c.w, 1, "success", response)
	}
}

// query answers single-order-query with the order's latest entry.
func (g *Gateway) query(c call) {
	c.wait(g.config.Latency)
	c.gate("act")
	e, settled := g.look(c.ua, c.order)
	if settled != nil {
		g.startCallback(settled)
	}
	c.gate("reply")
	switch {
	case e == nil:
		writeReply(c.w, "-1", g.config.NotFound, nil)
	case e.Queries <= e.plan.QueryErrors:
		writePage(c.w, http.StatusBadGateway)
	default:
		writeReply(c.w, 1, "success", e.response())
	}
}

// look returns a copy of what a query of one account may see, and the entry itself if the query was the one that settles it.
func (g *Gateway) look(ua, order string) (seen, settled *Entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.of(ua, order)
	if len(all) == 0 {
		return nil, nil
	}
	e := all[len(all)-1]
	if time.Since(e.At) < e.plan.QueryLag || time.Now().Before(e.denied) {
		return nil, nil
	}
	e.Queries++
	if e.Status == "pending" && e.plan.Queries > 0 && e.Queries >= e.plan.Queries {
		g.settle(e)
		settled = e
	}
	snapshot := *e
	return &snapshot, settled
}

func (e Entry) response() map[string]any {
	paid, channel := "", ""
	if e.Status == "success" {
		paid = e.settled.UTC().Format(time.DateTime)
	}
	if e.Status == "fail" {
		channel = e.plan.channel()
	}
	return map[string]any{
		"biz_order_no": e.Order, "pay_order_no": e.PayOrderNo, "pay_type": e.PayType, "pay_status": e.Status,
		"pay_time": paid, "channel_response": channel,
	}
}

func (p Plan) channel() string {
	if p.Channel == "" {
		return "余额不足"
	}
	return p.Channel
}

// refuse answers with status -1.
func (c call) refuse(message string) {
	c.gate("reply")
	writeReply(c.w, "-1", message, nil)
}

// writeReply answers as the gateway's PHP ancestor does: success has status 1 as a number, errors have strings, and
// slashes are escaped while Chinese is not.
func writeReply(w http.ResponseWriter, status any, message string, response map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	fields := map[string]any{"status": status, "message": message, "response": nil}
	if response != nil {
		fields["response"] = response
	}
	_, _ = io.WriteString(w, phpJSON(fields, false))
}

// writePage answers like a proxy in front of a gateway that is gone.
func writePage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html><body>upstream gone</body></html>")
}

// refusal is a broken rule of the document, with the ancestor's status for it.
type refusal struct{ status, message string }

func (r refusal) Error() string { return r.status + " " + r.message }

func (g *Gateway) complain(w http.ResponseWriter, err error) {
	r, ok := errors.AsType[refusal](err)
	if !ok {
		r = refusal{"-4", "illegal request. " + err.Error()}
	}
	g.mu.Lock()
	g.complaints = append(g.complaints, r.Error())
	g.mu.Unlock()
	writeReply(w, r.status, r.message, nil)
}

type envelope struct {
	UA        string `json:"ua"`
	Args      string `json:"args"`
	Sign      string `json:"sign"`
	Timestamp string `json:"timestamp"`
	RequestID string `json:"requestId"`
	Method    string `json:"method"`
}

var seconds = regexp.MustCompile(`^[0-9]{10}$|^[0-9]{9}$`)

// check holds a request against the document and returns its decrypted parameters.
func (g *Gateway) check(r *http.Request, body []byte) (envelope, []byte, error) {
	var env envelope
	if r.Method != http.MethodPost {
		return env, nil, refusal{"-4", "illegal request. not a POST."}
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || !strings.EqualFold(params["charset"], "UTF-8") {
		return env, nil, refusal{"-4", "illegal request. content type is not application/json;charset=UTF-8."}
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&env); err != nil || dec.More() {
		return env, nil, refusal{"-9", "illegal request. bad json."}
	}
	if env.UA == "" || env.Args == "" || env.Sign == "" || env.RequestID == "" || env.Method == "" {
		return env, nil, refusal{"-4", "illegal request. some arguments is not correct."}
	}
	if env.Timestamp != "" && !seconds.MatchString(env.Timestamp) {
		return env, nil, refusal{"-4", "illegal request. timestamp is not in seconds."}
	}
	key, ok := g.config.Accounts[env.UA]
	if !ok {
		return env, nil, refusal{"-2", "illegal request. client ua is not correct."}
	}
	sum := md5.Sum([]byte(env.UA + key + env.Method + env.Args))
	if env.Sign != hex.EncodeToString(sum[:]) {
		return env, nil, refusal{"-5", "illegal request. sign auth failed."}
	}
	plain, err := g.config.Open(key, env.Args)
	if err != nil {
		return env, nil, refusal{"-4", "illegal request. args cannot be decrypted."}
	}
	if err := sorted(plain); err != nil {
		return env, nil, err
	}
	return env, plain, nil
}

// sorted refuses parameters whose top level keys do not ascend.
func sorted(plain []byte) error {
	dec := json.NewDecoder(strings.NewReader(string(plain)))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return refusal{"-9", "illegal request. args hold no JSON object."}
	}
	last := ""
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return refusal{"-9", "illegal request. args hold bad JSON."}
		}
		if key <= last {
			return refusal{"-4", "illegal request. args are not sorted by key."}
		}
		last = key
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return refusal{"-9", "illegal request. args hold bad JSON."}
		}
	}
	return nil
}

type withholdParams struct {
	BizOrderNo, Amount, PayType, NotifyURL string
}

var amountText = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]{1,2})?$`)

func readWithhold(plain []byte) (withholdParams, error) {
	p, err := readParams(plain, "biz_order_no", "amount", "name", "id_card_number", "mobile", "pay_type")
	if err != nil {
		return withholdParams{}, err
	}
	biz, ok := p["biz_data"].(map[string]any)
	if list, empty := p["biz_data"].([]any); !ok && (!empty || len(list) > 0) {
		return withholdParams{}, errors.New("biz_data is missing or no object")
	}
	card := text(p, "bank_card_number")
	protocol := text(biz, "protocol_no")
	if card == "" && protocol == "" {
		return withholdParams{}, errors.New("neither bank_card_number nor protocol_no")
	}
	amount := text(p, "amount")
	if !amountText.MatchString(amount) || strings.Trim(amount, "0.") == "" {
		return withholdParams{}, errors.New("amount is not a positive decimal")
	}
	return withholdParams{
		BizOrderNo: text(p, "biz_order_no"), Amount: amount, PayType: text(p, "pay_type"), NotifyURL: text(p, "notify_url"),
	}, nil
}

// readParams decodes parameters and makes sure that the required ones are strings with content.
func readParams(plain []byte, required ...string) (map[string]any, error) {
	var p map[string]any
	if err := json.Unmarshal(plain, &p); err != nil {
		return nil, refusal{"-9", "illegal request. args hold bad JSON."}
	}
	for _, name := range required {
		if text, ok := p[name].(string); !ok || text == "" {
			return nil, fmt.Errorf("%s is missing", name)
		}
	}
	return p, nil
}

// text is a parameter that is a string, "" for any other.
func text(p map[string]any, name string) string {
	s, _ := p[name].(string)
	return s
}
