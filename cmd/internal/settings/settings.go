// Package settings is what the programs share in reading their configuration: plain structs with defaults, filled from
// environment variables, with every problem named at once.
//
// It refuses to hold secrets in variables: those come from mounted files, which the …_FILE settings name, so that a
// printed configuration can be shown to anyone. It refuses to go on with half a configuration.
//
// Its callers give a struct that already holds its defaults, and add their own checks to what Load returns.
package settings

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
)

// Invalid says that the settings cannot work; its text names every problem, one a line.
type Invalid struct{ Problems []error }

// Error implements error.
func (e *Invalid) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, fmt.Sprintf("%d settings cannot work:", len(e.Problems)))
	if len(e.Problems) == 1 {
		lines[0] = "one setting cannot work:"
	}
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems.
func (e *Invalid) Unwrap() []error { return e.Problems }

// Check gathers problems; nil ones and those joined in one error are taken apart.
func Check(problems ...error) error {
	var all []error
	for _, p := range problems {
		all = append(all, flatten(p)...)
	}
	if len(all) == 0 {
		return nil
	}
	return &Invalid{Problems: all}
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// Load overwrites the fields of config, a pointer to a struct with `env` tags and its defaults set, with those variables
// that getenv knows. A field whose variable cannot be read keeps its default, so that it causes no second problem.
func Load(config any, getenv func(string) string) error {
	found := map[string]string{}
	names := map[string][]string{}
	walk(reflect.ValueOf(config).Elem(), func(name, field string, _ reflect.Value) {
		names[field] = append(names[field], name)
		if v := getenv(name); v != "" {
			found[name] = v
		}
	})
	err := env.ParseWithOptions(config, env.Options{Environment: found})
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	problems := make([]error, 0, len(all.Errors))
	for _, e := range all.Errors {
		if parse, ok := errors.AsType[env.ParseError](e); ok {
			e = fmt.Errorf("%s: must be %s", set(names[parse.Name], found), kindOf(parse.Type))
		}
		problems = append(problems, e)
	}
	return errors.Join(problems...)
}

// set names the variable of a field; fields of two structs may share a name, then the one that was given is meant.
func set(names []string, found map[string]string) string {
	var given []string
	for _, n := range names {
		if _, ok := found[n]; ok {
			given = append(given, n)
		}
	}
	return strings.Join(given, " or ")
}

// kindOf says what a person has to write; the value itself is not repeated.
func kindOf(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return "a duration such as 500ms, 30s or 1h"
	case t.String() == "[]time.Duration":
		return "durations such as 5s,30s,5m"
	case t.String() == "slog.Level":
		return "debug, info, warn or error"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// walk visits every field with an `env` tag, in the order in which they stand. A struct field's `envPrefix` tag begins the names below it.
func walk(v reflect.Value, visit func(name, field string, value reflect.Value)) {
	walkBelow("", v, visit)
}

func walkBelow(prefix string, v reflect.Value, visit func(name, field string, value reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if name, _, _ := strings.Cut(field.Tag.Get("env"), ","); name != "" {
			visit(prefix+name, field.Name, v.Field(i))
			continue
		}
		if field.IsExported() && field.Type.Kind() == reflect.Struct {
			walkBelow(prefix+field.Tag.Get("envPrefix"), v.Field(i), visit)
		}
	}
}

// Listing is a configuration as it may be shown: secrets are not in it, only the names of the files that hold them.
type Listing []slog.Attr

// List returns the settings of config, a struct or a pointer to one.
func List(config any) Listing {
	var all Listing
	walk(reflect.Indirect(reflect.ValueOf(config)), func(name, _ string, value reflect.Value) {
		all = append(all, slog.String(name, show(value)))
	})
	return all
}

// LogValue implements slog.LogValuer.
func (l Listing) LogValue() slog.Value { return slog.GroupValue(l...) }

// Print writes one setting a line.
func (l Listing) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, a := range l {
		if _, err := fmt.Fprintf(table, "%s\t%s\n", a.Key, a.Value); err != nil {
			return err
		}
	}
	return table.Flush()
}

// show masks what looks like an address with credentials in it: such a setting is refused, but may be printed before.
func show(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		var parts []string
		for i := range v.Len() {
			parts = append(parts, show(v.Index(i)))
		}
		return strings.Join(parts, ",")
	}
	text := fmt.Sprint(v.Interface())
	if strings.Contains(text, "@") {
		return "[masked]"
	}
	return text
}
