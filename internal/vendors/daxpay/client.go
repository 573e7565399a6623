package daxpay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/scrub"
	"paydispatch/internal/vendors/wire"
)

// pathReceivers is the interface's path under the base address.
const pathReceivers = "/unipay/query/allocationReceiver"

// nonceBytes make 32 hexadecimal digits, which is all that nonceStr takes.
const nonceBytes = 16

// maxReply is the largest reply that is read unless the settings say otherwise: a question for a channel is answered with
// all of its receivers.
const maxReply = 8 << 20

// Client speaks to DaxPay. It is safe for concurrent use if Config.Now and Config.NonceSource are, and implements
// vendors.Asker.
type Client struct {
	// accounts are behind pointers: where fmt prints a client that stands in somebody's unexported field it cannot call
	// Format, and follows one pointer at most.
	accounts map[string]*Account
	fallback string
	nonce    bool
	random   io.Reader
	full     bool
	now      func() time.Time
	http     *wire.Client
}

var _ vendors.Asker = (*Client)(nil)

// Format implements fmt.Formatter: fmt would print the secrets inside, past their own masks.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("daxpay.Client")) }

// New returns a client, or all problems of the configuration.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("daxpay: %w", err)
	}
	if c.HTTP.MaxReply == 0 {
		c.HTTP.MaxReply = maxReply
	}
	caller, err := wire.New(c.HTTP)
	if err != nil {
		return nil, err
	}
	out := &Client{
		accounts: make(map[string]*Account, len(c.Accounts)), fallback: c.DefaultAccount, nonce: c.Nonce,
		random: c.NonceSource, full: c.ShowAccounts, now: c.Now, http: caller,
	}
	if out.random == nil {
		out.random = rand.Reader
	}
	if out.now == nil {
		out.now = time.Now
	}
	for name := range c.Accounts {
		account := c.account(name)
		account.URL = strings.TrimRight(account.URL, "/") + pathReceivers
		out.accounts[name] = &account
	}
	return out, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.Close() }

// Check reports all that is wrong with an alloc.receiver.query command beyond its schema: neither channel nor
// receiverNo, a clientIp that is none, or an unknown account. Its text holds no value of the body, so it may go into a
// rejected result.
func (c *Client) Check(cmd commands.Command) error {
	_, _, err := c.decode(cmd)
	return err
}

// Account returns the name of the account that a command's word stands for: "" means the default one.
func (c *Client) Account(word string) string { return cmp.Or(word, c.fallback) }

// decode reads a command and finds its account.
func (c *Client) decode(cmd commands.Command) (Query, *Account, error) {
	q, err := DecodeQuery(cmd.Body)
	if err != nil {
		return Query{}, nil, err
	}
	var errs []error
	account, ok := c.accounts[c.Account(cmd.Account)]
	if !ok {
		errs = append(errs, errors.New("account: is not one of the configured accounts"))
	}
	// The caller took these from the same body; a difference would answer another question than was put.
	if string(cmd.RequestID) != q.RequestID {
		errs = append(errs, errors.New("requestId: differs from the command's"))
	}
	if q.Account != "" && cmd.Account != q.Account {
		errs = append(errs, errors.New("account: differs from the command's"))
	}
	return q, account, errors.Join(errs...)
}

// Ask puts the question that the command is. Succeeded means that the server answered, also when it found nobody:
// Extra["receivers"] is the list. Failed is its word that the question is wrong (codes 1, 10005 and 10006).
//
// It may be repeated: the server keeps nothing of a question and does not check that nonceStr is new.
func (c *Client) Ask(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	q, account, err := c.decode(cmd)
	if err != nil {
		return commands.Reply{}, &vendors.Error{Class: commands.ClassPermanent, Code: CodeInvalid, Err: err}
	}
	nonce, err := c.nonceStr()
	if err != nil {
		return commands.Reply{}, notBuilt(err)
	}
	body, err := q.seal(account.SignType, account.Secret, c.now().Unix(), nonce)
	if err != nil {
		return commands.Reply{}, notBuilt(err)
	}
	a, err := c.call(ctx, account.URL, body)
	if err != nil {
		return commands.Reply{}, err
	}
	valid := func(data object) bool { return verify(data, account.SignType, account.Secret) }
	clean := func(text string) string { return scrub.Text(text, string(account.Secret)) }
	return a.translate(q, valid, clean, c.full)
}

// nonceStr is "" when none is to be sent.
func (c *Client) nonceStr() (string, error) {
	if !c.nonce {
		return "", nil
	}
	var random [nonceBytes]byte
	if _, err := io.ReadFull(c.random, random[:]); err != nil {
		return "", fmt.Errorf("making a nonceStr: %w", err)
	}
	return hex.EncodeToString(random[:]), nil
}

// call posts one question and reads the answer. The server answers errors with HTTP 200 too; any other status is not its
// own word.
func (c *Client) call(ctx context.Context, url string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, notBuilt(errors.New("the URL is not usable"))
	}
	// Exactly this, as the vendor's own client sends it: without a charset.
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "paydispatch")
	res, err := c.http.Do(ctx, req, wire.Read)
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

// notBuilt is the error of a request that never left.
func notBuilt(err error) error {
	return &vendors.Error{Class: commands.ClassRetryable, Code: CodeBuild, Err: err}
}
