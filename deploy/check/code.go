package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// services are the programs that run in pods.
var services = []string{"dispatcher", "callback-ingest"}

// Code is what the repository's programs say about themselves.
type Code struct {
	// Root is the repository, Bin the folder of the built programs.
	Root, Bin string
	// Defaults are the settings that each service knows, with their defaults.
	Defaults map[string]map[string]string
	// Metrics are those of a real scrape.
	Metrics Metrics
	// Schemas are the topics that have a message schema.
	Schemas []string
	// Topics are all topics that payctl knows.
	Topics []string
	// Words are all strings of letters that stand in the Go sources: what a label's value may be.
	Words map[string]bool
	// Texts are all string literals of the Go sources that are longer than one word.
	Texts []string
}

// ReadCode builds the programs of the repository into bin and asks them; tiers are the settings of the delay topics.
// scrape is a file with the text of a scrape of both services; "" makes one from the sandbox.
func ReadCode(ctx context.Context, root, bin string, tiers []string, scrape string) (Code, error) {
	c := Code{Root: root, Bin: bin, Defaults: map[string]map[string]string{}}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin+"/", "./cmd/dispatcher", "./cmd/callback-ingest", "./cmd/sandbox", "./cmd/payctl")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return c, fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	for _, service := range services {
		settings, err := printed(ctx, filepath.Join(bin, service))
		if err != nil {
			return c, err
		}
		c.Defaults[service] = settings
	}
	schemas, err := filepath.Glob(filepath.Join(root, "schemas", "*.json"))
	if err != nil {
		return c, err
	}
	for _, path := range schemas {
		c.Schemas = append(c.Schemas, strings.TrimSuffix(filepath.Base(path), ".json"))
	}
	if c.Words, c.Texts, err = words(root); err != nil {
		return c, err
	}
	text, err := c.sandbox(ctx, tiers)
	if scrape != "" {
		text, err = os.ReadFile(scrape)
	}
	if err != nil {
		return c, err
	}
	c.Metrics, err = ParseMetrics(text)
	return c, err
}

// printed asks a program for its settings.
func printed(ctx context.Context, program string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, program, "--print-config")
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s --print-config: %w\n%s", program, err, out)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		settings[name] = strings.TrimSpace(value)
	}
	return settings, nil
}

var quoted = regexp.MustCompile(`"([a-z][a-z0-9_]*)"`)

// words collects the quoted words of the Go sources, and the texts of several words.
func words(root string) (found map[string]bool, texts []string, err error) {
	found = map[string]bool{}
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, m := range quoted.FindAllSubmatch(raw, -1) {
				found[string(m[1])] = true
			}
			texts = append(texts, literals(raw)...)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return found, texts, nil
}

// literals are the string literals of a Go source that hold a space.
func literals(source []byte) []string {
	var texts []string
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile("", -1, len(source)), source, nil, 0)
	for {
		_, kind, text := s.Scan()
		if kind == token.EOF {
			return texts
		}
		if value, err := strconv.Unquote(text); kind == token.STRING && err == nil && strings.Contains(value, " ") {
			texts = append(texts, value)
		}
	}
}

// accepts starts a service with the settings of a container until it has read them, and returns what it refuses.
// files are the secrets by the path in which the container sees them.
func (c Code) accepts(service string, settings map[string]string, files map[string][]byte) error {
	dir, err := os.MkdirTemp("", "settings-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var env []string
	for name, value := range settings {
		switch {
		case strings.HasSuffix(name, "_FILE") && files[value] != nil:
			path := filepath.Join(dir, filepath.Base(value))
			if err := os.WriteFile(path, files[value], 0o600); err != nil {
				return err
			}
			value = path
		case name == "ADMIN_ADDR" || name == "LISTEN_ADDR":
			value = "127.0.0.1:0"
		case name == "KAFKA_BROKERS" || name == "REDIS_ADDRS":
			value = "127.0.0.1:1" // nobody: reading the settings is all that it shall do
		}
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, service))
	said := &until{word: []byte(`"msg":"starting"`), then: cancel}
	cmd.Env, cmd.Stderr = env, said
	err = cmd.Run()
	if said.met {
		return nil
	}
	return errors.Join(fmt.Errorf("%s does not start with these settings", service), err, errors.New(said.text.String()))
}

// until is a writer that calls then once a word was written.
type until struct {
	text bytes.Buffer // a field: its ReadFrom would pass Write by
	word []byte
	then func()
	met  bool
}

// Write implements io.Writer.
func (u *until) Write(p []byte) (int, error) {
	n, err := u.text.Write(p)
	if !u.met && bytes.Contains(u.text.Bytes(), u.word) {
		u.met = true
		u.then()
	}
	return n, err
}
