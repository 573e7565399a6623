package withhold

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/scrub"
	"paydispatch/internal/vendors/wire"
)

// Client speaks to the gateway. It is safe for concurrent use and implements vendors.Vendor.
type Client struct {
	url string
	// merchants are behind pointers: where fmt prints a client that stands in somebody's unexported field it cannot call
	// Format, and follows one pointer at most.
	merchants map[string]*merchant
	fallback  string
	missing   wordings
	max       Amount
	notify    func(bizOrderNo string) string
	http      *wire.Client
}

var _ vendors.Vendor = (*Client)(nil)

// Format implements fmt.Formatter: fmt would print the keys inside, past their own masks.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("withhold.Client")) }

// New returns a client, or all problems of the configuration.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("withhold gateway: %w", err)
	}
	missing, err := compileWordings(c.MissingWords)
	if err != nil {
		return nil, err
	}
	limit, err := ParseAmount(c.MaxAmount)
	if err != nil {
		return nil, err
	}
	caller, err := wire.New(c.HTTP)
	if err != nil {
		return nil, err
	}
	out := &Client{
		url: c.URL, fallback: c.DefaultAccount, missing: missing, max: limit, notify: c.NotifyURL, http: caller,
		merchants: make(map[string]*merchant, len(c.Accounts)),
	}
	for name, account := range c.Accounts {
		box, err := NewCipher(c.Cipher, account.Key)
		if err != nil {
			return nil, err
		}
		out.merchants[name] = &merchant{ua: account.UA, key: string(account.Key), cipher: box}
	}
	return out, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.Close() }

// Check reports all that is wrong with a withhold.request command beyond its schema, such as an amount of 0 or above
// the limit, neither card nor protocol number, or an unknown account. Its text holds no value of the body, so it may
// go into a rejected result.
func (c *Client) Check(cmd commands.Command) error {
	_, _, err := c.decode(cmd)
	return err
}

// decode reads a command and finds its merchant.
func (c *Client) decode(cmd commands.Command) (Order, merchant, error) {
	o, err := DecodeOrder(cmd.Body)
	if err != nil {
		return Order{}, merchant{}, err
	}
	var errs []error
	if o.Amount > c.max {
		errs = append(errs, fmt.Errorf("amount: must be at most %s", c.max))
	}
	// The caller took these from the same body; a difference would ask about another order than was sent.
	if string(cmd.Key) != o.BizOrderNo {
		errs = append(errs, errors.New("biz_order_no: differs from the operation key"))
	}
	m, err := c.match(cmd, o.RequestID, o.Account)
	return o, m, errors.Join(append(errs, err)...)
}

// Account returns the name of the account that a command's word stands for: "" means the default one.
func (c *Client) Account(word string) string { return cmp.Or(word, c.fallback) }

func (c *Client) merchant(account string) (merchant, error) {
	m, ok := c.merchants[c.Account(account)]
	if !ok {
		return merchant{}, errors.New("account: is not one of the configured accounts")
	}
	return *m, nil
}

// Send submits the order by single-withhold.
//
// Every Send of a command carries the command's own requestId, also one that follows a "no such order": should the
// gateway still know the first, it can refuse the second, which costs a query and not a second debit.
func (c *Client) Send(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	order, m, err := c.decode(cmd)
	if err != nil {
		return commands.Reply{}, invalid(err)
	}
	body, err := m.seal(methodSend, order.params(c.notifyURL(cmd.Key)), order.RequestID, time.Now())
	if err != nil {
		return commands.Reply{}, notBuilt(err)
	}
	a, err := c.call(ctx, body, wire.Send)
	if err != nil {
		return commands.Reply{}, err
	}
	return a.sendReply(order.BizOrderNo, c.scrubber(m, cmd))
}

// Ask asks about the order by single-order-query. It needs Key, RequestID and Account of the command, not its body.
//
// The envelope's requestId must differ from call to call: it is the command's, "-q" and the time in nanoseconds.
func (c *Client) Ask(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	m, err := c.merchant(cmd.Account)
	if err != nil {
		return commands.Reply{}, notBuilt(err)
	}
	now := time.Now()
	id := string(cmd.RequestID) + "-q" + strconv.FormatInt(now.UnixNano(), 36)
	body, err := m.seal(methodAsk, map[string]any{"biz_order_no": string(cmd.Key)}, id, now)
	if err != nil {
		return commands.Reply{}, notBuilt(err)
	}
	a, err := c.call(ctx, body, wire.Read)
	if err != nil {
		return commands.Reply{}, err
	}
	return a.askReply(string(cmd.Key), c.missing, c.scrubber(m, cmd))
}

// call posts one envelope and reads the answer.
func (c *Client) call(ctx context.Context, body []byte, kind wire.Kind) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, notBuilt(errors.New("the URL is not usable"))
	}
	req.Header.Set("Content-Type", "application/json;charset=UTF-8")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "paydispatch")
	res, err := c.http.Do(ctx, req, kind)
	if err != nil {
		return answer{}, err
	}
	if res.Status != http.StatusOK {
		return answer{}, wire.StatusError(res)
	}
	a, err := decodeAnswer(res.Body)
	if err != nil {
		return answer{}, wire.Unreadable(CodeUnreadable, err.Error())
	}
	return a, nil
}

// notifyURL is the callback address of an order, "" for none.
func (c *Client) notifyURL(order commands.OperationKey) string {
	if c.notify == nil {
		return ""
	}
	return c.notify(string(order))
}

// scrubber takes out of one of the gateway's free texts what it must not repeat, and more that the caller knows.
type scrubber func(text string, more ...string) string

// scrubber returns one that knows the command's personal data, the key, and the order's notify_url with the token at its
// end. Most texts are empty, and cost nothing.
func (c *Client) scrubber(m merchant, cmd commands.Command) scrubber {
	return func(text string, more ...string) string {
		if text == "" {
			return ""
		}
		known := append(scrub.Personal(cmd), m.key)
		if notify := c.notifyURL(cmd.Key); notify != "" {
			known = append(known, notify, notify[strings.LastIndexByte(notify, '/')+1:])
		}
		return scrub.Text(text, append(known, more...)...)
	}
}

// notBuilt is the error of a request that never left; no retry by itself would help, but nothing is proven about the
// order, and the next process may be configured better.
func notBuilt(err error) error {
	return &vendors.Error{Class: commands.ClassRetryable, Code: CodeBuild, Err: err}
}
