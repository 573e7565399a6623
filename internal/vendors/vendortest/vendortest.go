// Package vendortest is the entry ticket of a vendor adapter: Run holds it against every way in which a network and a
// vendor can lie, and asks after each whether the adapter claimed more than it could know.
//
// It refuses to know any vendor: what a valid reply looks like comes from the harness. It listens on free ports of
// 127.0.0.1 and leaves nothing behind. It is for tests only.
package vendortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// Double is a strict double of the vendor with a ledger.
type Double interface {
	http.Handler
	// Moves is how many times money moved for the order.
	Moves(order string) int
}

// Harness says how to drive one adapter. All fields but ReadOnly, SendOnly and Statuses are required.
type Harness struct {
	// ReadOnly: the adapter only asks. Its Send is never called, and no money can move.
	ReadOnly bool
	// SendOnly: the adapter cannot be asked. Its Ask is never called, so nobody can say afterwards what happened.
	SendOnly bool
	// New returns the adapter, talking to the vendor at url. It must pass calls on unchanged.
	New func(t testing.TB, url string, calls wire.Config) vendors.Vendor
	// Double returns a fresh double that accepts every valid submission and settles it with success at once, or that
	// answers every valid question.
	Double func(t testing.TB) Double
	// Command returns a valid command for an order.
	Command func(order string) commands.Command
	// Replies are the vendor's replies with what they must be taken for.
	Replies []Exchange
	// Refusal is a reply that refuses a submission with the given message.
	Refusal func(message string) (body string)
	// Statuses are the HTTP statuses whose class the vendor documents; every other one but 200 must be Unknown.
	Statuses map[int]commands.Class
	// Secrets must never appear in an error, a reply or the printed adapter: keys, and the personal data of Command.
	Secrets []string
}

// Exchange is a reply and its meaning.
type Exchange struct {
	Name string
	// Ask: it answers Ask instead of Send.
	Ask bool
	// Body of an HTTP 200, "{order}" standing for the order that was asked for.
	Body string
	// Want is the status it must become; StatusUnclear means an error of class Class.
	Want  commands.Status
	Class commands.Class
	// Code is the error's code or the reply's Code; "" means any.
	Code string
}

// patience is how long something that must end by itself may take on a slow machine.
const patience = 30 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("replies", h.replies)
	t.Run("unreadable replies are unknown", h.junk)
	t.Run("http statuses", h.statuses)
	t.Run("redirects are not followed", h.redirects)
	t.Run("broken exchanges are unknown", h.broken)
	t.Run("proven not sent is retryable", h.notSent)
	t.Run("a stale connection is unknown", h.stale)
	t.Run("timeouts after the write began are unknown", h.timeouts)
	t.Run("cancelling returns", h.cancelling)
	if !h.ReadOnly && !h.SendOnly {
		t.Run("asking tells the truth", h.truth)
	}
	t.Run("texts are scrubbed", h.scrubbed)
	t.Run("the adapter prints no secret", h.printing)
}

// call is one of the two methods.
type call struct {
	name string
	with func(vendors.Vendor, context.Context, commands.Command) (commands.Reply, error)
}

func (c call) do(v vendors.Vendor, t *testing.T, cmd commands.Command) (commands.Reply, error) {
	return c.with(v, t.Context(), cmd)
}

// calls are the methods that the adapter has.
func (h Harness) calls() []call {
	send, ask := call{"send", vendors.Vendor.Send}, call{"ask", vendors.Vendor.Ask}
	switch {
	case h.ReadOnly:
		return []call{ask}
	case h.SendOnly:
		return []call{send}
	}
	return []call{send, ask}
}

// call is the method that an Exchange answers, or the only one.
func (h Harness) call(ask bool) call {
	all := h.calls()
	if ask {
		return all[len(all)-1]
	}
	return all[0]
}

// patient are call bounds that no fault should need.
func patient() wire.Config { return wire.Config{Timeout: patience, MaxReply: 64 << 10} }

// wantClass holds an error against its class and against the secrets.
func (h Harness) wantClass(t *testing.T, reply commands.Reply, err error, class commands.Class) *vendors.Error {
	t.Helper()
	require.Error(t, err)
	require.Zero(t, reply, "a reply beside an error")
	typed, ok := errors.AsType[*vendors.Error](err)
	require.True(t, ok, "the error is a %T, not a *vendors.Error", err)
	require.Equal(t, class, typed.Class, "%v", err)
	require.NotEmpty(t, typed.Code)
	require.Error(t, typed.Err)
	h.noSecrets(t, err)
	return typed
}

