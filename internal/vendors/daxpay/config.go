package daxpay

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"

	"paydispatch/internal/vendors/wire"
)

// Config of a [Client]. Its secrets mask themselves when it is printed.
type Config struct {
	// URL is the base address, such as https://pay.example.com; the interface's path is added to it.
	URL string
	// Accounts by the name that commands use.
	Accounts map[string]Account
	// DefaultAccount is used by commands that name none.
	DefaultAccount string
	// SignType of the accounts that set none; "" means HMAC_SHA256, which installations are shipped with.
	SignType SignType
	// Nonce sends and signs nonceStr. Servers before 2.0.8 do not know the field and refuse the signature then; 2.0.8
	// knows it and does not check that it is new.
	Nonce bool
	// NonceSource gives the random bytes of nonceStr; nil means the system's.
	NonceSource io.Reader
	// ShowAccounts lets receiverAccount and receiverName leave in full instead of masked. They reach the result events
	// and the records then.
	ShowAccounts bool
	// Now gives reqTime; nil means time.Now. By default servers refuse requests older than 10 s or more than a minute
	// ahead.
	Now func() time.Time
	// HTTP bounds the calls.
	HTTP wire.Config
}

// Validate returns all problems of the configuration, joined; none of them holds a secret.
func (c Config) Validate() error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(c.Accounts) == 0 {
		add(errors.New("accounts: at least one is needed"))
	}
	if _, ok := c.Accounts[c.DefaultAccount]; !ok && len(c.Accounts) > 0 {
		add(fmt.Errorf("default account: %q is none of the accounts", c.DefaultAccount))
	}
	if err := c.SignType.validate(); c.SignType != "" && err != nil {
		add(err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		account := c.account(name)
		if name == "" {
			add(errors.New("accounts: a name is empty"))
		}
		// The server's library signs with a random key when it has none.
		if account.Secret == "" {
			add(fmt.Errorf("account %q: secret is empty", name))
		}
		if err := account.SignType.validate(); c.Accounts[name].SignType != "" && err != nil {
			add(fmt.Errorf("account %q: %w", name, err))
		}
		if err := checkURL(account.URL); err != nil {
			add(fmt.Errorf("account %q: %w", name, err))
		}
	}
	add(c.HTTP.Validate())
	return errors.Join(errs...)
}

// account returns an account with its defaults filled in.
func (c Config) account(name string) Account {
	a := c.Accounts[name]
	if a.SignType == "" {
		a.SignType = c.SignType
	}
	if a.SignType == "" {
		a.SignType = HMACSHA256
	}
	if a.URL == "" {
		a.URL = c.URL
	}
	return a
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		// The parser's error would repeat the text, which may hold a password.
		return errors.New("URL: must be absolute, with http or https")
	case u.User != nil:
		return errors.New("URL: must not hold a user or password")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("URL: must be a base address, without query and fragment")
	}
	return nil
}

// LogValue implements slog.LogValuer: what is worth a line at start, without secrets.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("url", c.URL),
		slog.Any("accounts", slices.Sorted(maps.Keys(c.Accounts))),
		slog.String("default_account", c.DefaultAccount),
		slog.String("sign_type", string(c.SignType)),
		slog.Bool("nonce", c.Nonce),
		slog.Bool("show_accounts", c.ShowAccounts),
		slog.Duration("timeout", c.HTTP.Timeout),
	)
}
