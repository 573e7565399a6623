package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// stage is everything that one row plays with.
type stage struct {
	row      row
	binaries binaries
	ports    *ports
	rand     *rand.Rand
	seed     uint64
	// dir holds the logs and what the parts keep.
	dir, group string
	// commands are written over this time.
	commands int
	over     time.Duration

	kafka *cluster
	redis *store
	// toVendor are the ways from each client to the vendor, toIngest is the vendor's to callback-ingest.
	toVendor []*link
	toIngest *link
	vendor   *process
	vendorAt string
	fleet    []*service
	ingest   *service
	ledger   *ledger
	load     *load

	mu    sync.Mutex
	doing string
	notes []string
}

// open starts the parts of a row, and waits until they are ready.
func (s *stage) open(ctx context.Context, self string) error {
	if err := errors.Join(os.MkdirAll(s.dir, 0o700), writeSecrets(s.dir)); err != nil {
		return err
	}
	s.say("topics and parts")
	if err := s.kafka.renew(ctx); err != nil {
		return err
	}
	var err error
	if s.redis, err = s.row.redis(ctx, s.ports, s.dir); err != nil {
		return err
	}
	if err := s.startVendor(ctx, self); err != nil {
		return err
	}
	if s.toIngest, err = newLink(""); err != nil {
		return err
	}
	if s.ingest, err = s.newIngest(); err != nil {
		return err
	}
	for i := range s.row.dispatchers {
		d, err := s.newDispatcher(i)
		if err != nil {
			return err
		}
		s.fleet = append(s.fleet, d)
	}
	if s.row.before != nil {
		if err := s.row.before(s); err != nil {
			return err
		}
	}
	l, err := newLedger(s.kafka.direct())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.ledger = l
	s.mu.Unlock()
	if s.load, err = newLoad(s.kafka.direct(), s.ledger, s.seed); err != nil {
		return err
	}
	s.say("services start")
	for _, one := range s.services() {
		if err := one.start(); err != nil {
			return err
		}
	}
	return s.ready(ctx)
}

func (s *stage) services() []*service { return append(slices.Clone(s.fleet), s.ingest) }

// ready waits for every service but those whose clock is wrong on purpose.
func (s *stage) ready(ctx context.Context) error {
	all := s.services()
	problems := make([]error, len(all))
	var waiting sync.WaitGroup
	for i, one := range all {
		if !slices.Contains(s.row.wrong, i) {
			waiting.Go(func() { problems[i] = one.ready(ctx) })
		}
	}
	waiting.Wait()
	return errors.Join(problems...)
}

func (s *stage) startVendor(ctx context.Context, self string) error {
	port, err := s.ports.free()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s.vendorAt = "http://" + address
	double := program{name: "vendor", dir: s.dir, path: self, args: []string{
		"vendor", "-listen", address, "-seed", fmt.Sprint(s.seed), "-file", filepath.Join(s.dir, "charges"),
	}}
	if s.vendor, err = double.start(); err != nil {
		return err
	}
	for range clients {
		way, err := newLink(address)
		if err != nil {
			return err
		}
		s.toVendor = append(s.toVendor, way)
	}
	return eventually(ctx, 10*time.Second, "the vendor", func(ctx context.Context) error {
		return s.behave(ctx, s.row.vendor)
	})
}

// behave tells the vendor how to be from now on.
func (s *stage) behave(ctx context.Context, how behaviour) error {
	body, err := json.Marshal(how)
	if err != nil {
		return err
	}
	return s.askVendor(ctx, http.MethodPost, "/behaviour", body, nil)
}

func (s *stage) journal(ctx context.Context) (j journal, err error) {
	err = s.askVendor(ctx, http.MethodGet, "/journal", nil, &j)
	return j, err
}

