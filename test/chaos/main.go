package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Exit codes beside 0.
const (
	exitFound = 1 // a row is not zero, or could not be played
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}

func run(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) int {
	if len(args) > 0 && args[0] == "vendor" {
		if err := vendorRole(ctx, args[1:]); err != nil {
			fmt.Fprintln(stderr, "vendor:", err)
			return exitFound
		}
		return 0
	}
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return exitUsage
	}
	if o.list {
		for _, r := range o.rows {
			fmt.Fprintf(stdout, "%-22s %s\n", r.name, r.fault)
		}
		return 0
	}
	perform := play
	if o.mutants {
		perform = tryMutants
	}
	bad, err := perform(ctx, o, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
	}
	if bad || err != nil {
		return exitFound
	}
	return 0
}

// options are what the command line says.
type options struct {
	rows       []row
	list       bool
	mutants    bool
	only       *regexp.Regexp
	seed       uint64
	commands   int
	over       time.Duration
	dispatcher string
	dir        string
	table      string
	root       string
	keep       bool
}

// The two forms: how many commands a row has, written over which time.
const (
	fullCommands, fullOver   = 5000, 20 * time.Second
	shortCommands, shortOver = 500, 5 * time.Second
)

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "a regular expression: only rows whose name matches")
	short := flags.Bool("short", false, fmt.Sprintf("%d commands a row instead of %d", shortCommands, fullCommands))
	flags.BoolVar(&o.list, "list", false, "print the rows and exit")
	flags.BoolVar(&o.mutants, "mutants", false, "take one mechanism after another out; a row must notice each")
	flags.Uint64Var(&o.seed, "seed", 0, "of everything that is left to chance; 0 takes one by chance")
	flags.IntVar(&o.commands, "commands", 0, "commands a row")
	flags.DurationVar(&o.over, "over", 0, "the time over which a row's commands are written")
	flags.StringVar(&o.dispatcher, "dispatcher", "", "a dispatcher's program to try instead of building one")
	flags.StringVar(&o.dir, "dir", filepath.Join(".cache", "chaos"), "folder for programs, parts and logs")
	flags.StringVar(&o.table, "table", "", "write the table in Markdown to this file too")
	flags.BoolVar(&o.keep, "keep", false, "keep the logs of rows without a failure too")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.root, _ = os.Getwd()
	if _, err := os.Stat(filepath.Join(o.root, "scripts", "kafka-jars")); err != nil {
		return o, errors.New("must be run in the root of the repository: 'make chaos' does")
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, err
	}
	for _, r := range rows() {
		if o.only.MatchString(r.name) {
			o.rows = append(o.rows, r)
		}
	}
	if len(o.rows) == 0 && !o.mutants {
		return o, fmt.Errorf("no row's name matches %q: -list shows them", *only)
	}
	commands, over := fullCommands, fullOver
	if *short {
		commands, over = shortCommands, shortOver
	}
	if o.commands == 0 {
		o.commands = commands
	}
	if o.over == 0 {
		o.over = over
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return o, err
	}
	if o.dispatcher != "" {
		o.dispatcher, err = filepath.Abs(o.dispatcher)
	}
	return o, err
}

// runner plays rows one after another; those of the same kind of Kafka share the brokers.
type runner struct {
	options
	self     string
	binaries binaries
	ports    *ports
	dir      string
	kafka    *cluster
	progress *progress
}

func newRunner(o options, stderr *os.File) (r *runner, err error) {
	r = &runner{options: o, ports: &ports{}, progress: newProgress(stderr)}
	if r.self, err = os.Executable(); err != nil {
		return nil, err
	}
	r.dir = filepath.Join(o.dir, "run-"+time.Now().UTC().Format("20060102T150405"))
	r.progress.line(fmt.Sprintf("seed %d, %d commands a row, in %s", o.seed, o.commands, r.dir))
	r.progress.tell("building")
	return r, os.MkdirAll(r.dir, 0o700)
}

func (r *runner) close() { r.kafka.close() }

