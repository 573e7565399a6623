// Package daxpay is a strict double of a DaxPay server 2.0.8 (by setting 2.0.7) as far as POST
// /unipay/query/allocationReceiver goes: it validates in the server's order, makes the signature anew from the fields
// that its own version knows, keeps a store of receivers, answers in the shape of the server's JSON, and misbehaves by
// script.
//
// It is built from the server's published behaviour and shares no code with the adapter, so that a mistake in one does
// not hide in the other. What nobody has seen a server do (a request to another path, another content type) it answers
// as it thinks best and complains about.
//
// It rolls no dice and reads no clock but through the time package, so it runs in a synctest bubble; [Config.Gate] lets
// a simulation decide the order of its actions and which of them get lost. It is for the sandbox, tests and the bench:
// nothing of it belongs into a service.
//
// Callers must Close it, and must not serve requests afterwards.
package daxpay

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Verdict is what a gate lets happen.
type Verdict uint8

const (
	// Proceed is the zero value.
	Proceed Verdict = iota
	// Drop loses the request or the reply: the connection closes.
	Drop
	// Hang loses it silently: nothing comes until the client gives up.
	Hang
)

// Version is the server's.
type Version string

// The versions that this double knows.
const (
	V208 Version = "2.0.8"
	V207 Version = "2.0.7"
)

// Path is where the interface is.
const Path = "/unipay/query/allocationReceiver"

// Receiver is one line of the store. An empty text is null to the server.
type Receiver struct {
	ReceiverNo, Channel, ReceiverType, ReceiverAccount, ReceiverName, RelationType, RelationName string
}

// Config of a [Server]. The zero value but Secret is usable.
type Config struct {
	// Version; "" means 2.0.8.
	Version Version
	// Secret and SignType ("HMAC_SHA256", also "", or "MD5") are those of the whole installation.
	Secret, SignType string
	// NoReqSign makes the server ignore the signatures of requests, as the platform's switch does.
	NoReqSign bool
	// ReqTimeout is how old a request may be; 0 means 10 s. Only 2.0.8 checks it.
	ReqTimeout time.Duration
	// Receivers are in the store from the start.
	Receivers []Receiver
	// Latency passes before each request is acted on.
	Latency time.Duration
	// Script decides the fate of the n-th question (from 1) that was read and is no refusal; nil means an answer at once.
	Script func(n int, q Query) Plan
	// Gate is asked before each action and before each reply, on the handler's goroutine; nil means Proceed. Ops are
	// "allocationReceiver/<channel>,<receiverNo>/<nonceStr, or reqTime>/act", ".../wake" (after a scripted wait) and
	// ".../reply". A gate that waits must return when ctx ends, which is when the server closes.
	Gate func(ctx context.Context, op string) Verdict
}

// Query is a question as the server read it.
type Query struct{ Channel, ReceiverNo, ClientIP, NonceStr, Sign, ReqTime string }

// Plan is the fate of one question. The zero value: answered from the store.
type Plan struct {
	// DropRequest closes the connection before anything is done.
	DropRequest bool
	// Slow passes before the store is read.
	Slow time.Duration
	// Refuse answers with data.code 1 and this text, signed: a business error.
	Refuse string
	// Fail answers with this top-level code and Message, unsigned.
	Fail    int
	Message string

	// The rest strikes the reply.
	DropReply bool
	HangReply bool
	// SlowReply passes before the reply.
	SlowReply time.Duration
	// Status answers with this HTTP status instead of 200, and an HTML page.
	Status int
	// Garbage answers 200 with a body that is no reply.
	Garbage bool
	// WrongSign signs with another secret, Unsigned sends null.
	WrongSign bool
	Unsigned  bool
}

// Server is the double. It is an http.Handler and safe for concurrent use.
type Server struct {
	config Config
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu         sync.Mutex
	store      []Receiver
	questions  []Query
	complaints []string
	requests   int
}

// New returns a running server.
func New(c Config) *Server {
	if c.Version == "" {
		c.Version = V208
	}
	if c.SignType == "" {
		c.SignType = "HMAC_SHA256"
	}
	if c.ReqTimeout == 0 {
		c.ReqTimeout = 10 * time.Second
	}
	if c.Script == nil {
		c.Script = func(int, Query) Plan { return Plan{} }
	}
	if c.Gate == nil {
		c.Gate = func(context.Context, string) Verdict { return Proceed }
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Server{config: c, ctx: ctx, stop: stop, store: slices.Clone(c.Receivers)}
}

// Close cuts requests short and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.work.Wait()
}

// Add puts a receiver into the store.
func (s *Server) Add(r Receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = append(s.store, r)
}

// Questions are those that were read and were no refusal, in order.
func (s *Server) Questions() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.questions)
}

// Complaints are the requests that the server refused, and what else was odd about them.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.complaints)
}

// Requests is how many requests arrived.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// sleep reports whether the time passed before Close.
func (s *Server) sleep(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// Listener serves a server on a port of 127.0.0.1.
type Listener struct {
	// URL is the base address, without the interface's path.
	URL string

	server *Server
	http   *http.Server
	done   sync.WaitGroup
}

// Listen starts serving s; addr is host and port, "" means a free port of 127.0.0.1.
func Listen(s *Server, addr string) (*Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serving the DaxPay double: %w", err)
	}
	out := &Listener{
		URL: "http://" + l.Addr().String(), server: s,
		http: &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second},
	}
	out.done.Go(func() { _ = out.http.Serve(l) })
	return out, nil
}

// Close stops listening and the server and waits for both.
func (l *Listener) Close() {
	_ = l.http.Close()
	l.server.Close()
	l.done.Wait()
}
