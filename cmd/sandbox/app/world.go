package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"

	callbackingest "paydispatch/cmd/callback-ingest/app"
	dispatcher "paydispatch/cmd/dispatcher/app"
	"paydispatch/internal/lifecycle"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
)

// world is everything that runs in this process.
type world struct {
	ctx   context.Context
	group *lifecycle.Group
	// run is part of every order number, so that a second sandbox on the same Kafka would not meet the first one's.
	run string
	// folder holds the services' secrets and log.
	folder string
	log    *logbook

	kafka     string
	redis     string
	doubles   *doubles
	callbacks string
	publisher *kafkastream.Publisher
	events    *events
}

// newWorld starts everything, or takes down what it started.
func newWorld(ctx context.Context, o options, stderr io.Writer) (w *world, err error) {
	w = &world{run: strings.ToLower(rand.Text()[:5]), events: newEvents()}
	if w.folder, err = os.MkdirTemp("", "paydispatch-sandbox-"); err != nil {
		return nil, err
	}
	if w.log, err = newLogbook(filepath.Join(w.folder, "services.log"), o.verbose, stderr); err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.folder))
	}
	w.group = lifecycle.New(ctx, 15*time.Second, w.log.logger())
	w.ctx = w.group.Context()
	if err := w.start(o); err != nil {
		w.group.Go("start", func(context.Context) error { return err })
		_, err := w.close(false)
		return nil, err
	}
	return w, nil
}

// start opens things in the order in which they depend on each other.
func (w *world) start(o options) error {
	if err := w.startKafka(o.kafkaPort); err != nil {
		return err
	}
	if err := w.startRedis(o.redisPort); err != nil {
		return err
	}
	secrets, err := writeSecrets(w.folder)
	if err != nil {
		return err
	}
	if w.doubles, err = startDoubles(secrets); err != nil {
		return err
	}
	w.group.OnClose("doubles", 5*time.Second, func(context.Context) error { w.doubles.close(); return nil })
	env := w.settings(secrets)
	getenv := func(name string) string { return env[name] }
	listening := w.log.expect(map[string]string{"service": "callback-ingest", "msg": "listening", "port": "callbacks"})
	w.group.Go("callback-ingest", func(ctx context.Context) error { return callbackingest.Run(ctx, nil, getenv, w.log) })
	line, err := w.wait(listening)
	if err != nil {
		return err
	}
	w.callbacks, _ = line["addr"].(string)
	w.doubles.callAt("http://" + w.callbacks + "/callbacks/esign")
	env["CALLBACK_BASE_URL"] = "http://" + w.callbacks // only now: the dispatcher is not started yet
	prepared := w.log.expect(map[string]string{"service": "dispatcher", "msg": "prepared"})
	w.group.Go("dispatcher", func(ctx context.Context) error { return dispatcher.Run(ctx, nil, getenv, w.log) })
	if _, err := w.wait(prepared); err != nil {
		return err
	}
	return w.connect()
}

// settings are those of both services. All times are a fraction of a production's, so that a wait can be watched.
func (w *world) settings(s secrets) map[string]string {
	return map[string]string{
		"KAFKA_BROKERS": w.kafka, "REDIS_ADDRS": w.redis, "REDIS_ACCEPT": "identity", "ADMIN_ADDR": "127.0.0.1:0", "LISTEN_ADDR": "127.0.0.1:0",
		"CALLBACK_TOKEN_KEYS_FILE": s.tokens, "FINGERPRINT_KEYS_FILE": s.fingerprints,
		"TOPICS_CREATE": "true", "TOPICS_PARTITIONS": "2",
		"REDIS_TIMEOUT": "900ms", "RECORD_LIFETIME": "24h", "ASK_WINDOW": "24h", "PARK_TIERS": "1s,2s,5s",
		"DRAIN_BUDGET": "3s", "HEARTBEAT_INTERVAL": "500ms", "REBALANCE_TIMEOUT": "5s", "SESSION_TIMEOUT": "6s", "POD_GRACE": "10s",

		"WITHHOLD_URL": w.doubles.gatewayURL, "WITHHOLD_ACCOUNTS_FILE": s.accounts, "WITHHOLD_MISSING_WORDS": notFound,
		"WITHHOLD_TIMEOUT": "1s", "WITHHOLD_LEASE": "2s", "WITHHOLD_SETTLE": "2s", "WITHHOLD_DEADLINE": "10m",

		"ESIGN_URL": w.doubles.identityURL, "ESIGN_ACCOUNTS_FILE": s.apps, "ESIGN_TIMEOUT": "1s", "ESIGN_SHARE_FOR": "100ms",
		// The last delay is too long to be waited for: whoever is left there, a callback frees.
		"IDENTITY_TIERS": "500ms,1s,10m", "IDENTITY_DEADLINE": "1h",

		"DAXPAY_URL": w.doubles.allocURL, "DAXPAY_ACCOUNTS_FILE": s.installations, "DAXPAY_TIMEOUT": "1s",
	}
}

// wait returns the awaited log line, or why it will not come.
func (w *world) wait(line <-chan map[string]any) (map[string]any, error) {
	select {
	case found := <-line:
		return found, nil
	case <-w.ctx.Done():
		return nil, context.Cause(w.ctx)
	case <-time.After(30 * time.Second):
		return nil, errors.New("the services did not start within 30 s")
	}
}

// startKafka takes port if it is free, another one otherwise.
func (w *world) startKafka(port int) error {
	options := []kfake.Opt{kfake.NumBrokers(1)}
	cluster, err := kfake.NewCluster(append(options, kfake.Ports(port))...)
	if err != nil {
		cluster, err = kfake.NewCluster(options...)
	}
	if err != nil {
		return fmt.Errorf("kfake: %w", err)
	}
	w.group.OnClose("kafka", 5*time.Second, func(context.Context) error { cluster.Close(); return nil })
	w.kafka = cluster.ListenAddrs()[0]
	return nil
}

