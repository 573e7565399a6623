// Package callback is the HTTP shell that turns a vendor's callbacks into the same result events as the dispatcher,
// through the same records and the same core.
//
// It refuses to believe a body: a Reader proves first that the vendor sent it, by the unguessable token that a single
// order got in its notify_url, or by a signature over the raw bytes. It answers only after the result is durable, and
// answers duplicates alike. Where a callback is only a hint, the vendor is asked, once, and nothing is ever sent.
//
// Its caller must serve it over TLS, keep request paths out of access logs, and bound connections and header time.
package callback

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
)

// Verdicts are the words for how a callback ended; a closed list for metrics and logs.
const (
	VerdictAccepted  = "accepted"
	VerdictForged    = "forged"     // the token does not belong to the order
	VerdictMalformed = "malformed"  // too large, unreadable, checksum wrong, another order inside
	VerdictUnknown   = "unknown"    // no record of the order: the vendor is asked to send again
	VerdictMismatch  = "mismatch"   // contradicts what the vendor said before
	VerdictFault     = "our_fault"  // store or publisher away: the vendor is asked to send again
	VerdictThrottled = "throttled"  // more than the rate allows
	VerdictMethod    = "bad_method" // not a POST
	VerdictIgnored   = "ignored"    // a GET where those carry nothing
)

// Verdicts lists all verdicts.
func Verdicts() []string {
	return []string{
		VerdictAccepted, VerdictForged, VerdictMalformed, VerdictUnknown, VerdictMismatch, VerdictFault, VerdictThrottled,
		VerdictMethod, VerdictIgnored,
	}
}

// Config is what a Handler needs.
type Config struct {
	// Vendor names whose callbacks these are, for logs and spans.
	Vendor string
	Store  idempotency.Store
	Driver *operation.Driver
	Reader Reader
	// IgnoreGet answers GETs with a 200 and does nothing (browsers that come back from a flow).
	IgnoreGet bool
	// MaxBody bounds the body in bytes, Timeout the whole handling.
	MaxBody int64
	Timeout time.Duration
	// Limit bounds the callbacks a second that are looked at.
	Limit *rate.Limiter
	// Answer is the body of a 200 (withhold: "success").
	Answer string
	Logger *slog.Logger
	// Observe is told of each callback's verdict and how long it took to come to it; nil observes nothing.
	Observe func(verdict string, took time.Duration)
	// Tracer makes the spans of callbacks; nil makes none.
	Tracer operation.Tracer
}

// Handler serves POST <Pattern>.
type Handler struct{ Config }

// New returns a handler.
func New(c Config) *Handler { return &Handler{c} }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), h.Timeout)
	defer cancel()
	var span operation.Span
	if h.Tracer != nil {
		ctx, span = h.Tracer.Callback(ctx, h.Vendor)
	}
	verdict, about := VerdictFault, commands.State{}
	defer func() { // a panic goes on to the server, and is seen here
		took := time.Since(began)
		if span != nil {
			span.About(&about)
			span.End(verdict, verdict == VerdictFault)
		}
		if h.Observe != nil {
			h.Observe(verdict, took)
		}
		h.Logger.Info("callback", "vendor", h.Vendor, "verdict", verdict, "key", about.Key, "request_id", about.RequestID,
			"trace_id", operation.Trace{Parent: about.Trace}.ID(), "took", took)
	}()
	verdict, about = h.take(ctx, w, r)
	h.answer(w, verdict)
}

// take deals with one callback and returns its verdict and, once it is authentic, the operation that it is about: its
// key, and what is recorded of it.
func (h *Handler) take(ctx context.Context, w http.ResponseWriter, r *http.Request) (verdict string, about commands.State) {
	if r.Method == http.MethodGet && h.IgnoreGet {
		return VerdictIgnored, about
	}
	if r.Method != http.MethodPost {
		return VerdictMethod, about
	}
	if !h.Limit.Allow() {
		return VerdictThrottled, about
	}
	word, err := h.Reader.Read(r, func() ([]byte, error) { return io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody)) })
	switch {
	case errors.Is(err, ErrForged):
		return VerdictForged, about
	case err != nil:
		h.Logger.Warn("callback cannot be read", "key", word.Key, "err", err)
		return VerdictMalformed, commands.State{Key: word.Key}
	}
	about, err = h.apply(ctx, word)
	return h.verdict(word.Key, err), about
}

// apply moves the operation and returns only when its result, if there is a new one, is durable.
func (h *Handler) apply(ctx context.Context, word Word) (about commands.State, err error) {
	about.Key = word.Key
	spec := h.Driver.Policy.Spec
	record, err := h.Store.Load(ctx, operation.Key(spec, word.Key))
	if err != nil {
		return about, err
	}
	if record.Version == 0 {
		return about, &commands.Refusal{Event: "callback", Reason: commands.ReasonUnknownOrder}
	}
	state, err := commands.DecodeState(record.Value)
	if err != nil {
		return about, err
	}
	command, err := question(state, spec.KeyField)
	if err != nil {
		return state, err
	}
	_, err = h.Driver.Drive(ctx, &operation.Job{Command: command, Record: record, State: state, Entry: word.Event})
	return state, err
}

func (h *Handler) verdict(order commands.OperationKey, err error) string {
	if err == nil {
		return VerdictAccepted
	}
	if refusal, ok := errors.AsType[*commands.Refusal](err); ok && refusal.Reason != commands.ReasonImpossible {
		if refusal.Reason == commands.ReasonUnknownOrder {
			return VerdictUnknown
		}
		h.Logger.Warn("callback contradicts what is known of the order; it changed nothing", "key", order)
		return VerdictMismatch
	}
	h.Logger.Error("callback not applied", "key", order, "err", err)
	return VerdictFault
}

// answer tells the vendor what it needs to know and an attacker nothing: whether to send again.
func (h *Handler) answer(w http.ResponseWriter, verdict string) {
	status, body := http.StatusOK, h.Answer
	switch verdict {
	case VerdictForged:
		status, body = http.StatusNotFound, "not found"
	case VerdictMalformed, VerdictMismatch:
		status, body = http.StatusBadRequest, "not accepted"
	case VerdictUnknown, VerdictFault:
		status, body = http.StatusServiceUnavailable, "try again later"
	case VerdictThrottled:
		status, body = http.StatusTooManyRequests, "try again later"
	case VerdictMethod:
		w.Header().Set("Allow", http.MethodPost)
		status, body = http.StatusMethodNotAllowed, "POST only"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}
