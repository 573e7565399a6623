package vendortest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/wire"
)

// broken: the request was written, then the exchange failed in one of many ways.
func (h Harness) broken(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name  string
		fault func(*exchange)
	}{
		{"closed without a reply", func(x *exchange) {}},
		{"reset without a reply", func(x *exchange) { x.reset() }},
		{"junk instead of a status line", func(x *exchange) { x.write("hello there\r\n\r\n") }},
		{"a status line that repeats the request", func(x *exchange) {
			x.write("HTTP/1.1 xyz " + x.body + "\r\n\r\n")
		}},
		{"cut in the headers", func(x *exchange) { x.write("HTTP/1.1 200 OK\r\nContent-Le") }},
		{"endless headers", func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\n")
			x.endless("X-More: " + strings.Repeat("a", 1000) + "\r\n")
		}},
		{"cut in the body", func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{\"status\":")
		}},
		{"reset in the body", func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{\"status\":")
			x.reset()
		}},
		{"cut in a chunk", func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{\"status\":")
		}},
		{"endless body", func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
			x.endless(strings.Repeat(" ", 4096))
		}},
	} {
		for _, c := range h.calls() {
			t.Run(c.name+" "+f.name, func(t *testing.T) {
				t.Parallel()
				s := serve(t, f.fault)
				reply, err := c.do(h.New(t, s.url, patient()), t, h.Command("B-1"))
				h.wantClass(t, reply, err, commands.ClassUnknown)
				require.Equal(t, 1, s.count(), "requests on the wire")
				require.Less(t, s.flooded.Load(), int64(flood/2), "an endless reply was read on")
			})
		}
	}
}

// notSent: the proof that nothing left must hold, and must be used.
func (h Harness) notSent(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, url string, calling wire.Config) {
		t.Helper()
		for _, c := range h.calls() {
			reply, err := c.do(h.New(t, url, calling), t, h.Command("B-1"))
			h.wantClass(t, reply, err, commands.ClassRetryable)
		}
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		check(t, "http://"+l.Addr().String()+"/", patient())
	})
	t.Run("the dial fails", func(t *testing.T) {
		t.Parallel()
		c := patient()
		c.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no route, says " + strings.Join(h.Secrets, " "))
		}
		check(t, "http://vendor.test/", c)
	})
	t.Run("the dial hangs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			c := patient()
			over, end := context.WithCancel(context.Background())
			t.Cleanup(end)
			c.DialContext = func(context.Context, string, string) (net.Conn, error) {
				<-over.Done()
				return nil, over.Err()
			}
			check(t, "http://vendor.test/", c)
		})
	})
	t.Run("the certificate is not trusted", func(t *testing.T) {
		t.Parallel()
		var hits atomic.Int64
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
		s.Config.ErrorLog = discard()
		s.StartTLS()
		defer s.Close()
		check(t, s.URL, patient())
		require.Zero(t, hits.Load())
	})
	t.Run("the other side speaks no TLS", func(t *testing.T) {
		t.Parallel()
		s := serve(t, answering(http.StatusOK, "{}"))
		check(t, strings.Replace(s.url, "http:", "https:", 1), patient())
		require.Zero(t, s.count())
	})
	t.Run("cancelled before the call", func(t *testing.T) {
		t.Parallel()
		s := serve(t, answering(http.StatusOK, "{}"))
		v := h.New(t, s.url, patient())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range h.calls() {
			reply, err := c.with(v, ctx, h.Command("B-1"))
			h.wantClass(t, reply, err, commands.ClassRetryable)
		}
		require.Zero(t, s.count())
	})
}

// stale: a kept connection serves one call and dies on the second, after having read it. net/http would send again
// here if it could; the vendor may have acted on what it read.
func (h Harness) stale(t *testing.T) {
	t.Parallel()
	for _, c := range h.calls() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			double := h.Double(t)
			s := serve(t, nil)
			s.handle = func(x *exchange) {
				if s.count() > 1 {
					x.reset()
					return
				}
				x.keepAlive = true
				x.pass(double)
				x.next()
			}
			s.start()
			v := h.New(t, s.url, patient())
			_, err := h.call(false).do(v, t, h.Command("B-1"))
			require.NoError(t, err)
			reply, err := c.do(v, t, h.Command("B-2"))
			h.wantClass(t, reply, err, commands.ClassUnknown)
			require.Equal(t, 2, s.count(), "requests on the wire")
		})
	}
}

