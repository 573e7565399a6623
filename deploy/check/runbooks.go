package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	runbookFile = "docs/operations.md"
	// runbookLevel is the level of the headings that are alerts; those of other sections may not be named like one.
	runbookLevel = "### "
)

// parts are what each section about an alert says, each at the beginning of a line.
var parts = []string{"**Means.**", "**Look.**", "**Do.**", "**Never**"}

// Runbooks holds the page that people act by against what it speaks of: each alert has its section in the order of the
// rules, with all of its parts, and each section its alert; metrics and queries are those of a scrape, settings those of
// the programs, topics and payctl's commands payctl's, and what is searched for in logs stands in the code.
func (t Tree) Runbooks() []Finding {
	raw, err := os.ReadFile(t.path("../" + runbookFile))
	if err != nil {
		return []Finding{{runbookFile, err.Error()}}
	}
	page := string(raw)
	groups, problems := t.rules()
	found := append(findings(problems), sections(page, groups)...)
	recorded := recordings(groups)
	for _, name := range metricName.FindAllString(page, -1) {
		if t.Code.Metrics[name] == nil && recorded[name] == nil && t.Code.Metrics[name+"_count"] == nil {
			found.add(runbookFile, "names %s, which no scrape has", name)
		}
	}
	for _, m := range settingName.FindAllStringSubmatch(page, -1) {
		if !t.Code.setting(m[1]) {
			found.add(runbookFile, "names the setting %s, which no service has", m[1])
		}
	}
	for _, query := range fenced(page, "promql") {
		found = append(found, t.Code.query(runbookFile, query, recorded)...)
	}
	for _, line := range append(fenced(page, "sh"), quotedCommands(page)...) {
		found = append(found, t.shell(line)...)
	}
	return append(found, t.references(page)...)
}

var (
	metricName  = regexp.MustCompile(`paydispatch_[a-z0-9_]+[a-z0-9]`)
	settingName = regexp.MustCompile("`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`")
	fence       = regexp.MustCompile("(?ms)^ *```([a-z]+)\n(.*?)\n *```$")
	inlined     = regexp.MustCompile("`((?:payctl|kcat|logs) [^`]+)`")
)

// setting reports whether a service has it.
func (c Code) setting(name string) bool {
	return slices.ContainsFunc(services, func(service string) bool {
		_, has := c.Defaults[service][name]
		return has
	})
}

// fenced returns the lines of the page's blocks in one language.
func fenced(page, language string) []string {
	var lines []string
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] != language {
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(m[2], "\\\n", " ")) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// quotedCommands returns the commands that stand in a sentence.
func quotedCommands(page string) []string {
	var lines []string
	for _, m := range inlined.FindAllStringSubmatch(page, -1) {
		lines = append(lines, strings.ReplaceAll(m[1], `\|`, "|"))
	}
	return lines
}

// sections compares the headings with the alerts, and looks for the parts of each.
func sections(page string, groups []ruleGroup) []Finding {
	var found findings
	var alerts, titles []string
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts = append(alerts, r.Alert)
			}
		}
	}
	texts := map[string]string{}
	for _, text := range strings.Split("\n"+page, "\n#") {
		heading, body, _ := strings.Cut(text, "\n")
		title, named := strings.CutPrefix("#"+heading, runbookLevel)
		if !slices.Contains(alerts, title) && !strings.HasPrefix(strings.TrimLeft(heading, "# "), "Paydispatch") {
			continue
		}
		switch {
		case !named:
			found.add(runbookFile, "the heading %q is not at the level of %q", heading, strings.TrimSpace(runbookLevel))
		case !slices.Contains(alerts, title):
			found.add(runbookFile, "has a section %s, an alert that is not there", title)
		default:
			titles, texts[title] = append(titles, title), body
		}
	}
	for _, name := range alerts {
		if !slices.Contains(titles, name) {
			found.add(runbookFile, "has no section %s", name)
			continue
		}
		for _, part := range parts {
			if _, said, _ := strings.Cut("\n"+texts[name], "\n"+part); strings.TrimSpace(said) == "" {
				found.add(runbookFile, "section %s has no part %s", name, part)
			}
		}
	}
	if len(found) == 0 && !slices.Equal(alerts, titles) {
		found.add(runbookFile, "its sections are not in the order of the alerts, or one stands there twice: %v", titles)
	}
	return found
}

