package daxpay

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// call is one request under way.
type call struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	name string
	// trace is the request's traceId: 12 characters.
	trace string
}

// gate asks for permission to go on; without it the request ends here.
func (c call) gate(step string) {
	switch c.s.config.Gate(c.s.ctx, "allocationReceiver/"+c.name+"/"+step) {
	case Drop:
		c.drop()
	case Hang:
		c.hang()
	}
}

// wait lets time pass; the request ends here if the server closes meanwhile.
func (c call) wait(d time.Duration) {
	if !c.s.sleep(d) {
		c.drop()
	}
}

// drop closes the connection without an answer; it does not return.
func (c call) drop() { panic(http.ErrAbortHandler) }

// hang says nothing until the client has left; it does not return.
func (c call) hang() {
	select {
	case <-c.r.Context().Done():
	case <-c.s.ctx.Done():
	}
	c.drop()
}

// enter counts a request in; the returned function counts it out. After Close there is no service.
func (s *Server) enter() (n int, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	s.requests++
	s.work.Add(1)
	return s.requests, s.work.Done
}

func (s *Server) complain(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complaints = append(s.complaints, text)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, leave := s.enter()
	defer leave()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	c := call{s: s, w: w, r: r, trace: fmt.Sprintf("trace%07d", n)}
	if !c.routed() {
		return
	}
	b, err := readBean(body)
	if err != nil {
		c.name = ",/" + c.trace
		c.fail(10005, "参数解析错误")
		return
	}
	c.name = b.get("channel") + "," + b.get("receiverNo") + "/" + b.get("reqTime")
	if nonce := b.get("nonceStr"); nonce != "" && s.config.Version == V208 {
		c.name = b.get("channel") + "," + b.get("receiverNo") + "/" + nonce
	}
	c.wait(s.config.Latency)
	c.gate("act")
	for _, odd := range b.odd(s.config.Version) {
		s.complain("the server does not know the field " + odd)
	}
	if code, message := s.check(b, time.Now()); code != 0 {
		c.fail(code, message)
		return
	}
	c.answer(b)
}

// routed reports whether the request came to the interface at all.
func (c call) routed() bool {
	switch {
	case c.r.URL.Path != Path:
		c.s.complain("no such path")
		writePage(c.w, http.StatusNotFound)
	case c.r.Method != http.MethodPost:
		c.s.complain("not a POST")
		c.write(`{"msg":` + quoted("不支持"+c.r.Method+"请求方法，支持以下POST") + `,"code":1,"data":null,"traceId":null}`)
	case c.r.Header.Get("Content-Type") != "application/json":
		c.s.complain("the content type is not exactly application/json")
		c.write(envelope("系统错误", 10001, "null", c.trace))
	default:
		return true
	}
	return false
}

// check validates, verifies and looks at the clock, in this order.
func (s *Server) check(b bean, now time.Time) (code int, message string) {
	if texts := b.broken(s.config.Version); len(texts) > 0 {
		return 10006, "验证参数错误\n" + strings.Join(texts, "\n")
	}
	if !s.config.NoReqSign && b.get("sign") != signature(b.signed(s.config.Version), s.config.SignType, s.config.Secret) {
		if s.config.Version == V207 {
			return 20000, "未通过签名验证"
		}
		return 20052, "验签失败"
	}
	if s.config.Version == V207 {
		return 0, ""
	}
	age := now.Sub(b.reqTime)
	switch {
	// The server counts whole seconds, rounded down: of -60.5 s it sees 60.
	case age <= -61*time.Second:
		return 10006, "验证参数错误\n请求时间晚于服务器接收到的时间，请检查"
	case age > s.config.ReqTimeout:
		return 10006, "验证参数错误\n请求已过期，请重新发送！"
	}
	return 0, ""
}

// answer looks into the store and answers as the plan says.
func (c call) answer(b bean) {
	s := c.s
	q := b.query()
	s.mu.Lock()
	s.questions = append(s.questions, q)
	n := len(s.questions)
	s.mu.Unlock()
	plan := s.config.Script(n, q)
	if plan.DropRequest {
		c.drop()
	}
	if plan.Slow > 0 {
		c.wait(plan.Slow)
		c.gate("wake")
	}
	data := result{resTime: time.Now().Unix()}
	switch {
	case plan.Fail != 0:
		c.reply(plan, envelope(plan.Message, plan.Fail, "null", c.trace))
		return
	case plan.Refuse != "":
		data.code, data.msg = 1, plan.Refuse
	case b.blank("channel") && b.blank("receiverNo"):
		// Only 2.0.7 gets here: its method looks, where 2.0.8 validates.
		s.complain("neither channel nor receiverNo")
		data.code, data.msg = 1, "所属通道和接收方编号不可同时为空"
	default:
		data.list, data.receivers = true, s.find(q)
	}
	c.reply(plan, envelope("success", 0, data.json(s.config, plan), c.trace))
}

// find is the server's query: both conditions, each only if it is not blank, compared without regard to case.
func (s *Server) find(q Query) []Receiver {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := func(asked, stored string) bool {
		return strings.TrimSpace(asked) == "" || strings.EqualFold(asked, stored)
	}
	var out []Receiver
	for _, r := range s.store {
		if same(q.Channel, r.Channel) && same(q.ReceiverNo, r.ReceiverNo) {
			out = append(out, r)
		}
	}
	return out
}

// reply answers a question as its plan says.
func (c call) reply(plan Plan, body string) {
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
		_, _ = io.WriteString(c.w, "<!DOCTYPE html><title>DaxPay</title>")
	default:
		c.write(body)
	}
}

// fail refuses a request with a top-level code, unsigned.
func (c call) fail(code int, message string) {
	c.s.complain(fmt.Sprint(code, " ", message))
	c.gate("reply")
	c.write(envelope(message, code, "null", c.trace))
}

func (c call) write(body string) {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(c.w, body)
}

// writePage answers like a proxy in front of a server that is gone.
func writePage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html><body>upstream gone</body></html>")
}

func envelope(msg string, code int, data, trace string) string {
	return fmt.Sprintf(`{"msg":%s,"code":%d,"data":%s,"traceId":%s}`, quoted(msg), code, data, quoted(trace))
}

// quoted is a JSON string as Jackson writes it: nothing but quotes, backslashes and control characters is escaped.
func quoted(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteString(`\` + string(r))
		case r < 0x20:
			one, _ := json.Marshal(string(r))
			out.Write(one[1 : len(one)-1])
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// orNull is an empty text's JSON, or a text's.
func orNull(text string) string {
	if text == "" {
		return "null"
	}
	return quoted(text)
}
