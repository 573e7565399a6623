package main

import (
	"bytes"
	"context"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"
)

// TestRunServesEveryDouble starts the doubles with the files that compose mounts, and asks each of them something.
func TestRunServesEveryDouble(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"WITHHOLD_ACCOUNTS_FILE": "../secrets/withhold-accounts.json", "ESIGN_ACCOUNTS_FILE": "../secrets/esign-accounts.json",
		"DAXPAY_ACCOUNTS_FILE": "../secrets/daxpay-accounts.json",
	}
	ctx, stop := context.WithCancel(t.Context())
	said := &line{written: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- run(ctx, func(name string) string { return env[name] }, said) }()
	select {
	case <-said.written:
	case err := <-done:
		t.Fatal(err)
	}
	urls := regexp.MustCompile(`http://\S+`).FindAllString(said.text(), -1)
	if len(urls) != 3 {
		t.Fatalf("three doubles were expected: %q", said.text())
	}
	client := &http.Client{Timeout: 5 * time.Second}
	for _, url := range urls {
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRunNamesTheFileThatIsMissing(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), func(string) string { return "" }, &bytes.Buffer{})
	if err == nil || !regexp.MustCompile("^WITHHOLD_ACCOUNTS_FILE: ").MatchString(err.Error()) {
		t.Fatal(err)
	}
}

// line tells when something was written.
type line struct {
	mu      sync.Mutex
	buffer  bytes.Buffer
	once    sync.Once
	written chan struct{}
}

// Write implements io.Writer.
func (l *line) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.once.Do(func() { close(l.written) })
	return l.buffer.Write(p)
}

func (l *line) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}
