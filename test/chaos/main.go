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

	"github.com/redis/go-redis/v9"
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
	os.Exit(code)
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
	redis.SetLogger(quiet{})
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
	atOnce     int
	dispatcher string
	ingest     string
	dir        string
	table      string
	root       string
	keep       bool
}

// The two forms: how many commands a row has, written over which time.
const (
	fullCommands, fullOver   = 5000, 20 * time.Second
	shortCommands, shortOver = 600, 6 * time.Second
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
	flags.IntVar(&o.atOnce, "at-once", 0, "rows that are played at once, each on brokers of its own (1; 2 in the short form)")
	flags.StringVar(&o.dispatcher, "dispatcher", "", "a dispatcher's program to try instead of building one")
	flags.StringVar(&o.ingest, "ingest", "", "a callback-ingest's program to try instead of building one")
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
	commands, over, atOnce := fullCommands, fullOver, 1
	if *short {
		commands, over, atOnce = shortCommands, shortOver, 2
	}
	if o.atOnce <= 0 {
		o.atOnce = atOnce
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
	for _, program := range []*string{&o.dispatcher, &o.ingest} {
		if *program == "" {
			continue
		}
		if *program, err = filepath.Abs(*program); err != nil {
			return o, err
		}
	}
	return o, nil
}

// runner is what all workers share.
type runner struct {
	options
	self     string
	ports    *ports
	dir      string
	progress *progress
}

func newRunner(o options, stderr *os.File) (r *runner, err error) {
	r = &runner{options: o, ports: newPorts(), progress: newProgress(stderr)}
	if r.self, err = os.Executable(); err != nil {
		return nil, err
	}
	r.dir = filepath.Join(o.dir, "run-"+time.Now().UTC().Format("20060102T150405"))
	r.progress.line(fmt.Sprintf("seed %d, %d commands a row, in %s", o.seed, o.commands, r.dir))
	r.progress.tell("", "building")
	return r, os.MkdirAll(r.dir, 0o700)
}

// play plays the rows and writes the table; bad reports whether one of them is not zero.
func play(ctx context.Context, o options, stdout io.Writer, stderr *os.File) (bad bool, err error) {
	r, err := newRunner(o, stderr)
	if err != nil {
		return false, err
	}
	programs, err := buildAll(ctx, filepath.Join(o.dir, "bin"), binaries{dispatcher: o.dispatcher, ingest: o.ingest})
	if err != nil {
		return false, err
	}
	r.progress.tell("", "")
	played := r.playAll(ctx, programs)
	var all []verdict
	var faults []string
	for i, v := range played {
		if v.Row == "" {
			continue // interrupted before
		}
		all, faults = append(all, v), append(faults, o.rows[i].fault)
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
		fmt.Fprintf(stdout, "\nnot all is zero; logs and verdicts of those rows are in %s, the seed is %d\n", r.dir, o.seed)
	} else if !o.keep && ctx.Err() == nil {
		err = errors.Join(err, os.RemoveAll(r.dir))
	}
	return bad, errors.Join(err, ctx.Err())
}

// playAll shares the rows among workers. The first begins with those that need three brokers, so that they run beside
// rows that need less.
func (r *runner) playAll(ctx context.Context, programs binaries) []verdict {
	verdicts := make([]verdict, len(r.rows))
	var one, three []int
	for i, row := range r.rows {
		if row.brokers == 1 {
			one = append(one, i)
		} else {
			three = append(three, i)
		}
	}
	var mu sync.Mutex
	var begun int
	next := func(queues ...*[]int) (i, nth int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, q := range queues {
			if len(*q) > 0 && ctx.Err() == nil {
				i, *q = (*q)[0], (*q)[1:]
				begun++
				return i, begun, true
			}
		}
		return 0, 0, false
	}
	var all sync.WaitGroup
	for id := range r.atOnce {
		all.Go(func() {
			w := &worker{runner: r, id: id}
			defer w.close()
			queues := []*[]int{&one}
			if id == 0 {
				queues = []*[]int{&three, &one}
			}
			for {
				i, nth, ok := next(queues...)
				if !ok {
					return
				}
				verdicts[i] = w.playRow(ctx, r.rows[i], programs, fmt.Sprintf("%2d of %d", nth, len(r.rows)))
			}
		})
	}
	all.Wait()
	return verdicts
}

// worker plays rows one after another; those that follow each other with the same number of brokers share them.
type worker struct {
	*runner
	id    int
	kafka *cluster
	// clusters counts those that were started, for a folder of each.
	clusters int
}

func (w *worker) close() {
	w.kafka.close()
	w.kafka = nil
}

// cluster starts the brokers for a row, or mends those that run.
func (w *worker) cluster(ctx context.Context, brokers int) error {
	if w.kafka != nil && len(w.kafka.brokers) != brokers {
		w.close()
	}
	if w.kafka != nil {
		return w.kafka.restore(ctx)
	}
	w.clusters++
	dir := filepath.Join(w.dir, fmt.Sprintf("kafka-%d-%d", w.id+1, w.clusters))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	w.kafka, err = startCluster(ctx, w.ports, w.root, dir, brokers)
	return err
}

// rowTime bounds a row, whatever happens.
const rowTime = 12 * time.Minute

// playRow plays one row and returns its verdict.
func (w *worker) playRow(ctx context.Context, row row, programs binaries, place string) (v verdict) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, rowTime)
	defer cancel()
	v = verdict{Row: row.name, Seed: w.seed}
	s := &stage{
		row: row, binaries: programs, ports: w.ports, seed: w.seed, rand: rand.New(rand.NewPCG(w.seed, 2)),
		dir: filepath.Join(w.dir, row.name), group: fmt.Sprintf("chaos-%s-%d", row.name, began.UnixMilli()),
		commands: w.commands * row.longer, over: w.over * time.Duration(row.longer),
	}
	fail := func(err error) {
		if err != nil {
			v.Faults = append(v.Faults, err.Error())
		}
	}
	s.say("brokers")
	stopTelling := w.tell(s, place)
	if err := w.cluster(ctx, row.brokers); err != nil {
		w.close()
		fail(err)
	} else {
		s.kafka = w.kafka
		err := s.open(ctx, w.self)
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
	}
	stopTelling()
	v.Took = time.Since(began)
	w.conclude(s, v, place)
	return v
}

// tell shows how a row goes on until it is told to stop.
func (w *worker) tell(s *stage, place string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			doing, written, ended := s.progress()
			w.progress.tell(place, fmt.Sprintf("%s: %d written, %d ended; %s", s.row.name, written, ended, doing))
			if !pause(ctx, 500*time.Millisecond) {
				return
			}
		}
	})
	return func() {
		cancel()
		telling.Wait()
		w.progress.tell(place, "")
	}
}

// conclude writes a row's line and keeps what a failure needs.
func (w *worker) conclude(s *stage, v verdict, place string) {
	word := "ok"
	if !v.zero() {
		word = "NOT ZERO"
	}
	w.progress.line(fmt.Sprintf("%s  %-21s %-8s %d commands, %d charges; twice %d, not ordered %d, endless %d, "+
		"contradictory %d, never sent %d, cut %d; longest %.1f s, %d questions; %.0f s%s",
		place, v.Row, word, v.Commands, v.Charges, v.Twice, v.Unordered, v.Endless,
		v.Contradictory, v.NeverSent, v.Cut, v.Longest.Seconds(), v.Questions, v.Took.Seconds(), described(v.Faults)))
	if v.zero() && !w.keep {
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
