package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"paydispatch/test/overlay"
)

// mutant is a mechanism taken out, and the row that must not be zero then.
type mutant struct {
	// name is one of test/mutants, or edit is the mistake.
	name, row string
	danger    string
	edit      *overlay.Edit
	// also is another of test/mutants, where either alone is caught by the other's mechanism.
	also string
	// ingest has the mistake too.
	ingest bool
}

// mutants are mistakes that only real processes can show to be harmful. Those of test/mutants are planted by their
// names, so that each text stands in one place.
func mutants() []mutant {
	return []mutant{
		{name: "the position passes what is unfinished", row: "kill"},
		{name: "a lease that is over is sent again", row: "kill"},
		{name: "what failed is finished", row: "redis-aof"},
		{name: "a loss is not seen by a new order", row: "group-gone"},
		{name: "a missing epoch is no loss", also: "another epoch than the remembered one is no loss", row: "flushall"},
		{name: "a start is always the first", row: "other-first"},
		{name: "no settle delay", row: "query-lag"},
		{name: "the drain is not waited for", row: "rolling"},
		{name: "a refusal is a failure", row: "vendor-refuses"},
		{name: "a verdict is decided anew", row: "callbacks", ingest: true},
		{name: "an event id changes with its time", row: "replay-forgot"},
		{name: "an abandoned message counts as done", row: "rolling-slow"},
		{
			name: "an unclear outcome is sent again", row: "vendor-lost", danger: "what was executed is executed once more",
			edit: &overlay.Edit{
				File: "internal/commands/advance.go",
				Old:  "	return m.unclear(m.state.lastLeft(), \"the gateway's answer did not arrive or could not be read (\"+e.Code+\")\")\n",
				New:  "	return m.send()\n",
			},
		},
		{
			name: "clocks are not compared", row: "clocks", danger: "a settle delay by a wrong clock is none",
			edit: &overlay.Edit{
				File: "internal/idempotency/clock/clock.go", Old: "	if r.Tolerance == 0 {\n		return nil\n	}\n	if last.IsZero() {",
				New: "	if true {\n		return nil\n	}\n	if last.IsZero() {",
			},
		},
		{
			name: "replicas that do not have a write are overlooked", row: "failover-wait", danger: "a failover forgets it",
			edit: &overlay.Edit{
				File: "internal/idempotency/redisstore/store.go",
				Old:  "reply.acked < int64(s.config.Replicas)", New: "reply.acked < int64(s.config.Replicas) && false",
			},
		},
	}
}

// edits returns what each mutant changes: those of test/mutants say it themselves.
func edits(ctx context.Context) (map[string]overlay.Edit, map[string]string, error) {
	command := exec.CommandContext(ctx, "go", "run", "./test/mutants", "-edits")
	command.Stderr = os.Stderr
	raw, err := command.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("test/mutants -edits: %w", err)
	}
	changes, dangers := map[string]overlay.Edit{}, map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(raw))); ; {
		var e struct{ Name, Danger, File, Old, New string }
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, err
		}
		changes[e.Name], dangers[e.Name] = overlay.Edit{File: e.File, Old: e.Old, New: e.New}, e.Danger
	}
	for _, m := range mutants() {
		if m.edit != nil {
			changes[m.name], dangers[m.name] = *m.edit, m.danger
		}
	}
	return changes, dangers, nil
}

// tryMutants plays each mutant's row with its mistake and writes a table; bad reports whether one went unnoticed.
func tryMutants(ctx context.Context, o options, stdout io.Writer, stderr *os.File) (bad bool, err error) {
	changes, dangers, err := edits(ctx)
	if err != nil {
		return false, err
	}
	byName := map[string]row{}
	for _, r := range rows() {
		byName[r.name] = r
	}
	r, err := newRunner(o, stderr)
	if err != nil {
		return false, err
	}
	sound, err := buildAll(ctx, filepath.Join(o.dir, "bin"), binaries{})
	if err != nil {
		return false, err
	}
	r.progress.tell("", "")
	w := &worker{runner: r}
	defer w.close()
	lines := [][]string{{"mechanism taken out", "what it leads to", "row", "found"}}
	for i, m := range mutants() {
		if ctx.Err() != nil || !o.only.MatchString(m.name) && !o.only.MatchString(m.row) {
			continue
		}
		r.progress.line("with the mistake: " + m.title())
		programs, err := m.build(ctx, filepath.Join(r.dir, "bin"), sound, changes)
		if err != nil {
			return true, err
		}
		v := w.playRow(ctx, byName[m.row], programs, fmt.Sprintf("%2d of %d", i+1, len(mutants())))
		_ = os.Rename(filepath.Join(r.dir, m.row), filepath.Join(r.dir, fmt.Sprintf("%d-%s", i+1, m.row)))
		lines = append(lines, []string{m.title(), dangers[m.name], byName[m.row].fault, found(v)})
		bad = bad || v.zero()
	}
	fmt.Fprintln(stdout)
	writeLines(stdout, lines, false)
	if o.table != "" {
		var text strings.Builder
		writeLines(&text, lines, true)
		err = os.WriteFile(o.table, []byte(text.String()), 0o644)
	}
	return bad, errors.Join(err, ctx.Err())
}

// title names what is taken out.
func (m mutant) title() string {
	if m.also == "" {
		return m.name
	}
	return m.name + "; " + m.also
}

// planted are the edits that make the mistake.
func (m mutant) planted(changes map[string]overlay.Edit) ([]overlay.Edit, error) {
	var all []overlay.Edit
	for _, name := range []string{m.name, m.also} {
		edit, ok := changes[name]
		if !ok && name != "" {
			return nil, fmt.Errorf("test/mutants has no mistake %q any more", name)
		}
		if ok {
			all = append(all, edit)
		}
	}
	return all, nil
}

// build builds what has the mistake; the rest is sound.
func (m mutant) build(
	ctx context.Context, dir string, sound binaries, changes map[string]overlay.Edit,
) (binaries, error) {
	root, err := goroot(ctx)
	if err != nil {
		return sound, err
	}
	all, err := m.planted(changes)
	if err != nil {
		return sound, err
	}
	all = append(clock(root), all...)
	if sound.dispatcher, err = build(ctx, dir, "dispatcher", all...); err == nil && m.ingest {
		sound.ingest, err = build(ctx, dir, "callback-ingest", all...)
	}
	return sound, err
}

// found says what a row noticed.
func found(v verdict) string {
	var all []string
	for _, c := range []struct {
		what string
		n    int
	}{
		{"charged twice", v.Twice}, {"charged, not ordered", v.Unordered}, {"without an end", v.Endless},
		{"contradictory", v.Contradictory}, {"never sent though unresolved", v.NeverSent},
	} {
		if c.n > 0 {
			all = append(all, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if v.CutCounts && v.Cut > 0 {
		all = append(all, fmt.Sprintf("%d calls cut", v.Cut))
	}
	all = append(all, v.Faults...)
	if len(all) == 0 {
		return "NOTHING"
	}
	return strings.Join(all, ", ")
}
