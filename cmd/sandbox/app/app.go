// Package app is the sandbox: a Kafka broker, a Redis, the three vendors' doubles and both services in one process, and a
// sample of commands with what was promised about each.
//
// Everything listens on 127.0.0.1 and lives in memory: nothing survives the process. The services are the real ones,
// started through their own Run with settings as in production, but for shorter times. It refuses to be more than a
// demonstration: an embedded broker and Redis prove nothing about durability or speed.
package app

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	once, wait, verbose  bool
	kafkaPort, redisPort int
}

// patience bounds how long the sample may take.
const patience = 90 * time.Second

// Run starts everything, sends the sample, prints what came of it, and serves until ctx ends, or not at all with
// --once. It returns an error that names every command that did not end as promised. stdin is read only with --wait.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := newWorld(ctx, o, stderr)
	if err != nil {
		return err
	}
	failed := w.demonstrate(ctx, o, stdin, stdout)
	kept, err := w.close(failed != nil && !errors.Is(failed, errInterrupted))
	if failed != nil && kept != "" {
		fmt.Fprintf(stdout, "\n  the services' log is kept in %s\n", kept)
	}
	return errors.Join(failed, err)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.once, "once", false, "exit after the sample, with 0 only if every command ended as promised")
	flags.BoolVar(&o.wait, "wait", false, "send the sample only when Enter is pressed, so that whoever wants to watch is there before it")
	flags.BoolVar(&o.verbose, "verbose", false, "show the services' log")
	flags.IntVar(&o.kafkaPort, "kafka-port", 9092, "Kafka's port if it is free, 0 for any")
	flags.IntVar(&o.redisPort, "redis-port", 6379, "Redis' port if it is free, 0 for any")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("argument %q is not known", flags.Arg(0))
	}
	return o, err
}

// errInterrupted says that somebody pressed Ctrl-C too early to know anything.
var errInterrupted = errors.New("interrupted before the sample was through")

// enter waits for a line. Its reader is left behind when ctx ends first: nothing can end a read from a terminal.
func (w *world) enter(asked context.Context, stdin io.Reader) error {
	pressed := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(stdin).ReadString('\n')
		pressed <- err
	}()
	select {
	case err := <-pressed:
		if err != nil {
			return fmt.Errorf("waiting for Enter: %w", err)
		}
		return nil
	case <-asked.Done():
		return errInterrupted
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// demonstrate sends the sample, shows it, and goes on serving.
func (w *world) demonstrate(asked context.Context, o options, stdin io.Reader, stdout io.Writer) error {
	screen := newScreen(stdout)
	screen.header(w, o)
	if o.wait {
		screen.line("  press Enter to send the sample")
		if err := w.enter(asked, stdin); err != nil {
			return err
		}
	}
	rows := sample(w.run)
	w.doubles.follow(rows)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	began := time.Now()
	stop := w.send(ctx, rows)
	w.await(ctx, rows, func() { screen.progress(w.events, rows, time.Since(began)) })
	sending := stop()
	switch {
	case asked.Err() != nil:
		screen.line("")
		return errInterrupted
	case w.ctx.Err() != nil:
		return context.Cause(w.ctx)
	}
	if sending != nil {
		return sending
	}
	failed := screen.table(w, rows, time.Since(began))
	if !o.once {
		screen.hints(w)
		w.serve(screen)
		screen.line("")
	}
	if len(failed) > 0 {
		return fmt.Errorf("not as promised: %s", strings.Join(failed, "; "))
	}
	return nil
}
