package withhold

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// startCallback calls back in the background, if the order asked for it.
func (g *Gateway) startCallback(e *Entry) {
	if e.notify != "" && !e.plan.NoCallback {
		g.background(func() { g.callBack(e, 1, g.tries()) })
	}
}

// tries is how often one callback is sent at most.
func (g *Gateway) tries() int { return len(g.config.CallbackRetry) + 1 }

// callBack tells notify_url about a settled order, from the first to the last try, until the answer is "success". It
// reports whether there is nothing left to tell.
func (g *Gateway) callBack(settled *Entry, first, last int) bool {
	g.mu.Lock()
	e := *settled
	g.mu.Unlock()
	if e.notify == "" || e.plan.NoCallback {
		return true
	}
	for try := first; try <= last; try++ {
		if try > 1 && !g.sleep(g.config.CallbackRetry[try-2]) {
			return true
		}
		if g.config.Gate(g.ctx, fmt.Sprintf("callback/%s/%d", e.Order, try)) != Proceed {
			continue
		}
		if try == 1 && e.plan.Forged {
			g.post(forgedURL(e.notify), e.contrary().callback(), e.plan.CallbackForm)
		}
		if !g.post(e.notify, e.callback(), e.plan.CallbackForm) {
			continue
		}
		if e.plan.CallbackTwice {
			g.post(e.notify, e.callback(), e.plan.CallbackForm)
		}
		return true
	}
	return false
}

// contrary is the entry as a liar would tell it.
func (e Entry) contrary() Entry {
	if e.Status == "fail" {
		e.Status = "success"
	} else {
		e.Status = "fail"
	}
	return e
}

// callback are the fields of seed 001, section 5, with their sign.
func (e Entry) callback() map[string]any {
	fields := e.response()
	fields["order_type"] = "single_withhold"
	sum := md5.Sum([]byte(phpJSON(fields, true)))
	fields["sign"] = hex.EncodeToString(sum[:])
	return fields
}

// post reports whether the receiver took the callback.
func (g *Gateway) post(to string, fields map[string]any, form bool) bool {
	g.mu.Lock()
	g.callbacks++
	g.mu.Unlock()
	body, kind := phpJSON(fields, true), "application/json;charset=UTF-8"
	if form {
		values := url.Values{}
		for name := range fields {
			values.Set(name, text(fields, name))
		}
		body, kind = values.Encode(), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(g.ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", kind)
	res, err := g.config.Callbacks.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1024))
	return err == nil && res.StatusCode == http.StatusOK && strings.TrimSpace(string(answer)) == "success"
}

// forgedURL is an order's notify_url with a token that a stranger made up.
func forgedURL(notify string) string {
	at := strings.LastIndexByte(notify, '/')
	return notify[:at+1] + "Zm9yZ2VkLXRva2VuLWZyb20tYS1zdHJhbmdlcg"
}
