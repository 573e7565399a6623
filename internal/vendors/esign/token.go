package esign

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// token is an access token of the OAuth2 mode.
type token struct {
	value Secret
	// renew is when a new one should be fetched, expires when this one is of no use any more.
	renew, expires time.Time
}

// tokens keeps one token an account. Concurrent calls share one fetch.
type tokens struct {
	margin  time.Duration
	fetch   func(ctx context.Context, a app) (value Secret, expires time.Time, err error)
	flights flights[token]

	mu      sync.Mutex
	current map[string]token
}

// get returns a token that is not near its end. While the old one is good, a failure to renew it is none of the
// caller's business: the next call tries again.
func (t *tokens) get(ctx context.Context, a app) (Secret, error) {
	now := time.Now()
	old := t.find(a.name)
	if now.Before(old.renew) {
		return old.value, nil
	}
	fresh, err := t.flights.do(ctx, a.name, func(ctx context.Context) (token, error) { return t.renew(ctx, a) })
	switch {
	case err == nil:
		return fresh.value, nil
	case now.Before(old.expires) && ctx.Err() == nil:
		return old.value, nil
	}
	return "", err
}

// renew fetches a token unless another caller just did.
func (t *tokens) renew(ctx context.Context, a app) (token, error) {
	if found := t.find(a.name); time.Now().Before(found.renew) {
		return found, nil
	}
	value, expires, err := t.fetch(ctx, a)
	if err != nil {
		return token{}, err
	}
	life := time.Until(expires)
	if life <= 0 {
		return token{}, wire.Unreadable(CodeToken, "the token has already ended by our clock; compare it with the vendor's")
	}
	fresh := token{value: value, expires: expires, renew: expires.Add(-min(t.margin, life/2))}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil {
		t.current = map[string]token{}
	}
	t.current[a.name] = fresh
	return fresh, nil
}

func (t *tokens) find(account string) token {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current[account]
}

// drop forgets a token that the vendor refused, unless it was replaced meanwhile.
func (t *tokens) drop(account string, refused Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current[account].value == refused {
		delete(t.current, account)
	}
}

// fetchToken gets a token with the app's secret, which stands in the query: wire keeps addresses out of errors.
func (c *Client) fetchToken(ctx context.Context, a app) (Secret, time.Time, error) {
	query := url.Values{"appId": {a.AppID}, "secret": {string(a.Secret)}, "grantType": {"client_credentials"}}
	req := c.request(pathToken)
	req.URL.RawQuery = query.Encode()
	ans, err := c.exchange(ctx, req)
	if err != nil {
		return "", time.Time{}, err
	}
	if ans.code != codeOK {
		return "", time.Time{}, wire.Unreadable(CodeToken, fmt.Sprintf("the vendor gives no token: code %d, %s",
			ans.code, ans.message))
	}
	value, ends := ans.data.word("token"), ans.data.word("expiresIn")
	millis, err := strconv.ParseInt(ends, 10, 64)
	if value == "" || !headerText(value) || err != nil {
		return "", time.Time{}, wire.Unreadable(CodeToken, "the vendor's answer holds no token with its end in milliseconds")
	}
	return Secret(value), time.UnixMilli(millis), nil
}

// withToken makes a call with the account's token, and once more with a fresh one if the vendor refuses the first.
func (c *Client) withToken(ctx context.Context, a app, path string) (answer, error) {
	ans, used, err := c.tokenCall(ctx, a, path)
	if refused, ok := errors.AsType[*vendors.Error](err); !ok || used == "" || !spent(refused.Code) {
		return ans, err
	}
	c.tokens.drop(a.name, used)
	ans, _, err = c.tokenCall(ctx, a, path)
	return ans, err
}

func (c *Client) tokenCall(ctx context.Context, a app, path string) (answer, Secret, error) {
	value, err := c.tokens.get(ctx, a)
	if err != nil {
		return answer{}, "", err
	}
	req := c.request(path)
	req.Header.Set(headerApp, a.AppID)
	req.Header.Set(headerToken, string(value))
	ans, err := c.exchange(ctx, req)
	return ans, value, err
}

// spent reports whether a fresh token may help against a refusal.
func spent(code string) bool { return code == CodeAuthToken || code == CodeAuth }

// request is a GET without authorization.
func (c *Client) request(path string) *http.Request {
	return &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: path},
		Host:   c.base.Host,
		Header: http.Header{
			"Accept": {"*/*"}, "Content-Type": {c.contentType}, "User-Agent": {"paydispatch"},
		},
		// net/http repeats a GET without a body by itself when a kept connection dies. One that it cannot know to be
		// empty before it reads it is not repeated, and no byte of it is sent.
		Body: emptyBody{},
	}
}
