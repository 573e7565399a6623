package esign

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// denial is a request that is not let through.
type denial struct {
	status  int
	message string
}

// admit checks a request as the gateway does, in its order: the application before the mode, the mode before the
// address, all of it before the path is looked at. It returns the app's id, or nil and why not.
func (g *Gateway) admit(r *http.Request, body []byte) (string, *denial) {
	id := r.Header.Get("X-Tsign-Open-App-Id")
	if id == "" {
		return "", &denial{http.StatusUnauthorized, "缺少参数"}
	}
	secret, ok := g.config.Apps[id]
	if !ok {
		return "", &denial{http.StatusUnauthorized, "无效的应用"}
	}
	var problem string
	switch r.Header.Get("X-Tsign-Open-Auth-Mode") {
	case "Signature":
		problem = g.checkSignature(r, body, secret)
	case "":
		problem = g.checkToken(id, r.Header.Get("X-Tsign-Open-Token"))
	default:
		problem = "AUTHSTRATEGY_NOT_FOUND"
	}
	if problem != "" {
		return "", &denial{http.StatusUnauthorized, problem}
	}
	if !g.config.Allowed(r) {
		return "", &denial{http.StatusForbidden, "IP白名单不匹配"}
	}
	return id, nil
}

func (g *Gateway) checkSignature(r *http.Request, body []byte, secret string) string {
	stamp := r.Header.Get("X-Tsign-Open-Ca-Timestamp")
	sign := r.Header.Get("X-Tsign-Open-Ca-Signature")
	if stamp == "" || sign == "" {
		return "缺少参数"
	}
	millis, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.UnixMilli(millis)).Abs() > g.config.Window {
		return "INVALID_TIMESTAMP"
	}
	if sum := r.Header.Get("Content-MD5"); sum != "" && len(body) > 0 && sum != contentMD5(body) {
		return "INVALID_SIGNATURE"
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signedText(r)))
	if sign != base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		return "INVALID_SIGNATURE"
	}
	return ""
}

// contentMD5 is Base64 of the 16 raw bytes.
func contentMD5(body []byte) string {
	sum := md5.Sum(body)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// signedText is what the sender must have signed, made of what was received.
func signedText(r *http.Request) string {
	text := r.Method + "\n" + r.Header.Get("Accept") + "\n" + r.Header.Get("Content-MD5") + "\n" +
		r.Header.Get("Content-Type") + "\n" + r.Header.Get("Date") + "\n"
	if names := r.Header.Get("X-Tsign-Open-Ca-Signature-Headers"); names != "" {
		list := strings.Split(names, ",")
		sort.Strings(list)
		for _, name := range list {
			text += name + ":" + r.Header.Get(name) + "\n"
		}
	}
	return text + signedPath(r.URL)
}

// signedPath reads the query from its raw form, so that "first value" means the first one sent.
func signedPath(u *url.URL) string {
	first := map[string]string{}
	var keys []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, value = unescape(key), unescape(value)
		if _, twice := first[key]; !twice {
			first[key] = value
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	var parts []string
	for _, key := range keys {
		if first[key] == "" {
			parts = append(parts, key)
		} else {
			parts = append(parts, key+"="+first[key])
		}
	}
	if len(parts) == 0 {
		return u.Path
	}
	return u.Path + "?" + strings.Join(parts, "&")
}

func unescape(text string) string {
	if out, err := url.QueryUnescape(text); err == nil {
		return out
	}
	return text
}

// token is one that was given.
type token struct {
	value   string
	expires time.Time
	// superseded is when the next one was given, zero for the newest.
	superseded time.Time
}

// checkToken knows the newest token of an app, and for a while the one before it.
func (g *Gateway) checkToken(app, value string) string {
	if value == "" {
		return "TOKEN_CANT_BE_NULL"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.tokens[app]
	for back := 1; back <= 2 && back <= len(all); back++ {
		t := all[len(all)-back]
		alive := time.Now().Before(t.expires) &&
			(t.superseded.IsZero() || time.Since(t.superseded) < g.config.TokenGrace)
		if t.value == value && alive {
			return ""
		}
	}
	return "TOKEN错误"
}

// giveToken answers the token endpoint, which needs no authorization but the secret in its query.
func (g *Gateway) giveToken(app, secret, grant string) map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	known, ok := g.config.Apps[app]
	switch {
	case grant != "client_credentials":
		g.complaints = append(g.complaints, "token: grantType is not client_credentials")
		return businessReply(30500100, "缺少参数:grantType", nil)
	case !ok || secret != known:
		g.complaints = append(g.complaints, "token: wrong app or secret")
		return businessReply(72000032, "应用停用或应用不存在", nil)
	}
	now := time.Now()
	if n := len(g.tokens[app]); n > 0 {
		g.tokens[app][n-1].superseded = now
	}
	t := token{
		value:   fmt.Sprintf("eyJ.%s.token-%d", app, len(g.tokens[app])+1),
		expires: now.Add(g.config.TokenLife),
	}
	g.tokens[app] = append(g.tokens[app], t)
	return businessReply(0, "成功", map[string]any{
		"token": t.value, "expiresIn": strconv.FormatInt(t.expires.UnixMilli(), 10), "refreshToken": "r-" + t.value,
	})
}

// RevokeTokens ends all tokens that were given.
func (g *Gateway) RevokeTokens() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, all := range g.tokens {
		for i := range all {
			all[i].expires = time.Time{}
		}
	}
}
