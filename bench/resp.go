package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// resp says the few words to a Redis that the bench itself needs.
type resp struct{ address string }

// do sends one command, as Redis' inline form, and returns the reply: its first line with the type's mark, or the text
// of a bulk reply.
func (r resp) do(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "-"):
		return "", fmt.Errorf("redis: %s: %s", command, line[1:])
	case !strings.HasPrefix(line, "$"):
		return line, nil
	}
	size, err := strconv.Atoi(line[1:])
	if err != nil || size < 0 {
		return "", fmt.Errorf("redis: %s: unreadable reply", command)
	}
	text := make([]byte, size)
	_, err = io.ReadFull(in, text)
	return string(text), err
}

// await waits until the server answers.
func (r resp) await(ctx context.Context, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, err := r.do(ctx, "PING")
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
	}
}

// stats reads how many commands were carried out, those inside scripts included, how often the server read from a
// connection, which is close to the number of round trips, and the bytes of memory that it uses. A server that does not
// tell gives none.
func (r resp) stats(ctx context.Context) map[string]float64 {
	words := map[string]string{
		"total_commands_processed": "commands", "total_reads_processed": "reads", "used_memory": "bytes kept",
	}
	all := map[string]float64{}
	for _, section := range []string{"stats", "memory"} {
		text, err := r.do(ctx, "INFO "+section)
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			if n, err := strconv.ParseFloat(value, 64); err == nil && words[name] != "" {
				all[words[name]] = n
			}
		}
	}
	return all
}

// freeAddress returns an address of 127.0.0.1 that nobody listens on at this moment.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}
