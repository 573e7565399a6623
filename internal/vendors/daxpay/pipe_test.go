package daxpay_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// pipe serves a handler over net.Pipe, so that a synctest bubble holds all of it.
type pipe struct {
	server *http.Server
	conns  chan net.Conn
	once   sync.Once
	done   chan struct{}
	served sync.WaitGroup
}

func newPipe(h http.Handler) *pipe {
	p := &pipe{server: &http.Server{Handler: h}, conns: make(chan net.Conn), done: make(chan struct{})}
	p.served.Go(func() { _ = p.server.Serve(p) })
	return p
}

func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, errors.New("closed")
	}
}

// Accept implements net.Listener.
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr implements net.Listener.
func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipe) close() {
	_ = p.server.Close()
	p.served.Wait()
}
