package esign

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server serves a gateway on a free port of 127.0.0.1.
type Server struct {
	// URL is scheme and host.
	URL string

	gateway *Gateway
	server  *http.Server
	done    sync.WaitGroup
}

// Listen starts serving g; addr is host and port, "" means a free port of 127.0.0.1.
func Listen(g *Gateway, addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serving the e签宝 double: %w", err)
	}
	s := &Server{
		URL:     "http://" + l.Addr().String(),
		gateway: g,
		server:  &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second},
	}
	s.done.Go(func() { _ = s.server.Serve(l) })
	return s, nil
}

// Close stops the server and the gateway and waits for both.
func (s *Server) Close() {
	_ = s.server.Close()
	s.gateway.Close()
	s.done.Wait()
}
