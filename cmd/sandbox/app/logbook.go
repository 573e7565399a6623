package app

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"sync"
)

// logbook takes the services' JSON lines: it keeps them in a file, shows them if asked to, and tells of awaited ones.
type logbook struct {
	path     string
	mu       sync.Mutex
	file     *os.File
	also     io.Writer
	rest     []byte
	expected []awaited
}

type awaited struct {
	want map[string]string
	line chan map[string]any
}

func newLogbook(path string, verbose bool, stderr io.Writer) (*logbook, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logbook{path: path, file: file, also: io.Discard}
	if verbose {
		l.also = stderr
	}
	return l, nil
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, nil)).With("service", "sandbox")
}

// Write implements io.Writer.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			break
		}
		l.look(l.rest[:end])
		l.rest = l.rest[end+1:]
	}
	_, _ = l.also.Write(p)
	return l.file.Write(p)
}

// expect returns a channel that gets the first line, from now on, with these fields.
func (l *logbook) expect(want map[string]string) <-chan map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := awaited{want: want, line: make(chan map[string]any, 1)}
	l.expected = append(l.expected, a)
	return a.line
}

// look is called with the lock held.
func (l *logbook) look(line []byte) {
	if len(l.expected) == 0 {
		return
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return
	}
	var left []awaited
	for _, a := range l.expected {
		if a.fits(fields) {
			a.line <- fields
			continue
		}
		left = append(left, a)
	}
	l.expected = left
}

func (a awaited) fits(fields map[string]any) bool {
	for name, value := range a.want {
		if fields[name] != value {
			return false
		}
	}
	return true
}

func (l *logbook) close() error { return l.file.Close() }
