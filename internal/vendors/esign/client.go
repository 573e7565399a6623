package esign

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// The vendor's interfaces that are used here; %s is the flow.
const (
	pathQuery   = "/v2/identity/auth/pub/organization/%s/query/reversePaymentProcess"
	pathOutline = "/v2/identity/auth/api/common/%s/outline"
	pathToken   = "/v1/oauth2/access_token"
)

// Client asks e签宝. It is safe for concurrent use and implements vendors.Asker for identity.poll.
type Client struct {
	base        url.URL
	mode        Mode
	apps        map[string]app
	byID        map[string]app
	fallback    string
	contentType string
	showNumbers bool
	failed      []int
	answers     []int
	observe     func(process string, known bool)
	http        *wire.Client
	// secrets are those of all accounts; no text of the vendor may repeat one.
	secrets []string
	tokens  tokens
	shared  shared
}

var _ vendors.Asker = (*Client)(nil)

// Format implements fmt.Formatter: fmt would print the secrets inside, past their own masks.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("esign.Client")) }

// New returns a client, or all problems of the configuration.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("esign: %w", err)
	}
	c = c.withDefaults()
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, checkURL(c.URL)
	}
	caller, err := wire.New(c.HTTP)
	if err != nil {
		return nil, err
	}
	out := &Client{
		base: url.URL{Scheme: base.Scheme, Host: base.Host}, mode: c.Mode, fallback: c.DefaultAccount,
		contentType: c.ContentType, showNumbers: c.ShowAccountNumbers, failed: slices.Clone(c.FailedCodes),
		answers: slices.Clone(c.AnswerStatuses), observe: c.Observe, http: caller,
		apps: make(map[string]app, len(c.Accounts)), byID: make(map[string]app, len(c.Accounts)),
	}
	out.shared.keep = c.ShareFor
	out.tokens.margin, out.tokens.fetch = c.TokenMargin, out.fetchToken
	for name, account := range c.Accounts {
		a := app{name: name, Account: account}
		out.apps[name], out.byID[account.AppID] = a, a
		out.secrets = append(out.secrets, string(account.Secret))
	}
	return out, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.Close() }

// Check reports all that is wrong with an identity.poll command beyond its schema, such as an unknown account. Its text
// holds no value of the body, so it may go into a rejected result.
func (c *Client) Check(cmd commands.Command) error {
	_, flowErr := flowOf(cmd)
	_, accountErr := c.app(cmd.Account)
	return errors.Join(flowErr, accountErr)
}

// Account returns the name of the account that a command's word stands for: "" means the default one.
func (c *Client) Account(word string) string { return cmp.Or(word, c.fallback) }

func (c *Client) app(account string) (app, error) {
	a, ok := c.apps[c.Account(account)]
	if !ok {
		return app{}, errors.New("account: is not one of the configured accounts")
	}
	return a, nil
}

// flowPattern: the vendor's are 18 or 19 digits, kept as text; nothing that could change the path is let through.
var flowPattern = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// flowOf returns the command's flowId: what it carries, or else what stands in its body.
func flowOf(cmd commands.Command) (string, error) {
	flow := cmd.Carry["flowId"]
	if flow == "" {
		var body struct {
			FlowID string `json:"flowId"`
		}
		if json.Unmarshal(cmd.Body, &body) != nil {
			return "", errors.New("flowId: the command is no JSON object that names one")
		}
		flow = body.FlowID
	}
	if !flowPattern.MatchString(flow) {
		return "", errors.New("flowId: must be 1 to 64 letters, digits, - or _")
	}
	return flow, nil
}

// Ask asks how the flow's reverse payment stands. A reply is succeeded (ORGANFINISHED, or the outline says SUCCESS),
// failed (the outline says FAIL, or a code that ends the flow), or pending. Fields hold the answer's texts under the
// vendor's names, Extra its nulls.
//
// It needs Account of the command, and the flowId in Carry or Body. With Config.ShareFor set, the answer may be that
// old.
func (c *Client) Ask(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	flow, err := flowOf(cmd)
	if err != nil {
		return commands.Reply{}, &vendors.Error{Class: commands.ClassPermanent, Code: CodeInvalid, Err: err}
	}
	a, err := c.app(cmd.Account)
	if err != nil {
		// Nothing was sent; the next process may be configured better.
		return commands.Reply{}, &vendors.Error{Class: commands.ClassRetryable, Code: CodeBuild, Err: err}
	}
	return c.shared.ask(ctx, a.name+"\x00"+flow, func(ctx context.Context) (commands.Reply, error) {
		return c.poll(ctx, a, flow)
	})
}

// poll queries the flow, and has the outline confirm what the query alone does not prove.
func (c *Client) poll(ctx context.Context, a app, flow string) (commands.Reply, error) {
	ans, err := c.get(ctx, a, fmt.Sprintf(pathQuery, flow))
	if err != nil {
		return commands.Reply{}, err
	}
	reply, next, err := c.translate(ans, flow)
	if err != nil || next == settled {
		return reply, err
	}
	ans, err = c.get(ctx, a, fmt.Sprintf(pathOutline, flow))
	if err != nil {
		return commands.Reply{}, err
	}
	return c.confirm(reply, ans, flow)
}

// get makes one authorized call.
func (c *Client) get(ctx context.Context, a app, path string) (answer, error) {
	if c.mode == ModeOAuth2 {
		return c.withToken(ctx, a, path)
	}
	req := c.request(path)
	a.authorize(req, time.Now())
	return c.exchange(ctx, req)
}

// exchange makes the call and tells the gateway's refusals from answers. Texts are scrubbed of all secrets and of the
// token that was sent.
func (c *Client) exchange(ctx context.Context, req *http.Request) (answer, error) {
	secrets := append(slices.Clone(c.secrets), req.Header.Get(headerToken))
	res, err := c.http.Do(ctx, req, wire.Read)
	switch {
	case err != nil:
		return answer{}, err
	case res.Status == http.StatusUnauthorized || res.Status == http.StatusForbidden:
		return answer{}, refused(res, secrets)
	case !slices.Contains(c.answers, res.Status):
		return answer{}, wire.StatusError(res)
	}
	ans, err := decodeAnswer(res.Body, secrets)
	if err != nil {
		return answer{}, wire.Unreadable(CodeUnreadable, err.Error())
	}
	return ans, nil
}

// emptyBody is a body of no bytes that is not http.NoBody.
type emptyBody struct{}

// Read implements io.Reader.
func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (emptyBody) Close() error { return nil }
