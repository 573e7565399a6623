package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/sim/withhold"
)

// Every process of both services is replaced while commands and callbacks flow, as Kubernetes replaces pods and with the
// budgets that the manifests give them. Nothing is lost, nothing is doubled, every process ends well and in time, and no
// callback meets a closed door.
//
// It is Kubernetes in these points: a new process is started beside the old ones, must be ready for minReadySeconds
// without a break, then an old one goes while the next new one starts already; the one that goes gets its preStop sleep,
// SIGTERM, and SIGKILL at the end of its grace; the proxy in front of the callbacks knows the ready processes, and hears
// late who has left. On the twins minReadySeconds is a fifth of the manifests', and everywhere the orders' own delays are
// shorter (shorter); all else is as the manifests say.
func TestRollOutByTheManifests(t *testing.T) {
	h := open(t, stage{topics: []string{"withhold.request"}, partitions: 6, order: everyKind})
	proxy := newProxy(t)
	h.settings["CALLBACK_BASE_URL"] = proxy.url
	dispatchers := h.deploy("dispatcher", 3, nil)
	ingests := h.deploy("callback-ingest", 2, proxy)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	load := h.load(ctx)
	var both errgroup.Group
	both.Go(func() error { return dispatchers.roll(ctx) })
	both.Go(func() error { return ingests.roll(ctx) })
	began := time.Now()
	rolled := both.Wait()
	orders, err := load()
	took := time.Since(began)
	if rolled != nil {
		h.dump()
	}
	require.NoError(t, rolled)
	require.NoError(t, err)

	taken, refused := proxy.counts()
	require.Empty(t, refused, "callbacks that no process took")
	require.Positive(t, taken)

	verdicts := slices.DeleteFunc(h.results(120*time.Second, settled(orders...)), func(e event) bool { return !verdict(e) })
	h.requireOnce(verdicts, orders)
	// A verdict may be told twice, under its one id, by two processes that hear it at the same moment, or after a last commit
	// that the broker refused. Stops that left what was finished behind would repeat all that is in flight, each time.
	require.LessOrEqual(t, len(verdicts)-len(orders), len(orders)/50, "what was finished was delivered again")
	h.requireEmpty("withhold.request.dlq")
	require.Empty(t, h.double.Complaints(), "the double found something wrong on the wire")
	require.NotContains(t, h.log.String(), "drain budget used up", "handlers were cut off")
	for _, entry := range h.double.Ledger() {
		if answered(entry.Order) {
			require.Zero(t, entry.Queries, "order %s was asked about, though its answer came in time: its handler was cut off", entry.Order)
		}
	}
	t.Logf("%d commands and %d callbacks in the %v of the roll-out of 3 dispatchers and 2 callback-ingests; the last verdict came %v after it",
		len(orders), taken, took.Round(time.Millisecond), (time.Since(began) - took).Round(time.Millisecond))
}

// everyKind is what the gateway does with an order: most succeed at once; of ten, one loses its reply, one its request,
// one keeps its handler busy for long, and two are settled by a callback and nothing else.
func everyKind(order string, attempt int) withhold.Plan {
	switch order[len(order)-1] {
	case '1', '6':
		return withhold.Plan{Pending: true, After: 700 * time.Millisecond, QueryErrors: 1 << 30}
	case '3':
		return withhold.Plan{DropReply: true, NoCallback: true}
	case '5':
		return withhold.Plan{Slow: 2 * time.Second, NoCallback: true}
	case '7':
		return withhold.Plan{DropRequest: attempt == 1, NoCallback: true}
	}
	return withhold.Plan{NoCallback: true}
}

// answered reports whether the gateway answers the submission of an order in time, and with its end.
func answered(order string) bool { return !strings.ContainsAny(order[len(order)-1:], "1367") }