// timeouts strikes during the write, before the reply and inside it.
func (h Harness) timeouts(t *testing.T) {
	t.Parallel()
	never := func(io.Reader) {}
	for name, f := range map[string]struct {
		// taste reads from the connection before the server does.
		taste func(io.Reader)
		fault func(*exchange)
		sent  int
	}{
		"nothing read":    {never, nil, 0},
		"some bytes read": {func(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 16) }, nil, 0},
		"no reply at all": {never, func(x *exchange) { x.waitForClient() }, 1},
		"cut reply": {never, func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
			x.waitForClient()
		}, 1},
		"body byte by byte": {never, func(x *exchange) {
			x.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
			for x.write(" ") {
				time.Sleep(time.Second)
			}
		}, 1},
	} {
		for _, c := range h.calls() {
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, dial := pipe(t, f.fault)
					calling := patient()
					calling.DialContext = dial
					if f.fault == nil {
						calling.DialContext = func(context.Context, string, string) (net.Conn, error) {
							ours, theirs := net.Pipe()
							t.Cleanup(func() { _ = theirs.Close() })
							go f.taste(theirs)
							return ours, nil
						}
					}
					reply, err := c.do(h.New(t, "http://vendor.test/", calling), t, h.Command("B-1"))
					typed := h.wantClass(t, reply, err, commands.ClassUnknown)
					require.Equal(t, wire.CodeTimeout, typed.Code)
					require.Equal(t, f.sent, s.count())
				})
			})
		}
	}
}

// cancelling: a cancelled call returns long before its timeout.
func (h Harness) cancelling(t *testing.T) {
	t.Parallel()
	for _, c := range h.calls() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := serve(t, func(x *exchange) {
				cancel()
				x.waitForClient()
			})
			v := h.New(t, s.url, wire.Config{Timeout: time.Hour})
			type outcome struct {
				reply commands.Reply
				err   error
			}
			done := make(chan outcome, 1)
			go func() {
				reply, err := c.with(v, ctx, h.Command("B-1"))
				done <- outcome{reply, err}
			}()
			select {
			case out := <-done:
				h.wantClass(t, out.reply, out.err, commands.ClassUnknown)
				require.Equal(t, 1, s.count())
			case <-time.After(patience):
				require.Fail(t, "the call did not return")
			}
		})
	}
}

// truth: after each fault the double's ledger knows what happened, and Ask must find it out.
func (h Harness) truth(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*exchange, Double){
		"none":                   func(x *exchange, d Double) { x.pass(d) },
		"request lost":           func(x *exchange, _ Double) { x.reset() },
		"reply lost":             func(x *exchange, d Double) { x.swallow(d) },
		"reply reset":            func(x *exchange, d Double) { x.swallow(d); x.reset() },
		"502 without an effect":  func(x *exchange, _ Double) { x.answer(502, "bad gateway") },
		"502 after the effect":   func(x *exchange, d Double) { x.swallow(d); x.answer(502, "bad gateway") },
		"429 after the effect":   func(x *exchange, d Double) { x.swallow(d); x.answer(429, "slow down") },
		"junk after the effect":  func(x *exchange, d Double) { x.swallow(d); x.answer(200, "<br>Warning") },
		"junk before the effect": func(x *exchange, _ Double) { x.answer(200, "<br>Warning") },
		"redirected after the effect": func(x *exchange, d Double) {
			x.swallow(d)
			x.write("HTTP/1.1 302 Found\r\nLocation: /done\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			double := h.Double(t)
			s := serve(t, nil)
			s.handle = func(x *exchange) {
				if s.count() == 1 {
					fault(x, double)
					return
				}
				x.pass(double)
			}
			s.start()
			v := h.New(t, s.url, patient())
			reply, err := v.Send(t.Context(), h.Command("B-1"))
			if name == "none" {
				require.NoError(t, err)
				require.Equal(t, commands.StatusSucceeded, reply.Status)
			} else {
				h.wantClass(t, reply, err, commands.ClassUnknown)
			}
			require.Equal(t, 1, s.count())
			moved := double.Moves("B-1")
			require.LessOrEqual(t, moved, 1)

			reply, err = v.Ask(t.Context(), h.Command("B-1"))
			require.NoError(t, err)
			want := commands.StatusMissing
			if moved == 1 {
				want = commands.StatusSucceeded
			}
			require.Equal(t, want, reply.Status)
			require.Equal(t, moved, double.Moves("B-1"), "asking moved money")
		})
	}
}
