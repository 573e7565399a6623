package vendortest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// server is an HTTP server below net/http, so that it can break every rule; it counts the requests that came whole.
type server struct {
	url    string
	handle func(*exchange)

	listener net.Listener
	work     sync.WaitGroup
	mu       sync.Mutex
	requests int
	// flooded are the bytes that endless could write.
	flooded atomic.Int64
	conns   []net.Conn
	closed  bool
}

// serve listens; handle deals with each request, and its connection closes afterwards. With a nil handle the caller
// sets it and calls start.
func serve(t testing.TB, handle func(*exchange)) *server {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{url: "http://" + l.Addr().String() + "/gateway", listener: l, handle: handle}
	t.Cleanup(s.close)
	if handle != nil {
		s.start()
	}
	return s
}

func (s *server) start() {
	s.work.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			if s.keep(conn) {
				s.work.Go(func() { s.serveConn(conn) })
			}
		}
	})
}

// pipe returns a dialer of connections in memory, for tests in a synctest bubble: their timeouts cost no time and cannot
// strike early on a slow machine. The server itself listens nowhere.
func pipe(t testing.TB, handle func(*exchange)) (*server, dialer) {
	s := &server{handle: handle}
	t.Cleanup(s.close)
	return s, func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		if s.keep(theirs) {
			s.work.Go(func() { s.serveConn(theirs) })
		}
		return ours, nil
	}
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

func (s *server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.conns = append(s.conns, conn)
	return true
}

func (s *server) close() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *server) serveConn(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	x := &exchange{server: s, conn: conn, in: bufio.NewReader(conn)}
	x.next()
}

// exchange is one request and the connection it came on.
type exchange struct {
	server *server
	conn   net.Conn
	in     *bufio.Reader
	req    *http.Request
	body   string
	// keepAlive: the reply does not announce that the connection closes.
	keepAlive bool
}

// next reads the connection's next request, if there is one, and handles it.
func (x *exchange) next() {
	req, err := http.ReadRequest(x.in)
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	x.req, x.body = req, string(body)
	x.server.mu.Lock()
	x.server.requests++
	x.server.mu.Unlock()
	x.server.handle(x)
}

// write reports whether the client is still there.
func (x *exchange) write(text string) bool {
	_, err := io.WriteString(x.conn, text)
	return err == nil
}

// flood is what endless writes at most; sockets buffer far less than half of it.
const flood = 64 << 20

// endless writes until the client has left, and for practical purposes without end.
func (x *exchange) endless(text string) {
	for n := 0; n < flood && x.write(text); n += len(text) {
		x.server.flooded.Add(int64(len(text)))
	}
}

// reset ends the connection with a TCP reset instead of a clean close.
func (x *exchange) reset() {
	if tcp, ok := x.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = x.conn.Close()
}

// waitForClient returns when the client has closed its side.
func (x *exchange) waitForClient() { _, _ = io.Copy(io.Discard, x.in) }

// answer writes a whole reply, with a Retry-After of 7 seconds.
func (x *exchange) answer(status int, body string) {
	text := fmt.Sprintf("HTTP/1.1 %d Any\r\nContent-Type: application/json\r\nRetry-After: 7\r\n", status)
	if !x.keepAlive {
		text += "Connection: close\r\n"
	}
	if status == http.StatusNoContent {
		x.write(text + "\r\n")
		return
	}
	x.write(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", text, len(body), body))
}

// pass lets a handler answer.
func (x *exchange) pass(h http.Handler) {
	res := x.swallow(h)
	x.answer(res.Code, res.Body.String())
}

// swallow lets a handler act and keeps its answer.
func (x *exchange) swallow(h http.Handler) *httptest.ResponseRecorder {
	req := x.req.Clone(x.req.Context())
	req.Body = io.NopCloser(bytes.NewReader([]byte(x.body)))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

// answering answers each request alike.
func answering(status int, body string) func(*exchange) {
	return func(x *exchange) { x.answer(status, body) }
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }
