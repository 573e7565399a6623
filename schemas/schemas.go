// Package schemas holds the JSON Schemas (2020-12) of all messages, one file a topic, and checks values against them.
// They are what the service enforces at run time, and what the documents and fixtures are made from.
//
// It refuses to repeat a value in an error: errors name fields and rules only, since commands hold card and identity
// data.
package schemas

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed *.json
var files embed.FS

// Set is the compiled schemas.
type Set struct{ byTopic map[string]*jsonschema.Schema }

// Load compiles every schema of this folder.
func Load() (*Set, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("schemas: %w", err)
	}
	set := &Set{byTopic: map[string]*jsonschema.Schema{}}
	for _, e := range entries {
		schema, err := compile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", e.Name(), err)
		}
		set.byTopic[strings.TrimSuffix(e.Name(), path.Ext(e.Name()))] = schema
	}
	return set, nil
}

func compile(name string) (*jsonschema.Schema, error) {
	raw, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// Topics lists the topics that have a schema.
func (s *Set) Topics() []string {
	var topics []string
	for t := range s.byTopic {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	return topics
}

// Validate checks a message value of a topic. The error names every broken rule, never a value.
func (s *Set) Validate(topic string, value []byte) error {
	schema, ok := s.byTopic[topic]
	if !ok {
		return fmt.Errorf("topic %s has no schema; schemas exist for %v", topic, s.Topics())
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return errors.New("not JSON")
	}
	err = schema.Validate(doc)
	if broken, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return explain(broken)
	}
	return err
}

// explain lists the broken rules at the leaves, in a stable order.
func explain(e *jsonschema.ValidationError) error {
	var rules []string
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if _, either := e.ErrorKind.(*kind.AnyOf); either {
			rules = append(rules, "needs "+strings.Join(alternatives(e), " or "))
			return
		}
		if len(e.Causes) == 0 {
			rules = append(rules, rule(e))
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(e)
	slices.Sort(rules)
	return errors.New(strings.Join(slices.Compact(rules), "; "))
}

// alternatives names the fields of which one is needed.
func alternatives(e *jsonschema.ValidationError) []string {
	var names []string
	for _, c := range e.Causes {
		if r, ok := c.ErrorKind.(*kind.Required); ok {
			names = append(names, r.Missing...)
		}
	}
	return names
}

// rule says in words what one field breaks.
func rule(e *jsonschema.ValidationError) string {
	at := "the message"
	if len(e.InstanceLocation) > 0 {
		at = "field " + strings.Join(e.InstanceLocation, ".")
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return at + ": missing " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		return at + ": unknown field " + short(k.Properties)
	case *kind.Type:
		return fmt.Sprintf("%s: is %s, must be %s", at, k.Got, strings.Join(k.Want, " or "))
	case *kind.Pattern:
		return at + ": must match " + k.Want
	case *kind.MinLength:
		return fmt.Sprintf("%s: must have at least %d characters", at, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("%s: must have at most %d characters", at, k.Want)
	}
	return at + ": breaks " + strings.Join(e.ErrorKind.KeywordPath(), ".")
}

// short keeps names that a sender made up from filling a log line, or from carrying a card number into it.
func short(names []string) string {
	var kept []string
	for _, n := range names[:min(len(names), 5)] {
		if strings.ContainsAny(n, "0123456789") && len(n) > 8 {
			n = "[masked]"
		}
		kept = append(kept, fmt.Sprintf("%.40q", n))
	}
	slices.Sort(kept)
	return strings.Join(kept, ", ")
}
