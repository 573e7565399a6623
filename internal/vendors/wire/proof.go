package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/handover"
	"paydispatch/internal/vendors"
)

// tracked is a connection that knows whether anything was written, and that can be sealed against writes that a
// cancelled request may still attempt. Bytes count before they are handed on: a write that fails counts as written,
// since a peer may have got a part of it.
type tracked struct {
	net.Conn

	mu      sync.Mutex
	written int64
	sealed  bool
	// last is when the request under way must have begun, by the wall clock; armed is what was written before it.
	last  time.Time
	armed int64
}

var (
	errSealed = errors.New("connection given up before the request was written")
	errLate   = errors.New("the deadline had passed by the wall clock")
)

// Write implements net.Conn.
func (c *tracked) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.sealed {
		c.mu.Unlock()
		return 0, errSealed
	}
	if c.written == c.armed && passed(c.last) {
		c.sealed = true
		c.mu.Unlock()
		return 0, errLate
	}
	c.written += int64(len(p))
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// arm tells the connection of a request that is about to be written and must not begin after last, zero for no bound. It
// returns what was written before.
func (c *tracked) arm(last time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.armed = last, c.written
	return c.written
}

// passed reports whether a deadline is over by the wall clock. The monotonic clock, which contexts go by, stands still
// while the machine is suspended: its timers fire late, and another process may have taken over meanwhile.
func passed(last time.Time) bool {
	return !last.IsZero() && time.Now().Round(0).After(last.Round(0))
}

// seal reports whether nothing was written since the count was n; if so, nothing ever will be.
func (c *tracked) seal(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written != n {
		return false
	}
	c.sealed = true
	return true
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func trackDial(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &tracked{Conn: conn}, nil
	}
}

// sighting is what was seen of one request.
type sighting struct {
	// mu guards got and yielded.
	mu sync.Mutex
	// got are the connections that the request was given, with what each had written before.
	got []mark
	// yielded: the request was given up for a handover. No connection that it gets from then on is written to.
	yielded bool
	// handshake: TLS began. Set from a dialing goroutine.
	handshake atomic.Bool
}

type mark struct {
	conn   *tracked
	before int64
}

func (s *sighting) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { s.handshake.Store(true) },
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if secure, ok := conn.(*tls.Conn); ok {
				conn = secure.NetConn()
			}
			t, _ := conn.(*tracked)
			m := mark{conn: t}
			if t != nil {
				last, _ := ctx.Deadline()
				m.before = t.arm(last)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got = append(s.got, m)
			if s.yielded && t != nil {
				t.seal(m.before)
			}
		},
	})
}

// yield returns ctx with an end at the beginning of its handover, if nothing was written by then. settled says that the
// call is over.
func (s *sighting) yield(ctx context.Context) (_ context.Context, settled func()) {
	over := handover.Of(ctx)
	if over == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(over, func() {
		if s.giveWay() {
			cancel()
		}
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// giveWay gives the request up for a handover, unless a byte of it was written.
func (s *sighting) giveWay() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.yielded = s.sealed()
	return s.yielded
}

// gaveWay reports whether the request was given up for a handover.
func (s *sighting) gaveWay() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.yielded
}

// nothingSent proves that no byte of the request left, and makes sure that none will.
func (s *sighting) nothingSent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed()
}

// sealed seals the connections that the request was given, and reports whether none was written to. It is called with
// the lock held.
func (s *sighting) sealed() bool {
	for _, m := range s.got {
		if m.conn == nil || !m.conn.seal(m.before) {
			return false
		}
	}
	return true
}

// classify turns the failure of a round trip into what it proves.
func (s *sighting) classify(ctx context.Context, err error) error {
	code, cause := describe(ctx, err)
	last, _ := ctx.Deadline()
	if !s.nothingSent() {
		return unknown(code, fmt.Errorf("after the request was written: %w", cause))
	}
	proven := func(code, step string) error {
		return &vendors.Error{Class: commands.ClassRetryable, Code: code, Err: fmt.Errorf("%s: %w", step, cause)}
	}
	switch {
	case s.gaveWay():
		return proven(vendors.CodeHandedOver, "before the request was written")
	case ctx.Err() == nil && passed(last):
		cause = errLate
		return proven(CodeDeadlinePassed, "before the request was written")
	case len(s.got) > 0 || ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return proven(CodeNotSent, "before the request was written")
	case s.handshake.Load():
		return proven(CodeTLSFailed, "securing the connection")
	}
	return proven(CodeDialFailed, "getting a connection")
}

// describe returns the code of a failure after writing, and a cause that is safe to print: the texts of net/http hold
// parts of the reply and of the URL, so none of them is passed on.
func describe(ctx context.Context, err error) (string, error) {
	var (
		netErr net.Error
		number syscall.Errno
		lookup *net.DNSError
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return CodeCanceled, context.Canceled
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout, context.DeadlineExceeded
	case errors.Is(err, errSealed):
		return CodeNotSent, errSealed
	case errors.As(err, &lookup):
		return CodeDialFailed, errors.New("the host name does not resolve")
	case errors.As(err, &verify):
		return CodeTLSFailed, errors.New("the certificate is not trusted")
	case errors.As(err, &record), errors.As(err, &alert):
		return CodeTLSFailed, errors.New("the TLS handshake failed")
	case errors.As(err, &number):
		return CodeReset, number
	case errors.As(err, &netErr) && netErr.Timeout():
		return CodeTimeout, context.DeadlineExceeded
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		// net/http exports no value for this one.
		strings.Contains(err.Error(), "server closed idle connection"):
		return CodeEOF, io.ErrUnexpectedEOF
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return CodeReset, net.ErrClosed
	}
	return CodeBadReply, fmt.Errorf("the exchange broke off (%T)", err)
}
