// Package callback is the HTTP shell that turns a vendor's callbacks into the same result events as the dispatcher,
// through the same records and the same core.
//
// It refuses to believe a body: what authenticates a callback is the unguessable token that a single order got in its
// notify_url, checked before the body is read. It answers only after the result is durable, and answers duplicates
// alike. It never calls a vendor.
//
// Its caller must serve it over TLS, keep request paths out of access logs, and bound connections and header time.
package callback

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

// Decoder reads one vendor's callback: the order it speaks of and what it says. Its errors carry no values.
type Decoder interface {
	Decode(contentType string, body []byte) (order string, reply commands.Reply, err error)
}

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
)

// Config is what a Handler needs.
type Config struct {
	Store  idempotency.Store
	Driver *operation.Driver
	// Tokens verify the order's token; the newest key is the one that the dispatcher signs with.
	Tokens  commands.Keyring
	Decoder Decoder
	// MaxBody bounds the body in bytes, Timeout the whole handling.
	MaxBody int64
	Timeout time.Duration
	// Limit bounds the callbacks a second that are looked at.
	Limit *rate.Limiter
	// Answer is the body of a 200 (withhold: "success").
	Answer string
	Logger *slog.Logger
	// Observe is told of each callback's verdict; nil observes nothing.
	Observe func(verdict string)
}

// Handler serves POST <Pattern>.
type Handler struct{ Config }

// New returns a handler.
func New(c Config) *Handler { return &Handler{c} }

// Pattern returns the route of a vendor's callbacks for http.ServeMux.
func Pattern(vendor string) string { return "/callbacks/" + vendor + "/{order}/{token}" }

// URL returns the address that an order's callback is sent to, below base (such as https://pay.example.com).
func URL(base, vendor string, tokens commands.Keyring, order string) string {
	return base + "/callbacks/" + vendor + "/" + base64.RawURLEncoding.EncodeToString([]byte(order)) + "/" + tokens.Token(order)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.Timeout)
	defer cancel()
	verdict, order := h.take(ctx, w, r)
	if h.Observe != nil {
		h.Observe(verdict)
	}
	h.Logger.Info("callback", "verdict", verdict, "key", order)
	h.answer(w, verdict)
}

// take deals with one callback and returns its verdict and, once it is authentic, its order.
func (h *Handler) take(ctx context.Context, w http.ResponseWriter, r *http.Request) (verdict, order string) {
	if r.Method != http.MethodPost {
		return VerdictMethod, ""
	}
	if !h.Limit.Allow() {
		return VerdictThrottled, ""
	}
	name, err := base64.RawURLEncoding.DecodeString(r.PathValue("order"))
	if err != nil || !h.Tokens.VerifyToken(string(name), r.PathValue("token")) {
		return VerdictForged, ""
	}
	order = string(name)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	if err != nil {
		return VerdictMalformed, order
	}
	about, reply, err := h.Decoder.Decode(r.Header.Get("Content-Type"), body)
	if err != nil {
		h.Logger.Warn("callback cannot be read", "key", order, "err", err)
		return VerdictMalformed, order
	}
	if about != order {
		h.Logger.Warn("callback speaks of another order than its address", "key", order)
		return VerdictMalformed, order
	}
	return h.apply(ctx, order, reply), order
}

// apply moves the operation and returns only when its result, if there is a new one, is durable.
func (h *Handler) apply(ctx context.Context, order string, reply commands.Reply) string {
	record, err := h.Store.Load(ctx, operation.Key(h.Driver.Policy.Spec, commands.OperationKey(order)))
	if err != nil {
		h.Logger.Error("callback not applied", "key", order, "err", err)
		return VerdictFault
	}
	if record.Version == 0 {
		return VerdictUnknown
	}
	state, err := commands.DecodeState(record.Value)
	if err != nil {
		h.Logger.Error("callback not applied", "key", order, "err", err)
		return VerdictFault
	}
	_, err = h.Driver.Drive(ctx, operation.Job{
		Record: record, State: state, Message: stream.Message{}, Entry: commands.CalledBack{Reply: reply},
	})
	return h.verdict(order, err)
}

func (h *Handler) verdict(order string, err error) string {
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
