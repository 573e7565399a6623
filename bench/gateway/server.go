package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// maxBody bounds a request's body.
const maxBody = 1 << 20

// Request is what the double looks at.
type Request struct {
	Method, Path, ContentType string
	Body                      []byte
}

// Serve answers requests until ctx ends. It speaks as much of HTTP/1.1 as Go's client needs (connections that stay
// open, bodies with a Content-Length), for half of what net/http's server costs: on a small machine the double must
// not be what is measured.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer func() { _ = conn.Close() }()
			g.converse(conn)
		})
	}
}

// converse answers the requests of one connection until either side is tired of it.
func (g *Gateway) converse(conn io.ReadWriter) {
	in := bufio.NewReader(conn)
	var out []byte
	for {
		r, err := readRequest(in)
		if err != nil {
			return
		}
		status, body := g.Answer(r)
		if hungUp(conn) {
			g.cut()
			return
		}
		out = fmt.Appendf(out[:0], "HTTP/1.1 %d %s\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: %d\r\n\r\n",
			status, http.StatusText(status), len(body))
		out = append(out, body...)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// hungUp reports whether the other side has closed the connection. Writing would not tell: the first write after that
// still succeeds.
func hungUp(conn io.ReadWriter) (gone bool) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || errors.Is(err, syscall.ECONNRESET)
		return true
	})
	return gone || err != nil
}

// readRequest reads one request; a body without a Content-Length is refused.
func readRequest(in *bufio.Reader) (r Request, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return r, err
	}
	words := strings.Fields(string(line))
	if len(words) != 3 {
		return r, errors.New("no request line")
	}
	r.Method, r.Path = words[0], words[1]
	size := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return r, err
		}
		name, value, more := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		if !more {
			break
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Type")):
			r.ContentType = string(value)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return r, errors.New("no chunks")
		case bytes.EqualFold(name, []byte("Content-Length")):
			if size, err = strconv.Atoi(string(value)); err != nil || size < 0 || size > maxBody {
				return r, errors.New("no such Content-Length")
			}
		}
	}
	r.Body = make([]byte, size)
	_, err = io.ReadFull(in, r.Body)
	return r, err
}
