package esign

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// call is one request on its way through the gateway.
type call struct {
	g *Gateway
	w http.ResponseWriter
	r *http.Request
	// op is what gates know it by.
	op string
}

// gate asks for permission to go on; without it the request ends here.
func (c call) gate(step string) {
	switch c.g.config.Gate(c.g.ctx, c.op+"/"+step) {
	case Drop:
		c.drop()
	case Hang:
		c.hang()
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

// reset ends the connection by a TCP reset where there is TCP, else like drop; it does not return.
func (c call) reset() {
	if hijacker, ok := c.w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	}
	c.drop()
}

var (
	queryPath   = regexp.MustCompile(`^/v2/identity/auth/pub/organization/([^/]+)/query/reversePaymentProcess$`)
	outlinePath = regexp.MustCompile(`^/v2/identity/auth/api/common/([^/]+)/outline$`)
)

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer g.enter()()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if !g.sleep(g.config.Latency) {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path == "/v1/oauth2/access_token" && r.Method == http.MethodGet {
		q := r.URL.Query()
		c := g.begin(w, r, "token", q.Get("appId"))
		c.reply(Fault{}, g.giveToken(q.Get("appId"), q.Get("secret"), q.Get("grantType")))
		return
	}
	app, no := g.admit(r, body)
	if no != nil {
		g.complain(fmt.Sprintf("%d %s", no.status, no.message))
		deny(w, no.status, no.message)
		return
	}
	switch {
	case r.Method != http.MethodGet:
	case queryPath.MatchString(r.URL.Path):
		g.query(w, r, app, queryPath.FindStringSubmatch(r.URL.Path)[1])
		return
	case outlinePath.MatchString(r.URL.Path):
		g.outline(w, r, app, outlinePath.FindStringSubmatch(r.URL.Path)[1])
		return
	}
	g.complain("404 " + r.Method + " " + r.URL.Path)
	writeJSON(w, http.StatusNotFound, businessReply(404, "not found", nil))
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

// begin numbers a call and asks the gate whether it may act.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request, kind, about string) call {
	op := kind + "/" + about + "/" + g.config.Peer(r)
	g.mu.Lock()
	g.seen[op]++
	op += "/" + strconv.Itoa(g.seen[op])
	g.mu.Unlock()
	c := call{g: g, w: w, r: r, op: op}
	c.gate("act")
	return c
}

func (g *Gateway) query(w http.ResponseWriter, r *http.Request, app, id string) {
	c := g.begin(w, r, "query", id)
	g.mu.Lock()
	f := g.flow(id)
	f.counts.Queries++
	s := f.step()
	missing := f.hides(app)
	g.tell(f)
	began := f.began
	g.mu.Unlock()
	switch {
	case missing:
		c.reply(s.Fault, noFlow())
	case s.Code != 0:
		c.reply(s.Fault, businessReply(s.Code, wording(s.Code), nil))
	default:
		c.reply(s.Fault, businessReply(0, "成功", s.data(began)))
	}
}

func (g *Gateway) outline(w http.ResponseWriter, r *http.Request, app, id string) {
	c := g.begin(w, r, "outline", id)
	g.mu.Lock()
	f := g.flow(id)
	f.counts.Outlines++
	s := f.step()
	missing := f.hides(app)
	began := f.began
	g.mu.Unlock()
	switch {
	case missing:
		c.reply(s.OutlineFault, noFlow())
	case s.OutlineCode != 0:
		c.reply(s.OutlineFault, businessReply(s.OutlineCode, wording(s.OutlineCode), nil))
	default:
		c.reply(s.OutlineFault, businessReply(0, "成功", map[string]any{
			"flowStatus": s.flowStatus(), "objectType": "ORGANIZATION", "failReason": textOrNull(s.FailReason),
			"createTime": millis(began), "modifyTime": millis(began),
			"subFlows": []any{map[string]any{"subFlowType": "ORGANIZATION_REVERSE_PAYMENT", "status": s.flowStatus()}},
		}))
	}
}

// hides reports whether the flow does not exist for an app.
func (f *flow) hides(app string) bool { return f.plan.Missing || f.plan.App != "" && f.plan.App != app }

func noFlow() map[string]any { return businessReply(30500004, wording(30500004), nil) }

// data is what the query says of a step, in the vendor's ways: null for nothing, and sometimes the word in quotes.
func (s Step) data(began time.Time) map[string]any {
	d := map[string]any{
		"process": textOrNull(s.Process), "message": textOrNull(s.Message), "subAccount": nil,
		"subAccountChannelName": nil, "mainAccountName": nil, "oppAccountNo": nil, "oppAccountName": nil,
		"oppBankName": nil, "payAmount": nil, "tradeTime": nil, "createTime": nil, "modifyTime": nil, "bizFlowNo": nil,
		"auditing": textOrNull(s.Auditing), "authLetterAuditStatus": textOrNull(s.AuthLetter),
	}
	switch s.Process {
	case "UN_RECEIVED":
		d["payAmount"] = "null"
		if s.Message == "" {
			d["message"] = "无对应打款信息"
		}
	case "CREATED", "PAY_FAILED", "ORGANFINISHED":
		d["subAccount"], d["subAccountChannelName"] = "30206857000001", "平安银行杭州西湖支行"
		d["mainAccountName"] = "杭州天谷信息科技有限公司"
		d["createTime"], d["modifyTime"] = millis(began), millis(began)
	}
	if s.Process == "ORGANFINISHED" {
		d["oppAccountNo"], d["oppAccountName"] = "1105011111111000018", "XXXXX有限公司"
		d["oppBankName"], d["payAmount"] = "中国建设银行股份有限公司北京西三旗支行", "0.01"
		d["tradeTime"] = began.In(time.FixedZone("", 8*60*60)).Format("20060102150405")
		d["bizFlowNo"] = "218540111110042471328"
	}
	return d
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// wording is the vendor's message for a code.
func wording(code int) string {
	switch code {
	case 30500000:
		return "操作出错,请联系服务人员处理, ID:1a2b3c"
	case 30500002:
		return "认证流程已结束"
	case 30500003:
		return "认证流程已过期"
	case 30500004:
		return "认证流程不存在"
	case 30500200:
		return "未找到应用配置"
	}
	return "操作出错"
}

// reply answers a call as its fault says.
func (c call) reply(f Fault, body map[string]any) {
	if !c.g.sleep(f.Slow) {
		c.drop()
	}
	c.gate("reply")
	switch {
	case f.Drop:
		c.drop()
	case f.Hang:
		c.hang()
	case f.Reset:
		c.reset()
	case f.Auth != "":
		deny(c.w, http.StatusUnauthorized, f.Auth)
	case f.Status != 0:
		c.w.Header().Set("Content-Type", "text/html")
		c.w.WriteHeader(f.Status)
		_, _ = io.WriteString(c.w, "<html><body>upstream gone</body></html>")
	case f.Garbage:
		_, _ = io.WriteString(c.w, "<html>请稍后再试</html>")
	default:
		writeJSON(c.w, http.StatusOK, body)
	}
}

func businessReply(code int, message string, data map[string]any) map[string]any {
	out := map[string]any{"code": code, "message": message, "data": nil}
	if data != nil {
		out["data"] = data
	}
	return out
}

// deny answers as the gateway was seen to: no Content-Type, two headers of its own.
func deny(w http.ResponseWriter, status int, message string) {
	w.Header()["Content-Type"] = nil
	w.Header().Set("X-Tsign-Elapse-Time", "1")
	w.Header().Set("X-Tsign-Trace-Id", "0")
	w.WriteHeader(status)
	_, _ = w.Write(encode(map[string]any{"success": false, "code": status, "message": message}))
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(encode(body))
}

// encode writes a value that this package made, which always encodes.
func encode(body map[string]any) []byte {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return raw
}

func (g *Gateway) complain(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.complaints = append(g.complaints, text)
}
