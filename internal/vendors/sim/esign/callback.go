package esign

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// tell calls back, once, if the flow has ended and its plan wants it told. The caller holds the lock.
func (g *Gateway) tell(f *flow) {
	outcome := f.ended()
	if f.told || outcome == "" {
		return
	}
	f.told = true
	if f.plan.NotifyURL == "" || outcome == "fail" && !f.plan.NotifyFailure {
		return
	}
	g.background(func() { g.callBack(f.id, f.plan, outcome == "success") })
}

// callBack tells a flow's end until the answer is HTTP 200 or the tries are used up.
func (g *Gateway) callBack(id string, p Plan, success bool) {
	for try := 0; try <= len(g.config.CallbackRetry); try++ {
		if try > 0 && !g.sleep(g.config.CallbackRetry[try-1]) {
			return
		}
		if g.config.Gate(g.ctx, fmt.Sprintf("callback/%s/%d", id, try+1)) != Proceed {
			continue
		}
		if try == 0 && p.Forged {
			g.post(p, payload(id, p, !success), "a secret that nobody gave")
		}
		if !g.post(p, payload(id, p, success), g.secretOf(p)) {
			continue
		}
		if p.CallbackTwice {
			g.post(p, payload(id, p, success), g.secretOf(p))
		}
		return
	}
}

// app is the one in whose name a flow's callbacks come.
func (g *Gateway) app(p Plan) string {
	if p.App != "" {
		return p.App
	}
	return slices.Min(slices.Collect(maps.Keys(g.config.Apps)))
}

func (g *Gateway) secretOf(p Plan) string { return g.config.Apps[g.app(p)] }

// payload is that of an organization's end of identification.
func payload(id string, p Plan, success bool) []byte {
	fields := map[string]any{
		"flowId": id, "serviceId": id, "success": success, "status": success, "contextId": nil, "verifycode": "e1c2",
		"accountId": nil, "agentFlowId": nil, "agentAccountId": nil, "orgAccountId": nil,
	}
	if p.Webhook {
		fields["action"] = "identity_org_end"
	}
	return encode(fields)
}

// post reports whether the receiver took the callback.
func (g *Gateway) post(p Plan, body []byte, secret string) bool {
	g.mu.Lock()
	g.callbacks++
	g.mu.Unlock()
	req, err := http.NewRequestWithContext(g.ctx, http.MethodPost, p.NotifyURL, bytes.NewReader(body))
	if err != nil {
		return false
	}
	// 13 digits, also by a clock that stands in the year 2000.
	stamp := fmt.Sprintf("%013d", time.Now().UnixMilli())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Tsign-Open-App-Id", g.app(p))
	req.Header.Set("X-Tsign-Open-TIMESTAMP", stamp)
	req.Header.Set("X-Tsign-Open-SIGNATURE-ALGORITHM", "hmac-sha256")
	req.Header.Set("X-Tsign-Open-SIGNATURE", callbackSignature(secret, stamp, req.URL.Query(), body))
	res, err := g.config.Callbacks.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1024))
	return res.StatusCode == http.StatusOK
}

// callbackSignature covers the timestamp, the query's values by key, and the body.
func callbackSignature(secret, stamp string, query url.Values, body []byte) string {
	signed := stamp
	for _, key := range slices.Sorted(maps.Keys(query)) {
		signed += query[key][0]
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(append([]byte(signed), body...))
	return hex.EncodeToString(mac.Sum(nil))
}
