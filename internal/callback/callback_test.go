package callback_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/memstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
)

var spec = commands.Spec{
	Topic: "withhold.request", ResultTopic: "withhold.result", Type: "withhold", Source: "/paydispatch/withhold",
	KeyField: "biz_order_no", MatchFields: []string{"pay_order_no"},
}

// lines decodes a body of the form "<order> <status> <pay_order_no>".
type lines struct{}

func (lines) Decode(_ string, body []byte) (string, commands.Reply, error) {
	words := strings.Fields(string(body))
	statuses := map[string]commands.Status{"success": commands.StatusSucceeded, "fail": commands.StatusFailed, "pending": commands.StatusPending}
	if len(words) != 3 || statuses[words[1]] == commands.StatusUnclear {
		return "", commands.Reply{}, errors.New("checksum wrong")
	}
	return words[0], commands.Reply{Status: statuses[words[1]], Fields: map[string]string{"pay_order_no": words[2]}}, nil
}

type recorder struct {
	messages []stream.Message
	fail     error
}

func (r *recorder) Publish(_ context.Context, m ...stream.Message) error {
	if r.fail != nil {
		return r.fail
	}
	r.messages = append(r.messages, m...)
	return nil
}

func (r *recorder) kinds() []string {
	kinds := []string{}
	for _, m := range r.messages {
		kind, _ := m.Header("ce_type")
		kinds = append(kinds, string(kind))
	}
	return kinds
}

type ingest struct {
	t        *testing.T
	store    *memstore.Store
	server   *memstore.Server
	log      *recorder
	tokens   commands.Keyring
	handler  http.Handler
	verdicts []string
}

func newIngest(t *testing.T) *ingest {
	t.Helper()
	server := memstore.NewServer(4)
	in := &ingest{t: t, server: server, store: memstore.New(server, memstore.Config{}), log: &recorder{}}
	require.NoError(t, in.store.Prepare(t.Context(), false))
	tokens, err := commands.NewKeyring([]byte("0123456789abcdef"))
	require.NoError(t, err)
	in.tokens = tokens
	driver, err := operation.New(operation.Config{
		Store: in.store, Publisher: in.log, Logger: slog.New(slog.DiscardHandler),
		Policy: commands.Policy{Spec: spec, Lease: time.Second, Settle: time.Second, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{time.Second}},
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle(callback.Pattern("withhold"), callback.New(callback.Config{
		Store: in.store, Driver: driver, Reader: callback.Tokened{Tokens: tokens, Decoder: lines{}}, MaxBody: 64, Timeout: time.Second,
		Limit: rate.NewLimiter(rate.Inf, 1), Answer: "success", Logger: slog.New(slog.DiscardHandler),
		Observe: func(v string, _ time.Duration) { in.verdicts = append(in.verdicts, v) },
	}))
	in.handler = mux
	return in
}

// stand puts an order into a phase.
func (in *ingest) stand(order string, phase commands.Phase) {
	in.t.Helper()
	s := commands.State{Phase: phase, Topic: spec.Topic, Key: commands.OperationKey(order), RequestID: "R1", Fingerprint: "fp", FirstSeen: time.Now(), Sends: 1,
		Lease: time.Now().Add(time.Minute), Seen: map[string]string{"pay_order_no": "P1"}}
	value, err := s.Encode()
	require.NoError(in.t, err)
	_, err = in.store.Swap(in.t.Context(), in.store.Expect(operation.Key(spec, s.Key)), value)
	require.NoError(in.t, err)
}

func (in *ingest) phase(order string) commands.Phase {
	in.t.Helper()
	record, err := in.store.Load(in.t.Context(), operation.Key(spec, commands.OperationKey(order)))
	require.NoError(in.t, err)
	s, err := commands.DecodeState(record.Value)
	require.NoError(in.t, err)
	return s.Phase
}

func (in *ingest) post(url, body string) (int, string) {
	in.t.Helper()
	rec := httptest.NewRecorder()
	in.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, url, strings.NewReader(body)))
	answer, err := io.ReadAll(rec.Body)
	require.NoError(in.t, err)
	return rec.Code, string(answer)
}

func (in *ingest) url(order string) string { return callback.URL("", "withhold", in.tokens, order) }

// A callback settles from every phase in which the order is known: before our own send returned, while asking, pending,
// after it was given up.
func TestCallbackSettles(t *testing.T) {
	t.Parallel()
	for _, phase := range []commands.Phase{commands.Sending, commands.Asking, commands.Pending, commands.Unresolved} {
		t.Run(phase.String(), func(t *testing.T) {
			t.Parallel()
			in := newIngest(t)
			in.stand("B1", phase)
			code, answer := in.post(in.url("B1"), "B1 success P1")
			require.Equal(t, http.StatusOK, code)
			require.Equal(t, "success", answer)
			require.Equal(t, []string{"withhold.succeeded.v1"}, in.log.kinds())
			require.Equal(t, commands.Announced, in.phase("B1"))
		})
	}
}

func TestDuplicatesAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	in := newIngest(t)
	in.stand("B1", commands.Pending)
	for range 3 {
		code, answer := in.post(in.url("B1"), "B1 success P1")
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, "success", answer)
	}
	require.Equal(t, []string{"withhold.succeeded.v1"}, in.log.kinds())
}

func TestContraryWordIsAConflictAndChangesNothing(t *testing.T) {
	t.Parallel()
	in := newIngest(t)
	in.stand("B1", commands.Pending)
	in.post(in.url("B1"), "B1 success P1")
	code, _ := in.post(in.url("B1"), "B1 fail P1")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, []string{"withhold.succeeded.v1", "withhold.conflict.v1"}, in.log.kinds())
	require.Equal(t, commands.Announced, in.phase("B1"))
}

func TestPendingChangesNothing(t *testing.T) {
	t.Parallel()
	in := newIngest(t)
	in.stand("B1", commands.Pending)
	code, _ := in.post(in.url("B1"), "B1 pending P1")
	require.Equal(t, http.StatusOK, code)
	require.Empty(t, in.log.kinds())
	require.Equal(t, commands.Pending, in.phase("B1"))
}

// No one outside moves an order (design 1, promise 5).
func TestForgedCallbacksChangeNothing(t *testing.T) {
	t.Parallel()
	probe := newIngest(t)
	other, err := commands.NewKeyring([]byte("fedcba9876543210"))
	require.NoError(t, err)
	token := probe.tokens.Token("B1")
	for name, c := range map[string]struct {
		url, body, verdict string
		code               int
	}{
		"no such token":            {callback.URL("", "withhold", other, "B1"), "B1 success P1", callback.VerdictForged, 404},
		"token of another order":   {strings.Replace(probe.url("B1"), token, probe.tokens.Token("B2"), 1), "B1 success P1", callback.VerdictForged, 404},
		"order is no base64":       {"/callbacks/withhold/!!/" + token, "B1 success P1", callback.VerdictForged, 404},
		"body of another order":    {probe.url("B2"), "B1 success P1", callback.VerdictMalformed, 400},
		"checksum wrong":           {probe.url("B1"), "B1 paid P1", callback.VerdictMalformed, 400},
		"too large":                {probe.url("B1"), "B1 success " + strings.Repeat("P", 64), callback.VerdictMalformed, 400},
		"another pay_order_no":     {probe.url("B1"), "B1 success P9", callback.VerdictMismatch, 400},
		"an order not known to us": {probe.url("B7"), "B7 success P1", callback.VerdictUnknown, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newIngest(t)
			in.stand("B1", commands.Pending)
			code, answer := in.post(c.url, c.body)
			require.Equal(t, c.code, code)
			require.NotContains(t, answer, "B1")
			require.Equal(t, []string{c.verdict}, in.verdicts)
			require.Empty(t, in.log.kinds())
			require.Equal(t, commands.Pending, in.phase("B1"))
		})
	}
}

// The vendor gets an error until the result is durable, and the next try finishes what the first began.
func TestAnswersOnlyWhenDurable(t *testing.T) {
	t.Parallel()
	in := newIngest(t)
	in.stand("B1", commands.Pending)
	in.log.fail = errors.New("broker away")
	code, answer := in.post(in.url("B1"), "B1 success P1")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.NotContains(t, answer, "success")
	in.log.fail = nil
	code, _ = in.post(in.url("B1"), "B1 success P1")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, []string{"withhold.succeeded.v1"}, in.log.kinds())
}

func TestOtherMethodsAndTooManyAreRefused(t *testing.T) {
	t.Parallel()
	in := newIngest(t)
	rec := httptest.NewRecorder()
	in.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, in.url("B1"), nil))
	require.Equal(t, http.StatusMethodNotAllowed, rec.Code)
	require.Equal(t, http.MethodPost, rec.Header().Get("Allow"))

	throttled := callback.New(callback.Config{Limit: rate.NewLimiter(0, 0), Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
	rec = httptest.NewRecorder()
	throttled.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/", nil))
	require.Equal(t, http.StatusTooManyRequests, rec.Code)
}

// racing is a store in which another writer settles the order between our load and our swap.
type racing struct {
	idempotency.Store
	before func()
}

func (r *racing) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	if f := r.before; f != nil {
		r.before = nil
		f()
	}
	return r.Store.Swap(ctx, was, value)
}