// startRedis does the same. miniredis does not let time pass by itself, so a ticker does.
func (w *world) startRedis(port int) error {
	server := miniredis.NewMiniRedis()
	err := server.StartAddr(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		server = miniredis.NewMiniRedis()
		err = server.Start()
	}
	if err != nil {
		return fmt.Errorf("miniredis: %w", err)
	}
	w.group.OnClose("redis", 5*time.Second, func(context.Context) error { server.Close(); return nil })
	w.redis = server.Addr()
	w.group.Go("redis clock", func(ctx context.Context) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				server.FastForward(time.Second)
			case <-ctx.Done():
				return nil
			}
		}
	})
	return nil
}

// connect opens the sandbox's own ways to send and to read.
func (w *world) connect() error {
	config := kafkastream.Config{Brokers: []string{w.kafka}, ClientID: "sandbox"}
	publisher, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: config})
	if err != nil {
		return err
	}
	w.publisher = publisher
	w.group.OnClose("publisher", 5*time.Second, publisher.Close)
	client, err := kafkastream.NewAdmin(config)
	if err != nil {
		return err
	}
	w.group.OnClose("reader", 5*time.Second, func(context.Context) error { client.Close(); return nil })
	readers := map[string]func(stream.Message) event{}
	for _, spec := range catalog.Specs() {
		readers[spec.ResultTopic], readers[spec.DeadLetterTopic()] = result, letter
	}
	for topic, read := range readers {
		watching, err := w.events.watch(w.ctx, client, topic, read)
		if err != nil {
			return err
		}
		w.group.OnClose("reader of "+topic, 10*time.Second, func(context.Context) error { watching.Wait(); return nil })
	}
	return nil
}

// send sends the rows' messages side by side, each when it is due; the returned function waits for that.
func (w *world) send(ctx context.Context, rows []row) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		senders sync.WaitGroup
		mu      sync.Mutex
		failed  error
	)
	for _, r := range rows {
		senders.Go(func() {
			if err := w.sendRow(ctx, r); err != nil && ctx.Err() == nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	return func() error {
		cancel()
		senders.Wait()
		return failed
	}
}

func (w *world) sendRow(ctx context.Context, r row) error {
	for _, s := range r.sends {
		wait := s.wait
		if wait == nil {
			wait = r.keys()
		}
		seen, err := w.events.wait(ctx, s.after, wait...)
		if err != nil {
			return err
		}
		value := s.value
		if s.make != nil {
			value = s.make(seen)
		}
		if err := w.publisher.Publish(ctx, stream.Message{Topic: r.topic, Key: []byte(s.key), Value: value}); err != nil {
			return err
		}
	}
	return nil
}

// quiet is how long nothing more must come before the promises are checked.
const quiet = time.Second

// await waits until every row is complete and nothing more comes, telling of each change.
func (w *world) await(ctx context.Context, rows []row, changed func()) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		changed()
		open := false
		for _, r := range rows {
			seen, _ := w.events.of(r.keys()...)
			open = open || !r.complete(seen)
		}
		_, more := w.events.of()
		settled := make(<-chan time.Time)
		if !open {
			settled = time.After(quiet)
		}
		for waiting := true; waiting; {
			select {
			case <-more:
				waiting = false
			case <-tick.C:
				changed()
			case <-settled:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// serve shows what else is published until the world ends.
func (w *world) serve(s *screen) {
	shown, _ := w.events.from(0)
	n := len(shown)
	for {
		found, more := w.events.from(n)
		for _, a := range found {
			s.later(w, a)
		}
		n += len(found)
		select {
		case <-more:
		case <-w.ctx.Done():
			return
		}
	}
}

// close takes everything down. The log is kept when keep says so or something went wrong; its path is returned then.
func (w *world) close(keep bool) (kept string, err error) {
	w.group.Go("end", func(context.Context) error { return errOver })
	err = without(w.group.Wait(), errOver)
	err = errors.Join(err, w.log.close())
	if keep || err != nil {
		return w.log.path, err
	}
	return "", os.RemoveAll(w.folder)
}

// errOver ends the group when the sandbox has nothing more to do.
var errOver = errors.New("the sandbox is over")

// without takes one error out of those that were joined.
func without(err, one error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var left []error
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, one) {
			left = append(left, e)
		}
	}
	return errors.Join(left...)
}

// secrets are the vendors' accounts, and the files in which the services find them; they are made anew for each run.
type secrets struct {
	ua, key, app, appSecret, allocSecret                string
	accounts, apps, installations, tokens, fingerprints string
}

func writeSecrets(folder string) (secrets, error) {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	s := secrets{
		ua: "sandbox", key: hex.EncodeToString(random), app: "7438000000", appSecret: rand.Text(), allocSecret: rand.Text(),
	}
	account := func(fields map[string]any) string { return string(encode(map[string]any{"default": fields})) }
	for path, content := range map[*string]struct{ name, text string }{
		&s.accounts:      {"accounts.json", account(map[string]any{"ua": s.ua, "key": s.key})},
		&s.apps:          {"apps.json", account(map[string]any{"appId": s.app, "secret": s.appSecret})},
		&s.installations: {"installations.json", account(map[string]any{"secret": s.allocSecret})},
		&s.tokens:        {"token-keys", rand.Text()},
		&s.fingerprints:  {"fingerprint-keys", rand.Text()},
	} {
		*path = filepath.Join(folder, content.name)
		if err := os.WriteFile(*path, []byte(content.text), 0o600); err != nil {
			return secrets{}, err
		}
	}
	return s, nil
}
