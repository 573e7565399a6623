// Package wire owns the traps of HTTP towards vendors: one call is at most one request on the wire, replies are read
// whole and capped, and a failure says only what it proves.
//
// It refuses to follow redirects, to resend (also where net/http would do so silently), to speak HTTP/2 (a shared
// connection cannot prove that nothing of one request was written), to use a proxy or cookies, and to put an address'
// query, a header or a body into an error.
//
// Callers must give every call a context and must treat every error whose class is not Retryable as "may have
// happened". Interpreting a status below 300 and the body is theirs.
package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
)

// Kind says whether a request may have an effect at the vendor.
type Kind uint8

const (
	// Send is the zero value: the request may move money, so it must never be repeated.
	Send Kind = iota
	// Read is a request without effect.
	Read
)

// Stable codes of the errors of [Client.Do] and [StatusError]. The first five are proven not to have been sent.
const (
	CodeUnusable   = "unusable_request"
	CodeDialFailed = "dial_failed"
	CodeTLSFailed  = "tls_failed"
	CodeNotSent    = "not_sent"
	// CodeDeadlinePassed: the deadline was over by the wall clock when the request was about to be written.
	CodeDeadlinePassed = "deadline_passed"
	CodeTimeout        = "timeout"
	CodeCanceled       = "canceled"
	CodeReset          = "reset"
	CodeEOF            = "eof"
	CodeBadReply       = "malformed_reply"
	CodeReplyTooLarge  = "reply_too_large"
	CodeRedirected     = "redirected"
	CodeTooMany        = "bad_status_429"
	CodeStatus4xx      = "bad_status_4xx"
	CodeStatus5xx      = "bad_status_5xx"
	CodeStatusOther    = "bad_status"
)

const (
	defaultMaxReply    = 1 << 20
	maxReplyHeader     = 64 << 10
	defaultDialTimeout = 5 * time.Second
)

// Config of a [Client].
type Config struct {
	// Timeout bounds one call from waiting for a connection to the last byte of the reply. Required.
	Timeout time.Duration
	// MaxReply is the largest reply body in bytes; 0 means 1 MiB.
	MaxReply int64
	// MaxConns bounds the connections to one host, 0 means no bound; calls beyond it wait within their Timeout.
	MaxConns int
	// MaxIdle is how many idle connections are kept; 0 means 64.
	MaxIdle int
	// IdleTimeout closes idle connections; keep it below the vendor's, so that calls do not meet a dying connection.
	// 0 means 30 s.
	IdleTimeout time.Duration
	// DialTimeout and TLSTimeout bound the two steps of connecting; 0 means 5 s each.
	DialTimeout, TLSTimeout time.Duration
	// TLS is the client side TLS configuration; nil means the system's trust and TLS 1.2 or later.
	TLS *tls.Config
	// DialContext replaces the dialer, for tests and simulations.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Validate returns all problems of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("HTTP timeout: must be more than 0"))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"HTTP largest reply", c.MaxReply},
		{"HTTP connections", int64(c.MaxConns)},
		{"HTTP idle connections", int64(c.MaxIdle)},
		{"HTTP idle timeout", int64(c.IdleTimeout)},
		{"HTTP dial timeout", int64(c.DialTimeout)},
		{"HTTP TLS timeout", int64(c.TLSTimeout)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s: must not be negative", f.name))
		}
	}
	return errors.Join(errs...)
}

// Response is a reply that was read to its end.
type Response struct {
	// Status is the HTTP status code, never one of 300 to 399.
	Status int
	// Header are the reply's headers.
	Header http.Header
	// Body is the whole body, at most Config.MaxReply bytes.
	Body []byte
}

// Client makes calls to one vendor. It is safe for concurrent use.
type Client struct {
	transport *http.Transport
	timeout   time.Duration
	maxReply  int64
}

// New returns a client; the configuration's problems are reported together.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	dial := c.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: or(c.DialTimeout, defaultDialTimeout), KeepAlive: 15 * time.Second}).DialContext
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		secure = c.TLS.Clone()
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &Client{
		timeout:  c.Timeout,
		maxReply: or(c.MaxReply, defaultMaxReply),
		transport: &http.Transport{
			DialContext:            trackDial(dial),
			TLSClientConfig:        secure,
			TLSHandshakeTimeout:    or(c.TLSTimeout, defaultDialTimeout),
			Protocols:              protocols,
			MaxConnsPerHost:        c.MaxConns,
			MaxIdleConns:           or(c.MaxIdle, 64),
			MaxIdleConnsPerHost:    or(c.MaxIdle, 64),
			IdleConnTimeout:        or(c.IdleTimeout, 30*time.Second),
			MaxResponseHeaderBytes: maxReplyHeader,
			// A vendor's compressed reply would not be what its signature or our cap is about.
			DisableCompression: true,
		},
	}, nil
}

