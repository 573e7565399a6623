package withhold

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"

	"paydispatch/internal/vendors/wire"
)

// Config of a [Client]. Its keys mask themselves when it is printed.
type Config struct {
	// URL is the gateway's one address; all methods are posted to it.
	URL string
	// Accounts by the name that commands use.
	Accounts map[string]Account
	// DefaultAccount is used by commands that name none.
	DefaultAccount string
	// Cipher says how args are encrypted, for all accounts.
	Cipher CipherConfig
	// MissingWords are the gateway's wordings of "no such order": the whole message, or a regular expression between
	// slashes. Empty means that the gateway is never believed to say so.
	MissingWords []string
	// MaxAmount is the largest amount of one command, such as "50000.00". Required.
	MaxAmount string
	// NotifyURL gives the callback address of an order; nil or "" means that no callback is asked for.
	NotifyURL func(bizOrderNo string) string
	// HTTP bounds the calls.
	HTTP wire.Config
}

// Validate returns all problems of the configuration, joined; none of them holds a key.
func (c Config) Validate() error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	add(checkURL(c.URL))
	if len(c.Accounts) == 0 {
		add(errors.New("accounts: at least one is needed"))
	}
	if _, ok := c.Accounts[c.DefaultAccount]; !ok && len(c.Accounts) > 0 {
		add(fmt.Errorf("default account: %q is none of the accounts", c.DefaultAccount))
	}
	cipherErr := c.Cipher.Validate()
	add(cipherErr)
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		account := c.Accounts[name]
		if name == "" {
			add(errors.New("accounts: a name is empty"))
		}
		if account.UA == "" {
			add(fmt.Errorf("account %q: ua is empty", name))
		}
		if cipherErr == nil {
			if _, err := NewCipher(c.Cipher, account.Key); err != nil {
				add(fmt.Errorf("account %q: %w", name, err))
			}
		}
	}
	if _, err := compileWordings(c.MissingWords); err != nil {
		add(err)
	}
	if _, err := ParseAmount(c.MaxAmount); err != nil {
		add(fmt.Errorf("largest amount: %w", err))
	}
	add(c.HTTP.Validate())
	return errors.Join(errs...)
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		// The parser's error would repeat the text, which may hold a password.
		return errors.New("URL: must be absolute, with http or https")
	case u.User != nil:
		return errors.New("URL: must not hold a user or password")
	}
	return nil
}

// LogValue implements slog.LogValuer: what is worth a line at start, without keys.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("url", c.URL),
		slog.Any("accounts", slices.Sorted(maps.Keys(c.Accounts))),
		slog.String("default_account", c.DefaultAccount),
		slog.Any("cipher", c.Cipher.withDefaults()),
		slog.Any("missing_words", c.MissingWords),
		slog.String("max_amount", c.MaxAmount),
		slog.Duration("timeout", c.HTTP.Timeout),
	)
}