func (s *stage) askVendor(ctx context.Context, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.vendorAt+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return fmt.Errorf("vendor: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("vendor: %s %s: %s", method, path, res.Status)
	}
	if into == nil {
		_, err := io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// play writes the commands, has the fault strike meanwhile, mends everything, and waits until all has come to rest.
func (s *stage) play(ctx context.Context) error {
	watching, done := context.WithCancel(ctx)
	var platform sync.WaitGroup
	platform.Go(func() { s.supervise(watching) })
	defer platform.Wait()
	defer done()

	striking, written := context.WithCancel(ctx)
	defer written()
	var fault sync.WaitGroup
	var failed error
	if s.row.during != nil {
		fault.Go(func() { failed = s.row.during(striking, s) })
	}
	s.say("commands and faults")
	err := s.load.run(ctx, "a", s.commands, s.over)
	written()
	fault.Wait()
	if ctx.Err() == nil && errors.Is(failed, context.Canceled) {
		failed = nil // the load was over
	}
	err = errors.Join(err, failed, s.mend(ctx), s.rest(ctx))
	if s.row.after == nil || err != nil {
		return err
	}
	s.say("afterwards")
	err = s.row.after(ctx, s)
	return errors.Join(err, s.mend(ctx), s.rest(ctx))
}

// supervise is the platform.
func (s *stage) supervise(ctx context.Context) {
	for pause(ctx, 300*time.Millisecond) {
		for _, one := range s.services() {
			if again, err := one.revive(); err != nil {
				s.note("%s cannot be started: %v", one.name, err)
			} else if again {
				s.note("%s started anew", one.name)
			}
		}
	}
}

// mend ends every fault.
func (s *stage) mend(ctx context.Context) error {
	s.say("everything is mended")
	for _, l := range append(slices.Clone(s.toVendor), s.toIngest) {
		l.heal()
	}
	problems := []error{s.kafka.restore(ctx), s.redis.restore(ctx)}
	for i, one := range s.services() {
		one.signal(sigcont)
		if i < len(s.fleet) {
			problems = append(problems, s.setClock(i, 0))
		}
		problems = append(problems, one.start())
	}
	return errors.Join(problems...)
}

// Bounds of the wait for everything to come to rest.
const (
	// patience is longer than an order's deadline, so that what is given up is seen.
	patience = 4 * time.Minute
	// unmoved is how long nothing may move before that is how it stays: longer than the longest delay topic and a
	// rebalance after a kill together; much longer while an order has no end.
	unmoved, stuck = 12 * time.Second, time.Minute
)

// rest waits until each order has its end and the group has committed all that Kafka holds for it, parked copies too:
// then nothing is left that could lead to another submission. It is no error when that does not happen: the verdict
// shows what is missing.
func (s *stage) rest(ctx context.Context) error {
	s.say("until all has come to rest")
	var last string
	var since time.Time
	for end := time.Now().Add(patience); time.Now().Before(end); {
		written, over := s.ledger.given()
		left, err := s.kafka.behind(ctx, s.group)
		if err != nil {
			left = -1
		}
		j, err := s.journal(ctx)
		if err != nil {
			return err
		}
		if over == written && left == 0 && j.Running == 0 {
			return nil
		}
		state := fmt.Sprint(written, over, left, j.Questions, j.Running, len(j.Orders))
		if state != last {
			last, since = state, time.Now()
		}
		if still := time.Since(since); over == written && still > unmoved || still > stuck {
			return nil
		}
		if !pause(ctx, 300*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// verdict stops the services and judges.
func (s *stage) verdict(ctx context.Context) (verdict, error) {
	s.say("verdict")
	left, _ := s.kafka.behind(ctx, s.group)
	var all sync.WaitGroup
	for _, one := range s.services() {
		all.Go(func() { _ = one.stop() })
	}
	all.Wait()
	j, err := s.journal(ctx)
	if err != nil {
		return verdict{}, err
	}
	v := s.ledger.judge(j)
	v.Row, v.Seed, v.Left, v.CutCounts, v.Notes = s.row.name, s.seed, left, s.row.cutCounts, s.notes
	if j.Complaints > 0 {
		v.Faults = append(v.Faults,
			fmt.Sprintf("the vendor got %d requests that it cannot read; the first: %s", j.Complaints, j.Complaint))
	}
	return v, nil
}

// close stops what the row started.
func (s *stage) close() {
	for _, one := range s.services() {
		if one != nil {
			one.mu.Lock()
			one.wanted = false
			one.mu.Unlock()
			one.signal(sigcont)
			one.kill()
		}
	}
	if s.load != nil {
		s.load.close()
	}
	if s.ledger != nil {
		s.ledger.close()
	}
	if s.vendor != nil {
		s.vendor.kill()
	}
	s.redis.close()
	for _, l := range append(slices.Clone(s.toVendor), s.toIngest) {
		if l != nil {
			l.close()
		}
	}
}

// say tells what is going on, for the progress line.
func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing = fmt.Sprintf(format, args...)
}

// note keeps what happened, for the verdict.
func (s *stage) note(format string, args ...any) {
	text := time.Now().UTC().Format("15:04:05.000 ") + fmt.Sprintf(format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, text)
}

func (s *stage) progress() (doing string, written, ended int) {
	s.mu.Lock()
	doing = s.doing
	l := s.ledger
	s.mu.Unlock()
	if l != nil {
		written, ended = l.progress()
	}
	return doing, written, ended
}