// noSecrets prints v in every way that a log might.
func (h Harness) noSecrets(t *testing.T, v any) {
	t.Helper()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("print", "it", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("print", "it", v)
	encoded, _ := json.Marshal(v)
	text := fmt.Sprintf("%v %+v %#v %s %q %s %s", v, v, v, v, v, encoded, log.String())
	for err, _ := v.(error); err != nil; err = errors.Unwrap(err) {
		text += fmt.Sprintf(" %v %+v %#v", err, err, err)
	}
	for _, secret := range h.Secrets {
		require.NotContains(t, text, secret)
	}
}

func (h Harness) replies(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, h.Replies)
	require.NotEmpty(t, h.Secrets)
	for _, x := range h.Replies {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answering(http.StatusOK, strings.ReplaceAll(x.Body, "{order}", "B-1")))
			v := h.New(t, s.url, patient())
			reply, err := h.call(x.Ask).do(v, t, h.Command("B-1"))
			require.Equal(t, 1, s.count())
			if x.Want == commands.StatusUnclear {
				typed := h.wantClass(t, reply, err, x.Class)
				require.Contains(t, []string{"", typed.Code}, x.Code)
				return
			}
			require.NoError(t, err)
			require.Equal(t, x.Want, reply.Status)
			require.Contains(t, []string{"", reply.Code}, x.Code)
			h.noSecrets(t, reply)
		})
	}
}

func (h Harness) junk(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty": "", "space": " \n", "html": "<html>ok</html>", "word": "success", "null": "null", "true": "true",
		"number": "1", "array": "[]", "string": `"success"`, "empty object": "{}", "cut": `{"status":"1","mess`,
		"two objects": `{} {}`, "deep": strings.Repeat("[", 20000), "not text": "\xff\xfe{\x00}\x00",
		"compressed": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
	} {
		for _, c := range h.calls() {
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				s := serve(t, answering(http.StatusOK, body))
				reply, err := c.do(h.New(t, s.url, patient()), t, h.Command("B-1"))
				h.wantClass(t, reply, err, commands.ClassUnknown)
				require.Equal(t, 1, s.count())
			})
		}
	}
}

func (h Harness) statuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{
		201, 202, 204, 206, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 501, 502, 503, 504, 520, 599,
	} {
		for _, c := range h.calls() {
			t.Run(fmt.Sprint(c.name, " ", status), func(t *testing.T) {
				t.Parallel()
				s := serve(t, answering(status, `{"status":"1"}`))
				reply, err := c.do(h.New(t, s.url, patient()), t, h.Command("B-1"))
				typed := h.wantClass(t, reply, err, h.Statuses[status])
				require.Equal(t, 1, s.count())
				if status == http.StatusTooManyRequests {
					require.Equal(t, 7*time.Second, typed.RetryAfter)
				}
			})
		}
	}
}

func (h Harness) redirects(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, c := range h.calls() {
			t.Run(fmt.Sprint(c.name, " ", status), func(t *testing.T) {
				t.Parallel()
				target := serve(t, answering(http.StatusOK, "{}"))
				s := serve(t, func(x *exchange) {
					x.write(fmt.Sprintf("HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, target.url))
				})
				reply, err := c.do(h.New(t, s.url, patient()), t, h.Command("B-1"))
				h.wantClass(t, reply, err, commands.ClassUnknown)
				require.Equal(t, 1, s.count())
				require.Zero(t, target.count(), "the redirect was followed")
			})
		}
	}
}

// scrubbed: a vendor that repeats what we sent it must not make us repeat it.
func (h Harness) scrubbed(t *testing.T) {
	t.Parallel()
	for i, secret := range h.Secrets {
		t.Run(fmt.Sprint("secret ", i), func(t *testing.T) {
			t.Parallel()
			body := h.Refusal("cannot debit " + secret + "!")
			s := serve(t, answering(http.StatusOK, body))
			for _, c := range h.calls() {
				reply, err := c.do(h.New(t, s.url, patient()), t, h.Command("B-1"))
				h.noSecrets(t, reply)
				if err != nil {
					h.noSecrets(t, err)
				}
			}
		})
	}
}

func (h Harness) printing(t *testing.T) {
	t.Parallel()
	h.noSecrets(t, h.New(t, "http://127.0.0.1:1", patient()))
	h.noSecrets(t, h.Command("B-1"))
}