var (
	payctlCall = regexp.MustCompile(`(?:^|\| )payctl ([^|]+)`)
	helped     = regexp.MustCompile(`(?m)^Usage:\n +(.+)$`)
	kcatTopic  = regexp.MustCompile(`(?:^|\| )kcat .*?-t ([a-z][a-z0-9.-]*)`)
	logsFilter = regexp.MustCompile(`^logs ([a-z-]+) [0-9]+[mh] '([^']+)'`)
	jqText     = regexp.MustCompile(`"([^"]*)"`)
	jqField    = regexp.MustCompile(`\.([a-z_]+)`)
	stands     = regexp.MustCompile(`^[A-Z]+$`)
)

// shell checks what can be known of a line without running it: payctl's words and flags, topics, and what is searched for
// in logs. Words in capitals stand for something else.
func (t Tree) shell(line string) []Finding {
	var found findings
	line, _, _ = strings.Cut(line, "  #")
	for _, m := range payctlCall.FindAllStringSubmatch(line, -1) {
		found.fail(runbookFile, t.payctl(m[1]))
	}
	for _, m := range kcatTopic.FindAllStringSubmatch(line, -1) {
		if !slices.Contains(t.Code.Topics, m[1]) {
			found.add(runbookFile, "%s: there is no topic %s", line, m[1])
		}
	}
	if m := logsFilter.FindStringSubmatch(line); m != nil {
		if !slices.Contains(services, m[1]) {
			found.add(runbookFile, "%s: there is no service %s", line, m[1])
		}
		found = append(found, t.Code.filter(m[2])...)
	}
	return found
}

// payctl asks it for the help of a command line, which it refuses to give for flags that it does not know.
func (t Tree) payctl(args string) error {
	line := "./payctl " + args
	if _, passed := t.Judged.Load(line); passed {
		return nil
	}
	out, err := run(t.Code.Bin, "sh", "-c", line+" --help")
	if err != nil {
		return err
	}
	if m := helped.FindStringSubmatch(out); m == nil || strings.HasSuffix(m[1], "[command]") {
		return fmt.Errorf("%s: it has no such command", line)
	}
	t.Judged.Store(line, true)
	return nil
}

// filter checks the fields of a jq filter over log lines, and the texts that they are compared with.
func (c Code) filter(jq string) []Finding {
	var found findings
	for _, m := range jqText.FindAllStringSubmatch(jq, -1) {
		said := c.Words[m[1]] || slices.Contains(c.Topics, m[1]) || stands.MatchString(m[1]) ||
			slices.ContainsFunc(c.Texts, func(text string) bool {
				return text == m[1] || strings.HasPrefix(text, m[1]) && strings.Contains(jq, "startswith")
			})
		if !said {
			found.add(runbookFile, "searches logs for %q, which nothing in the code says", m[1])
		}
	}
	for _, m := range jqField.FindAllStringSubmatch(jqText.ReplaceAllString(jq, ""), -1) {
		if !c.Words[m[1]] && !slices.Contains([]string{"msg", "level", "time"}, m[1]) {
			found.add(runbookFile, "searches logs by %q, a field that nothing in the code writes", m[1])
		}
	}
	return found
}

var (
	link     = regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`)
	title    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	slugless = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// references checks the page's links to files of the repository, and those to its own sections.
func (t Tree) references(page string) []Finding {
	var found findings
	anchors := map[string]bool{"": true}
	for _, m := range title.FindAllStringSubmatch(page, -1) {
		anchors["#"+strings.ReplaceAll(slugless.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	for _, m := range link.FindAllStringSubmatch(page, -1) {
		if m[1] == "" && !anchors[m[2]] {
			found.add(runbookFile, "links to %s, which is not there", m[2])
		}
		path := filepath.Join(t.Code.Root, filepath.Dir(runbookFile), filepath.FromSlash(m[1]))
		if _, err := os.Stat(path); m[1] != "" && errors.Is(err, os.ErrNotExist) {
			found.add(runbookFile, "links to %s, which is not there", m[1])
		}
	}
	return found
}