// play plays the rows and writes the table; bad reports whether one of them is not zero.
func play(ctx context.Context, o options, stdout io.Writer, stderr *os.File) (bad bool, err error) {
	r, err := newRunner(o, stderr)
	if err != nil {
		return false, err
	}
	defer r.close()
	if r.binaries, err = buildAll(ctx, filepath.Join(o.dir, "bin"), o.dispatcher); err != nil {
		return false, err
	}
	all, faults := []verdict{}, []string{}
	for i, row := range sortedByBrokers(o.rows) {
		if ctx.Err() != nil {
			break
		}
		v := r.playRow(ctx, row, fmt.Sprintf("%2d of %d", i+1, len(o.rows)))
		all, faults = append(all, v), append(faults, row.fault)
		bad = bad || !v.zero()
	}
	fmt.Fprintln(stdout)
	writeTable(stdout, faults, all, false)
	if o.table != "" {
		var text strings.Builder
		writeTable(&text, faults, all, true)
		err = os.WriteFile(o.table, []byte(text.String()), 0o644)
	}
	if bad {
		fmt.Fprintf(stdout, "\nnot all is zero; the logs and verdicts of those rows are in %s, the seed is %d\n", r.dir, o.seed)
	} else if !o.keep && ctx.Err() == nil {
		defer func() { _ = os.RemoveAll(r.dir) }()
	}
	return bad, errors.Join(err, ctx.Err())
}

// sortedByBrokers puts the rows with one broker first, so that each Kafka is started once.
func sortedByBrokers(all []row) []row {
	var one, more []row
	for _, r := range all {
		if r.brokers == 1 {
			one = append(one, r)
		} else {
			more = append(more, r)
		}
	}
	return append(one, more...)
}

// cluster returns the brokers for a row, all of them running.
func (r *runner) cluster(ctx context.Context, brokers int) error {
	if r.kafka != nil && len(r.kafka.brokers) != brokers {
		r.kafka.close()
		r.kafka = nil
	}
	if r.kafka != nil {
		return r.kafka.restore(ctx)
	}
	dir := filepath.Join(r.dir, fmt.Sprintf("kafka-of-%d", brokers))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	r.progress.tell(fmt.Sprintf("Kafka with %d brokers starts", brokers))
	var err error
	r.kafka, err = startCluster(ctx, r.ports, r.root, dir, brokers)
	return err
}

// rowTime bounds a row, whatever happens.
const rowTime = 8 * time.Minute

// playRow plays one row and returns its verdict.
func (r *runner) playRow(ctx context.Context, row row, place string) (v verdict) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, rowTime)
	defer cancel()
	v = verdict{Row: row.name, Seed: r.seed}
	s := &stage{
		row: row, binaries: r.binaries, ports: r.ports, seed: r.seed, rand: rand.New(rand.NewPCG(r.seed, 2)),
		dir: filepath.Join(r.dir, row.name), group: fmt.Sprintf("chaos-%s-%d", row.name, began.UnixMilli()),
		commands: r.commands, over: r.over,
	}
	fail := func(err error) {
		if err != nil {
			v.Faults = append(v.Faults, err.Error())
		}
	}
	if err := r.cluster(ctx, row.brokers); err != nil {
		r.kafka.close()
		r.kafka = nil
		fail(err)
	} else {
		s.kafka = r.kafka
		stopTelling := r.tell(s, place)
		err := s.open(ctx, r.self)
		if err == nil {
			err = s.play(ctx)
		}
		if s.ledger != nil {
			judged, wrong := s.verdict(context.WithoutCancel(ctx))
			judged.Faults = append(judged.Faults, v.Faults...)
			v = judged
			fail(wrong)
		}
		fail(err)
		s.close()
		stopTelling()
	}
	v.Took = time.Since(began)
	r.conclude(s, v, place)
	return v
}

// tell shows how a row goes on until it is told to stop.
func (r *runner) tell(s *stage, place string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			doing, written, ended := s.progress()
			r.progress.tell(fmt.Sprintf("%s  %s: %d written, %d ended; %s", place, s.row.name, written, ended, doing))
			if !pause(ctx, 500*time.Millisecond) {
				return
			}
		}
	})
	return func() { cancel(); telling.Wait() }
}

// conclude writes a row's line and keeps what a failure needs.
func (r *runner) conclude(s *stage, v verdict, place string) {
	word := "ok"
	if !v.zero() {
		word = "NOT ZERO"
	}
	r.progress.line(fmt.Sprintf("%s  %-21s %-8s %d commands, %d charges; twice %d, not ordered %d, endless %d, contradictory %d, "+
		"never sent %d, cut %d; longest %.1f s, %d questions; %.0f s%s", place, v.Row, word, v.Commands, v.Charges, v.Twice, v.Unordered,
		v.Endless, v.Contradictory, v.NeverSent, v.Cut, v.Longest.Seconds(), v.Questions, v.Took.Seconds(), described(v.Faults)))
	if v.zero() && !r.keep {
		_ = os.RemoveAll(s.dir)
		return
	}
	if err := os.MkdirAll(s.dir, 0o700); err == nil {
		_ = writeVerdict(s.dir, v)
	}
}

func described(faults []string) string {
	if len(faults) == 0 {
		return ""
	}
	return "\n      " + strings.Join(faults, "\n      ")
}