func TestCallbackRacesTheDispatcher(t *testing.T) {
	t.Parallel()
	in := newIngest(t)
	in.stand("B1", commands.Pending)
	store := &racing{Store: in.store, before: func() { in.post(in.url("B1"), "B1 success P1") }}
	driver, err := operation.New(operation.Config{
		Store: store, Publisher: in.log, Logger: slog.New(slog.DiscardHandler),
		Policy: commands.Policy{Spec: spec, Lease: time.Second, Settle: time.Second, Deadline: time.Hour, MaxSends: 1, Tiers: []time.Duration{time.Second}},
	})
	require.NoError(t, err)
	h := callback.New(callback.Config{Store: store, Driver: driver, Reader: callback.Tokened{Tokens: in.tokens, Decoder: lines{}}, MaxBody: 64, Timeout: time.Second,
		Limit: rate.NewLimiter(rate.Inf, 1), Answer: "success", Logger: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	mux.Handle(callback.Pattern("withhold"), h)
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, in.url("B1"), strings.NewReader("B1 fail P1")))
	require.Equal(t, http.StatusOK, rec.Code)
	require.Equal(t, []string{"withhold.succeeded.v1", "withhold.conflict.v1"}, in.log.kinds(), "the first word stands")
}

// asker answers questions as the test wrote down.
type asker struct {
	reply commands.Reply
	err   error
	asked int
	about commands.OperationKey
}

func (a *asker) Ask(_ context.Context, c commands.Command) (commands.Reply, error) {
	a.asked++
	a.about = c.Key
	return a.reply, a.err
}

// A signed callback is a hint: the vendor is asked, and only its answer counts.
func TestSignedCallbacksAreHints(t *testing.T) {
	t.Parallel()
	read := commands.Spec{Topic: "identity.poll", ResultTopic: "identity.result", Type: "identity", KeyField: "flowId", Effect: commands.EffectRead}
	for name, c := range map[string]struct {
		reply  commands.Reply
		err    error
		header string
		code   int
		kinds  []string
		phase  commands.Phase
	}{
		"answered":      {commands.Reply{Status: commands.StatusSucceeded}, nil, "good", 200, []string{"identity.answered.v1"}, commands.Announced},
		"failed":        {commands.Reply{Status: commands.StatusFailed}, nil, "good", 200, []string{"identity.failed.v1"}, commands.Announced},
		"still pending": {commands.Reply{Status: commands.StatusPending}, nil, "good", 200, []string{"identity.pending.v1"}, commands.Pending},
		"no answer":     {commands.Reply{}, errors.New("away"), "good", 200, []string{}, commands.Asking},
		"forged":        {commands.Reply{Status: commands.StatusSucceeded}, nil, "bad", 404, []string{}, commands.Asking},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newIngest(t)
			a := &asker{reply: c.reply, err: c.err}
			driver, err := operation.New(operation.Config{
				Store: in.store, Publisher: in.log, Asker: a, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler),
				Policy: commands.Policy{Spec: read, Deadline: time.Hour, Tiers: []time.Duration{time.Second}},
			})
			require.NoError(t, err)
			key := operation.Key(read, "F1")
			state := commands.State{Phase: commands.Asking, Topic: read.Topic, Key: "F1", RequestID: "R1", FirstSeen: time.Now()}
			value, err := state.Encode()
			require.NoError(t, err)
			_, err = in.store.Swap(t.Context(), in.store.Expect(key), value)
			require.NoError(t, err)
			h := callback.New(callback.Config{
				Store: in.store, Driver: driver, MaxBody: 64, Timeout: time.Second, Limit: rate.NewLimiter(rate.Inf, 1),
				Logger: slog.New(slog.DiscardHandler), IgnoreGet: true,
				Reader: callback.Signed{Verify: func(header http.Header, _ url.Values, body []byte) (commands.OperationKey, error) {
					if header.Get("Signature") != "good" {
						return "", callback.ErrForged
					}
					return commands.OperationKey(body), nil
				}},
			})
			request := httptest.NewRequest(http.MethodPost, "/callbacks/esign", strings.NewReader("F1"))
			request.Header.Set("Signature", c.header)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, request)
			require.Equal(t, c.code, rec.Code)
			require.Equal(t, c.kinds, in.log.kinds())
			record, err := in.store.Load(t.Context(), key)
			require.NoError(t, err)
			stands, err := commands.DecodeState(record.Value)
			require.NoError(t, err)
			require.Equal(t, c.phase, stands.Phase)
			if c.header == "bad" {
				require.Zero(t, a.asked)
			} else {
				require.Equal(t, commands.OperationKey("F1"), a.about)
			}

			rec = httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/callbacks/esign", nil))
			require.Equal(t, http.StatusOK, rec.Code)
		})
	}
}

// A callback that breaks the handler down is counted too, as our fault.
func TestAPanicIsCounted(t *testing.T) {
	t.Parallel()
	var verdicts []string
	h := callback.New(callback.Config{
		Reader: broken{}, MaxBody: 64, Timeout: time.Second, Limit: rate.NewLimiter(rate.Inf, 1), Logger: slog.New(slog.DiscardHandler),
		Observe: func(v string, _ time.Duration) { verdicts = append(verdicts, v) },
	})
	require.Panics(t, func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil)) })
	require.Equal(t, []string{callback.VerdictFault}, verdicts)
}

type broken struct{}

func (broken) Read(*http.Request, func() ([]byte, error)) (callback.Word, error) { panic("a bug") }
