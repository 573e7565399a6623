// Command bench measures the dispatcher beside what people use today, in one run on the same broker, the same Redis and
// the same vendor double: (a) the dispatcher's own program, (b) a plain kafka-go loop, one goroutine a partition, (c) an
// unsafe pool of goroutines, as the ceiling. Every party is a process of its own, so that what it costs can be told
// apart. docs/performance.md explains the scenarios and shows the last run.
//
// It needs Linux (it reads /proc) and, for numbers that mean something, redis-server: without it the in-process Redis
// for tests stands in, which is the slowest part by far.
//
// It empties the broker's withhold topics and the Redis that it is given, and refuses those that hold anything unless
// -empty is set.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"paydispatch/bench/report"
)

func main() {
	// A closed pipe (bench | head) must not end the bench before it has stopped the others.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// run is the bench, or one of the parties when the first argument names one.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		if role, ok := roles()[args[0]]; ok {
			return role(ctx, args[1:], stdin, stdout, stderr)
		}
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	w, err := newWorld(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer w.close()
	all := report.Report{Began: time.Now().UTC(), Machine: machine(), Parts: w.parts()}
	fmt.Fprintln(stderr, all.Machine+"; "+all.Parts)
	var failed error
	for _, s := range o.scenarios {
		for _, system := range s.systems {
			if !slices.Contains(o.systems, system) {
				continue
			}
			measured, err := w.measure(ctx, s, system)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s, %s: %w", s.name, system, err))
				fmt.Fprintln(stderr, "  failed:", err)
			}
			if measured.Commands > 0 {
				all.Runs = append(all.Runs, measured)
			}
			if ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(failed, finish(o, all, stdout))
}

// finish writes what was measured.
func finish(o options, all report.Report, stdout io.Writer) error {
	if len(all.Runs) == 0 {
		return errors.New("nothing was measured")
	}
	path := o.json
	if path == "" {
		path = filepath.Join("bench", "results", all.Began.Format("20060102T150405Z")+".json")
	}
	if err := all.WriteJSON(path); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s; %s\n\n", all.Machine, all.Parts)
	all.WriteTable(stdout)
	fmt.Fprintln(stdout, "\nall numbers:", path)
	for _, m := range all.Runs {
		if m.Scenario != "backlog" || m.System != report.Dispatcher {
			continue
		}
		plot := strings.TrimSuffix(path, ".json") + "-backlog.svg"
		if err := report.WritePlot(plot, m); err != nil {
			return err
		}
		fmt.Fprintln(stdout, "rate and memory of the backlog:", plot)
	}
	return nil
}

// options are what the command line says.
type options struct {
	scenarios  []scenario
	systems    []string
	brokers    []string
	redis      string
	real       bool
	empty      bool
	dispatcher string
	logLevel   string
	json       string
	keep       bool
	set        []string
	brokerPID  int
	redisPID   int
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	names := flags.String("scenario", "all", "scenarios, by commas: "+strings.Join(scenarioNames(), " "))
	systems := flags.String("systems", "all", "systems, by commas: dispatcher loop pool")
	brokers := flags.String("brokers", "", "host:port of a Kafka to use instead of the embedded one")
	flags.StringVar(&o.redis, "redis", "", "host:port of a Redis to use instead of starting one")
	flags.BoolVar(&o.real, "real", false, "use the parts that scripts/real-parts has started")
	flags.BoolVar(&o.empty, "empty", false, "empty the given Kafka's withhold topics and the given Redis even if they hold something")
	flags.StringVar(&o.dispatcher, "dispatcher", "", "the dispatcher's program (needed)")
	flags.StringVar(&o.logLevel, "log-level", "info", "the dispatcher's log level; info, its default, writes a line a command")
	flags.StringVar(&o.json, "json", "", "file for all numbers (bench/results/<time>.json)")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder with the parties' logs")
	flags.Func("set", "a setting of the dispatcher, NAME=VALUE; may be repeated", func(text string) error {
		if !strings.Contains(text, "=") {
			return errors.New("is not NAME=VALUE")
		}
		o.set = append(o.set, text)
		return nil
	})
	scale := flags.Float64("scale", 1, "multiplies the commands of every scenario, for a quick look")
	backlog := flags.Int("backlog", 1_000_000, "commands of the scenario backlog")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.dispatcher == "" {
		return o, errors.New("-dispatcher is not set: 'make bench' builds the program and sets it")
	}
	if *brokers != "" {
		o.brokers = strings.Split(*brokers, ",")
	}
	if o.real {
		o.takeRealParts(os.Getenv)
	}
	all := []string{report.Dispatcher, report.Loop, report.Pool}
	var err error
	if o.systems, err = choose("system", *systems, all); err != nil {
		return o, err
	}
	chosen, err := choose("scenario", *names, scenarioNames())
	if err != nil {
		return o, err
	}
	for _, s := range scenarios(*scale, *backlog) {
		if slices.Contains(chosen, s.name) {
			o.scenarios = append(o.scenarios, s)
		}
	}
	return o, nil
}

// takeRealParts reads what scripts/real-parts exports. Its parts are made for this run, so they may be emptied.
func (o *options) takeRealParts(getenv func(string) string) {
	o.brokers, o.redis, o.empty = []string{getenv("KAFKA_BROKERS")}, getenv("REDIS_ADDR"), true
	for file, pid := range map[string]*int{getenv("KAFKA_PIDFILE"): &o.brokerPID, getenv("REDIS_PIDFILE"): &o.redisPID} {
		raw, err := os.ReadFile(file)
		if err == nil {
			_, _ = fmt.Sscan(string(raw), pid)
		}
	}
}

// choose reads a list of names; "all" means every one.
func choose(what, text string, known []string) ([]string, error) {
	if text == "all" || text == "" {
		return known, nil
	}
	chosen := strings.Split(text, ",")
	for _, name := range chosen {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s %q is not one of %s", what, name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// machine names what the numbers depend on.
func machine() string {
	model := "unknown processor"
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores (%s), %s", runtime.NumCPU(), model, runtime.Version())
}
