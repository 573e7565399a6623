package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Exit codes beside 0.
const (
	exitAlive = 1 // a mutant is alive, or could not be tried
	exitUsage = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	only := flags.String("only", "", "a regular expression: only mutants whose name or file matches")
	list := flags.Bool("list", false, "print the mutants and what makes each dangerous, and exit")
	edits := flags.Bool("edits", false, "print the mutants as JSON, one a line, for programs that plant them, and exit")
	suites := flags.String("suite", "", "a regular expression: only suites whose name matches look for them")
	seeds := flags.Int("seeds", defaultSeeds, "how many runs of the simulation a mistake may hide in")
	table := flags.String("table", "", "write the outcome as a Markdown table to this file")
	workers := flags.Int("workers", max(runtime.NumCPU(), 1), "mutants that are tried at once")
	if flags.Parse(args) != nil {
		return exitUsage
	}
	pattern, err := regexp.Compile("(?i)" + *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	suite, err := regexp.Compile(*suites)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	var chosen []mutant
	for _, m := range all() {
		if pattern.MatchString(m.name) || pattern.MatchString(m.file) {
			m = m.soughtBy(suite).within(*seeds)
			chosen = append(chosen, m)
		}
	}
	if *edits {
		return printEdits(chosen)
	}
	if *list {
		for _, m := range chosen {
			fmt.Printf("%-60s %s\n    %s\n", m.name, m.file, m.danger)
		}
		return 0
	}
	outcomes := try(ctx, chosen, *workers)
	if *table != "" {
		if err := os.WriteFile(*table, []byte(markdown(outcomes)), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitAlive
		}
	}
	return conclude(outcomes)
}

// printEdits prints what a mutant changes.
func printEdits(mutants []mutant) int {
	out := json.NewEncoder(os.Stdout)
	for _, m := range mutants {
		edit := map[string]string{"name": m.name, "danger": m.danger, "file": m.file, "old": m.old, "new": m.new}
		if err := out.Encode(edit); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitAlive
		}
	}
	return 0
}

// try tries the mutants side by side and prints a line for each.
func try(ctx context.Context, mutants []mutant, workers int) []outcome {
	outcomes := make([]outcome, len(mutants))
	next := make(chan int)
	var done int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range next {
				o := mutants[i].try(ctx)
				mu.Lock()
				outcomes[i] = o
				done++
				fmt.Printf("%3d of %d  %s\n", done, len(mutants), o)
				mu.Unlock()
			}
		})
	}
	for i := range mutants {
		next <- i
	}
	close(next)
	group.Wait()
	return outcomes
}

// conclude prints what is alive and returns the exit code.
func conclude(outcomes []outcome) int {
	var killed, excused int
	var bad []outcome
	for _, o := range outcomes {
		switch {
		case o.err == nil && o.killedBy != "":
			killed++
		case o.err == nil && o.alive != "":
			excused++
		default:
			bad = append(bad, o)
		}
	}
	fmt.Printf("\n%d mutants: %d killed, %d alive with a reason, %d alive or not tried\n", len(outcomes), killed, excused, len(bad))
	for _, o := range bad {
		fmt.Printf("  %s\n    %s\n", o, o.danger)
	}
	if len(bad) > 0 {
		return exitAlive
	}
	return 0
}

func markdown(outcomes []outcome) string {
	var b strings.Builder
	b.WriteString("| mutant | file | killed by | seconds |\n|---|---|---|---|\n")
	for _, o := range outcomes {
		by := o.killedBy
		switch {
		case o.err != nil:
			by = "not tried: " + o.err.Error()
		case by == "" && o.alive != "":
			by = "alive: " + o.alive
		case by == "":
			by = "**alive**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f |\n", o.name, o.file, by, o.took.Round(time.Second).Seconds())
	}
	return b.String()
}
