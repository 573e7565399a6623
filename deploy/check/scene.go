package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Scene is the sandbox with its sample held back, and a second dispatcher of its group in a process of its own.
type Scene struct {
	code    Code
	sandbox *process
	second  *process
	enter   io.WriteCloser
	screen  locked

	mu       sync.Mutex
	settings map[string]string
	ports    map[string]map[string]string // by pod, by port
	prepared map[string]bool
}

// The processes, by the names of the pods that they stand for.
const (
	firstDispatcher  = "dispatcher-6c5d7f9b8-aaaaa"
	secondDispatcher = "dispatcher-6c5d7f9b8-bbbbb"
	onlyIngest       = "callback-ingest-7d8f6b5c4-ccccc"
)

// StartScene starts both and waits until they have joined. Callers must Close it.
func StartScene(ctx context.Context, code Code) (s *Scene, err error) {
	s = &Scene{code: code, ports: map[string]map[string]string{}, prepared: map[string]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	sandbox := exec.CommandContext(ctx, filepath.Join(code.Bin, "sandbox"), "--wait", "--verbose", "--kafka-port", "0", "--redis-port", "0")
	sandbox.Stdout = &s.screen
	if s.enter, err = sandbox.StdinPipe(); err != nil {
		return s, err
	}
	if s.sandbox, err = started(sandbox, func(line string) { s.heard(line, firstDispatcher) }); err != nil {
		return s, err
	}
	if err := s.await(ctx, s.sandbox, firstDispatcher, onlyIngest); err != nil {
		return s, err
	}
	second := exec.CommandContext(ctx, filepath.Join(code.Bin, "dispatcher"))
	second.Env = s.environment()
	if s.second, err = started(second, func(line string) { s.heard(line, secondDispatcher) }); err != nil {
		return s, err
	}
	return s, s.await(ctx, s.second, secondDispatcher)
}

// heard reads a log line: which ports are open, with which settings the sandbox's dispatcher runs, and who has joined.
func (s *Scene) heard(text, dispatcher string) {
	var line struct {
		Service, Msg, Port, Addr string
		Settings                 map[string]string
	}
	if json.Unmarshal([]byte(text), &line) != nil {
		return
	}
	pod := onlyIngest
	if line.Service == "dispatcher" {
		pod = dispatcher
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch line.Msg {
	case "starting":
		if pod == firstDispatcher {
			s.settings = line.Settings
		}
	case "listening":
		if s.ports[pod] == nil {
			s.ports[pod] = map[string]string{}
		}
		s.ports[pod][line.Port] = line.Addr
		s.prepared[pod] = s.prepared[pod] || line.Port == "callbacks"
	case "prepared":
		s.prepared[pod] = true
	}
}

func (s *Scene) await(ctx context.Context, p *process, pods ...string) error {
	return p.until(ctx, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, pod := range pods {
			if !s.prepared[pod] || s.ports[pod]["admin"] == "" {
				return fmt.Errorf("%s is not ready", pod)
			}
		}
		return nil
	})
}

// environment is that of the sandbox's dispatcher, for another process.
func (s *Scene) environment() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var env []string
	for name, value := range s.settings {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Pods are the processes as pods.
func (s *Scene) Pods() []Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []Pod{
		{Service: "dispatcher", Name: firstDispatcher, Ports: s.ports[firstDispatcher]},
		{Service: "dispatcher", Name: secondDispatcher, Ports: s.ports[secondDispatcher]},
		{Service: "callback-ingest", Name: onlyIngest, Ports: s.ports[onlyIngest]},
	}
}

// Tell sends the sandbox's sample and waits until all of it has ended as promised.
func (s *Scene) Tell(ctx context.Context) error {
	if _, err := io.WriteString(s.enter, "\n"); err != nil {
		return err
	}
	return s.sandbox.until(ctx, func() error {
		text := s.screen.String()
		if !strings.Contains(text, " as promised") {
			return fmt.Errorf("the sample is not through:\n%s", text)
		}
		return nil
	})
}

// Forge sends n callbacks with tokens that belong to no order.
func (s *Scene) Forge(ctx context.Context, n int) error {
	client := &http.Client{Timeout: 10 * time.Second}
	for i := range n {
		url := fmt.Sprintf("http://%s/callbacks/withhold/order-of-nobody-%d/Zm9yZ2VkLXRva2VuLWZyb20tYS1zdHJhbmdlcg", s.Pods()[2].Ports["callbacks"], i)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
	}
	return nil
}

// StopSecond ends the second dispatcher as Kubernetes would, so that its work goes to the first one.
func (s *Scene) StopSecond() error { return s.second.stop() }

// Forget makes Redis forget everything.
func (s *Scene) Forget(ctx context.Context) error {
	s.mu.Lock()
	addr := s.settings["REDIS_ADDRS"]
	s.mu.Unlock()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "*1\r\n$8\r\nFLUSHALL\r\n"); err != nil {
		return err
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "+OK\r\n" {
		return fmt.Errorf("FLUSHALL: %q: %w", answer, err)
	}
	return nil
}

// Order sends a good command and waits for its result.
func (s *Scene) Order(ctx context.Context) error {
	payctl := filepath.Join(s.code.Bin, "payctl")
	example, err := exec.CommandContext(ctx, payctl, "example", "withhold.request").Output()
	if err != nil {
		return err
	}
	send := exec.CommandContext(ctx, payctl, "send", "withhold.request", "-", "--wait")
	send.Env, send.Stdin = s.environment(), bytes.NewReader(example)
	out, err := send.CombinedOutput()
	if err != nil {
		return fmt.Errorf("payctl send: %w\n%s", err, out)
	}
	return nil
}

// Close ends what was started.
func (s *Scene) Close() error {
	var errs []error
	for _, p := range []*process{s.second, s.sandbox} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}
