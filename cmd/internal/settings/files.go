package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"paydispatch/internal/commands"
)

// ReadSecret returns the content of a mounted file without its line end. name is the setting that gave the path; no
// error repeats the content.
func ReadSecret(name, path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", unreadable(name, err)
	}
	secret := strings.TrimRight(string(raw), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s: %s is empty", name, path)
	}
	return secret, nil
}

// ReadKeys returns the keys of a mounted file, one secret a line, the newest first.
func ReadKeys(name, path string) (commands.Keyring, error) {
	if path == "" {
		return commands.Keyring{}, fmt.Errorf("%s: is not set; it names a file with one secret a line, the newest first", name)
	}
	secret, err := ReadSecret(name, path)
	if err != nil {
		return commands.Keyring{}, err
	}
	var keys [][]byte
	for line := range strings.Lines(secret) {
		if line = strings.TrimSpace(line); line != "" {
			keys = append(keys, []byte(line))
		}
	}
	ring, err := commands.NewKeyring(keys...)
	if err != nil {
		return commands.Keyring{}, fmt.Errorf("%s: %s: %w", name, path, err)
	}
	return ring, nil
}

// ReadJSON decodes a mounted JSON file into to. The decoder's own words are left out: they may quote the content.
func ReadJSON(name, path string, to any) error {
	if path == "" {
		return fmt.Errorf("%s: is not set", name)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return unreadable(name, err)
	}
	if json.Unmarshal(raw, to) != nil {
		return fmt.Errorf("%s: %s does not hold the JSON that is expected", name, path)
	}
	return nil
}

func unreadable(name string, err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %s cannot be read: %w", name, path.Path, path.Err)
	}
	return fmt.Errorf("%s: cannot be read: %w", name, err)
}

// Rename puts the names of the settings in front of problems that begin with another word for them, such as "lease".
// A word matches the beginning of a problem; a problem that no word matches keeps its text behind fallback.
func Rename(err error, fallback string, names ...[2]string) error {
	var all []error
	for _, e := range flatten(err) {
		all = append(all, renamed(e, fallback, names))
	}
	return errors.Join(all...)
}

func renamed(err error, fallback string, names [][2]string) error {
	for _, n := range names {
		if rest, ok := strings.CutPrefix(err.Error(), n[0]); ok {
			if said, ok := strings.CutPrefix(rest, ": "); ok {
				return fmt.Errorf("%s: %s", n[1], said)
			}
			return fmt.Errorf("%s: %w", n[1], err)
		}
	}
	return fmt.Errorf("%s: %w", fallback, err)
}

// without drops the problems that begin with prefix.
func without(err error, prefix string) error {
	return errors.Join(slices.DeleteFunc(flatten(err), func(e error) bool { return strings.HasPrefix(e.Error(), prefix) })...)
}
