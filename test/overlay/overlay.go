// Package overlay plants changes into a build by the go command's -overlay flag, which leaves the sources as they are.
//
// It refuses a change of a text that does not stand in its file exactly once, so that an outdated change fails loudly.
package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Edit is one change.
type Edit struct {
	// File is changed; relative to the working directory, or absolute, as those of the standard library are.
	File string
	// Old stands in it exactly once and becomes New. With no Old the file is new.
	Old, New string
}

// Write writes the changed files and what -overlay reads into dir, and returns the latter's path. Later edits see what
// earlier ones of the same file did.
func Write(dir string, edits ...Edit) (string, error) {
	changed := map[string]string{}
	for _, e := range edits {
		path, err := filepath.Abs(e.File)
		if err != nil {
			return "", err
		}
		text, seen := changed[path]
		if !seen && e.Old != "" {
			raw, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			text = string(raw)
		}
		if changed[path], err = e.apply(text); err != nil {
			return "", err
		}
	}
	replace := map[string]string{}
	for path, text := range changed {
		file := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = file
	}
	all, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, all, 0o600)
}

func (e Edit) apply(text string) (string, error) {
	if e.Old == "" {
		return e.New, nil
	}
	if n := strings.Count(text, e.Old); n != 1 {
		return "", fmt.Errorf("the text that it replaces stands in %s %d times, not once", e.File, n)
	}
	return strings.Replace(text, e.Old, e.New, 1), nil
}