// Close closes the idle connections. Calls may still be made afterwards.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Do performs one request and reads the whole reply. Any status but a redirect is a Response: see [StatusError].
//
// The error is a *vendors.Error: Retryable only if no byte of the request can have left, Permanent for a request that
// this package refuses to make, Unknown for everything else. Do takes over req and its context: ctx counts. When a
// handover in ctx begins before the first byte was written, the request is given up; a later one changes nothing.
func (c *Client) Do(ctx context.Context, req *http.Request, kind Kind) (Response, error) {
	if err := usable(req, kind); err != nil {
		return Response{}, &vendors.Error{Class: commands.ClassPermanent, Code: CodeUnusable, Err: err}
	}
	if end, bound := ctx.Deadline(); !bound || time.Until(end) > c.timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	seen := new(sighting)
	ctx, settled := seen.yield(ctx)
	defer settled()
	req = req.WithContext(seen.trace(ctx))
	if kind == Send {
		// With GetBody, net/http repeats a request by itself in some failures.
		req.GetBody = nil
	}
	// The transport is used directly: http.Client would add redirects, cookies and the URL to errors.
	res, err := c.transport.RoundTrip(req) //nolint:bodyclose // c.read closes it
	if err != nil {
		return Response{}, seen.classify(ctx, err)
	}
	body, err := c.read(ctx, res)
	if err != nil {
		return Response{}, err
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return Response{}, unknown(CodeRedirected, fmt.Errorf("the vendor redirects (status %d), which is not followed",
			res.StatusCode))
	}
	return Response{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// read reads the body to its end within the cap and closes it.
func (c *Client) read(ctx context.Context, res *http.Response) ([]byte, error) {
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, c.maxReply+1))
	if err != nil {
		code, cause := describe(ctx, err)
		return nil, unknown(code, fmt.Errorf("reading the reply: %w", cause))
	}
	if int64(len(body)) > c.maxReply {
		return nil, unknown(CodeReplyTooLarge, fmt.Errorf("the reply has more than %d bytes", c.maxReply))
	}
	return body, nil
}

// usable refuses a send that net/http might repeat although GetBody is nil: it does so for methods that it takes for
// safe and for requests without a body.
func usable(req *http.Request, kind Kind) error {
	if kind != Send {
		return nil
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return fmt.Errorf("a send needs a method with an effect, not %q", req.Method)
	}
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		return errors.New("a send needs a body")
	}
	return nil
}

// StatusError returns the Unknown error of a reply whose status the adapter does not accept, with the vendor's
// Retry-After if it gave one in seconds.
func StatusError(r Response) error {
	code := CodeStatusOther
	switch {
	case r.Status == http.StatusTooManyRequests:
		code = CodeTooMany
	case r.Status >= 500 && r.Status < 600:
		code = CodeStatus5xx
	case r.Status >= 400 && r.Status < 500:
		code = CodeStatus4xx
	}
	return &vendors.Error{
		Code:       code,
		RetryAfter: retryAfter(r.Header.Get("Retry-After")),
		Err:        fmt.Errorf("the vendor answered with HTTP status %d", r.Status),
	}
}

// retryAfter reads delay-seconds, at most a day; anything else is 0. The date form is not read: it would need the
// vendor's clock to agree with ours.
func retryAfter(text string) time.Duration {
	if text == "" || len(text) > 5 {
		return 0
	}
	var seconds int
	for _, d := range text {
		if d < '0' || d > '9' {
			return 0
		}
		seconds = seconds*10 + int(d-'0')
	}
	return min(time.Duration(seconds)*time.Second, 24*time.Hour)
}

// Unreadable returns the Unknown error of a reply that came whole but proves nothing. The text must hold nothing of the
// reply itself.
func Unreadable(code, text string) error { return unknown(code, errors.New(text)) }

func unknown(code string, err error) error { return &vendors.Error{Code: code, Err: err} }

func or[T int | int64 | time.Duration](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}