// load publishes commands at a steady rate from now on, until the returned function is called, which returns the orders.
func (h *house) load(ctx context.Context) (stop func() ([]string, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	var orders []string
	group.Go(func() error {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			order := fmt.Sprintf("B%05d", len(orders))
			orders = append(orders, order)
			m := stream.Message{Topic: "withhold.request", Key: []byte(order), Value: []byte(command("R-"+order, order, "1.00"))}
			if err := h.write.Publish(context.WithoutCancel(ctx), m); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
	return func() ([]string, error) {
		cancel()
		err := group.Wait()
		return orders, err
	}
}

// shorter are settings that say how long an order waits, not a process: with production's the test would take minutes more.
var shorter = map[string]string{"PARK_TIERS": "1s,3s", "WITHHOLD_SETTLE": "8s"}

// places are settings that say where things are, and what this broker, Redis and gateway are.
func place(name string) bool {
	return strings.HasSuffix(name, "_URL") || strings.HasSuffix(name, "_FILE") || strings.HasSuffix(name, "_ADDR") ||
		slices.Contains([]string{"KAFKA_BROKERS", "REDIS_ADDRS", "REDIS_ACCEPT", "TOPICS", "VENDORS", "WITHHOLD_MISSING_WORDS"}, name)
}

// foreign are settings of production's broker and Redis: encryption, passwords, a cluster, replicas.
func foreign(name string) bool {
	for _, prefix := range []string{"KAFKA_TLS", "KAFKA_SASL", "KAFKA_USER", "KAFKA_PASSWORD", "REDIS_CLUSTER", "REDIS_USER", "REDIS_PASSWORD", "REDIS_TLS", "REDIS_WAIT"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// replicas is a Deployment, and who controls it.
type replicas struct {
	h       *house
	service string
	binary  string
	budgets budgets
	env     []string
	proxy   *proxy // nil when nobody calls
	pods    []*pod
}

// deploy starts n processes of a service with production's settings and waits until they are ready.
func (h *house) deploy(service string, n int, proxy *proxy) *replicas {
	h.t.Helper()
	r := &replicas{h: h, service: service, binary: build(h.t, service), budgets: budgetsOf(h.t, service), proxy: proxy}
	if !h.real {
		r.budgets.minReady /= 5
	}
	settings := maps.Clone(r.budgets.settings)
	maps.DeleteFunc(settings, func(name, _ string) bool { return foreign(name) || place(name) })
	for name, value := range h.settings {
		if place(name) {
			settings[name] = value
		}
	}
	maps.Copy(settings, shorter)
	for name, value := range settings {
		r.env = append(r.env, name+"="+value)
	}
	ctx := within(h.t, time.Minute)
	for range n {
		p, err := r.start()
		require.NoError(h.t, err)
		require.NoError(h.t, r.available(ctx, p, 0))
		r.pods = append(r.pods, p)
	}
	return r
}

// pod is a process that stands for a pod.
type pod struct {
	name  string
	cmd   *exec.Cmd
	log   *logbook
	ended chan struct{}
	err   error // once ended
}

// start starts one more process.
func (r *replicas) start() (*pod, error) {
	p := &pod{log: &logbook{}, cmd: exec.CommandContext(context.Background(), r.binary), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = r.env, io.MultiWriter(p.log, r.h.log)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.name = fmt.Sprintf("%s %d", r.service, p.cmd.Process.Pid)
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	r.h.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended long ago when all went well
		<-p.ended
	})
	return p, nil
}

// available waits until a process has been ready for so long without a break. From its first readiness on it is called.
func (r *replicas) available(ctx context.Context, p *pod, minReady time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, r.budgets.progress)
	defer cancel()
	client := &http.Client{Timeout: 3 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var since time.Time
	for {
		switch ready := p.ready(ctx, client, r.budgets.ready); {
		case !ready:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			if r.proxy != nil {
				r.proxy.add(p)
			}
		}
		if !since.IsZero() && time.Since(since) >= minReady {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready: %w", p.name, p.err)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready for %v: %w", p.name, minReady, ctx.Err())
		}
	}
}

func (p *pod) ready(ctx context.Context, client *http.Client, path string) bool {
	addr := p.log.port("admin")
	if addr == "" {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode == http.StatusOK
}

// roll replaces every process: one more, then one less. It returns when the last old one has ended.
func (r *replicas) roll(ctx context.Context) error {
	var leaving errgroup.Group
	for range r.pods {
		p, err := r.start()
		if err == nil {
			err = r.available(ctx, p, r.budgets.minReady)
		}
		if err != nil {
			return errors.Join(err, leaving.Wait())
		}
		old := r.pods[0]
		r.pods = append(r.pods[1:], p)
		leaving.Go(func() error { return r.end(old) })
	}
	return leaving.Wait()
}

// hearsay is how late the proxy hears that a process is leaving: the endpoints change, the ingress controller is told,
// and reloads. The preStop sleep is there for this.
const hearsay = 3 * time.Second

// end takes a process down as the kubelet does: preStop, SIGTERM, and SIGKILL at the end of the grace, which is a failure
// here, as is an exit code other than 0.
func (r *replicas) end(p *pod) error {
	grace := time.NewTimer(r.budgets.grace)
	defer grace.Stop()
	if r.proxy != nil {
		heard := time.AfterFunc(hearsay, func() { r.proxy.remove(p) })
		defer heard.Stop()
	}
	preStop := time.NewTimer(r.budgets.preStop)
	defer preStop.Stop()
	select {
	case <-preStop.C:
	case <-p.ended:
		return fmt.Errorf("%s ended before it was told to: %w", p.name, p.err)
	}
	told := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-grace.C:
		return fmt.Errorf("%s had to be killed: it still ran %v after it was told to stop", p.name, r.budgets.grace)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	r.h.t.Logf("%s ended well %v after SIGTERM", p.name, time.Since(told).Round(time.Millisecond))
	return nil
}

// proxy is the Service and the Ingress in front of the callbacks: it hands each to the next process that it knows, once.
type proxy struct {
	url string

	mu      sync.Mutex
	known   []*pod
	turn    int
	taken   int
	refused []string
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{}
	transport := &http.Transport{}
	handler := &httputil.ReverseProxy{
		Transport:    transport,
		Rewrite:      p.choose,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { p.refuse(w, r, err.Error()) },
		ModifyResponse: func(res *http.Response) error {
			body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
			_ = res.Body.Close()
			if err != nil {
				return err
			}
			res.Body = io.NopCloser(bytes.NewReader(body))
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", res.Status, body)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.taken++
			return nil
		},
	}
	server := httptest.NewServer(handler)
	t.Cleanup(func() { server.Close(); transport.CloseIdleConnections() })
	p.url = server.URL
	return p
}

// choose sends a request to the next process; with none there is no address, which is an error.
func (p *proxy) choose(r *httputil.ProxyRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	if len(p.known) > 0 {
		p.turn++
		to.Host = p.known[p.turn%len(p.known)].log.port("callbacks")
	}
	r.SetURL(to)
}

func (p *proxy) refuse(w http.ResponseWriter, r *http.Request, why string) {
	p.mu.Lock()
	p.refused = append(p.refused, fmt.Sprintf("%s: %s", r.URL.Host, why))
	p.mu.Unlock()
	w.WriteHeader(http.StatusBadGateway)
}

func (p *proxy) add(one *pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = append(slices.DeleteFunc(p.known, func(x *pod) bool { return x == one }), one)
}

func (p *proxy) remove(one *pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = slices.DeleteFunc(p.known, func(x *pod) bool { return x == one })
}

func (p *proxy) counts() (taken int, refused []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, slices.Clone(p.refused)
}
