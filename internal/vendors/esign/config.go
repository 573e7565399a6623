package esign

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"paydispatch/internal/vendors/wire"
)

// Mode is how requests are authorized (seed 000, ways one and two).
type Mode string

const (
	// ModeSignature signs each request; the vendor's preferred way. The empty Mode means this one.
	ModeSignature Mode = "signature"
	// ModeOAuth2 sends a token that is fetched with the secret.
	ModeOAuth2 Mode = "oauth2"
)

// Defaults of a [Config].
const (
	DefaultContentType = "application/json;charset=UTF-8"
	DefaultTokenMargin = 5 * time.Minute
)

// DefaultFailedCodes are the business codes by which the vendor says that this flow can never be answered for: expired,
// no such flow, nothing to do for it, its arguments are wrong. A code about our application or the vendor's own trouble
// is not among them.
func DefaultFailedCodes() []int {
	return []int{
		30500003, 30500004, 30500050, 30500051,
		30500100, 30500101, 30500102, 30500103, 30500104, 30500116,
	}
}

// Config of a [Client]. Its secrets mask themselves when it is printed.
type Config struct {
	// URL is scheme and host of the gateway; the path is signed, so it must have none of its own.
	URL string
	// Mode of authorization, for all accounts.
	Mode Mode
	// Accounts by the name that commands use.
	Accounts map[string]Account
	// DefaultAccount is used by commands that name none.
	DefaultAccount string
	// HTTP bounds the calls.
	HTTP wire.Config
	// ContentType is sent, and signed, exactly so; "" means [DefaultContentType].
	ContentType string
	// ShowAccountNumbers lets bank account numbers into replies in full; otherwise their last four characters stay.
	ShowAccountNumbers bool
	// ShareFor is how long an answer about a flow serves other polls of it, which also share a call under way. 0 means
	// that each poll makes its own.
	ShareFor time.Duration
	// TokenMargin is how long before its end a token is renewed, at most half of its life; 0 means [DefaultTokenMargin].
	TokenMargin time.Duration
	// FailedCodes are the business codes that end a flow as failed; nil means [DefaultFailedCodes].
	FailedCodes []int
	// AnswerStatuses are the HTTP statuses whose body is read as an answer; nil means 200 alone. The vendor documents
	// none for business errors.
	AnswerStatuses []int
	// Observe, if set, is told each process that a query answered with, and whether the vendor documents it. It must
	// not make a metric's label of an undocumented one.
	Observe func(process string, known bool)
}

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	if c.Mode == "" {
		c.Mode = ModeSignature
	}
	if c.ContentType == "" {
		c.ContentType = DefaultContentType
	}
	if c.TokenMargin == 0 {
		c.TokenMargin = DefaultTokenMargin
	}
	if c.FailedCodes == nil {
		c.FailedCodes = DefaultFailedCodes()
	}
	if c.AnswerStatuses == nil {
		c.AnswerStatuses = []int{http.StatusOK}
	}
	if c.Observe == nil {
		c.Observe = func(string, bool) {}
	}
	return c
}

// Validate returns all problems of the configuration, joined; none of them holds a secret.
func (c Config) Validate() error {
	c = c.withDefaults()
	errs := []error{checkURL(c.URL), c.checkAccounts(), c.HTTP.Validate()}
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Mode != ModeSignature && c.Mode != ModeOAuth2 {
		add("mode: %q is neither %s nor %s", c.Mode, ModeSignature, ModeOAuth2)
	}
	if !headerText(c.ContentType) {
		add("content type: must be printable text without spaces around it, since it is signed as it is sent")
	}
	if c.ShareFor < 0 {
		add("sharing time: must not be negative")
	}
	if c.TokenMargin < 0 {
		add("token margin: must not be negative")
	}
	for _, code := range []int{codeOK, codeTrouble, codeSubFlowFailed, codeFlowEnded, codeTriesUsedUp} {
		if slices.Contains(c.FailedCodes, code) {
			add("failed codes: %d does not say that a flow failed", code)
		}
	}
	for _, status := range c.AnswerStatuses {
		if status < 200 || status > 599 || status >= 300 && status < 400 ||
			status == http.StatusUnauthorized || status == http.StatusForbidden {
			add("answer statuses: %d cannot carry an answer", status)
		}
	}
	return errors.Join(errs...)
}

func (c Config) checkAccounts() error {
	var errs []error
	if len(c.Accounts) == 0 {
		errs = append(errs, errors.New("accounts: at least one is needed"))
	}
	if _, ok := c.Accounts[c.DefaultAccount]; !ok && len(c.Accounts) > 0 {
		errs = append(errs, fmt.Errorf("default account: %q is none of the accounts", c.DefaultAccount))
	}
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		account := c.Accounts[name]
		if name == "" {
			errs = append(errs, errors.New("accounts: a name is empty"))
		}
		if account.AppID == "" || !headerText(account.AppID) {
			errs = append(errs, fmt.Errorf("account %q: the app id is empty or not printable", name))
		}
		if account.Secret == "" {
			errs = append(errs, fmt.Errorf("account %q: the secret is empty", name))
		}
		if other, twice := owner[account.AppID]; twice && account.AppID != "" {
			errs = append(errs, fmt.Errorf("account %q: has the app id of account %q, so its callbacks could not be told apart",
				name, other))
		}
		owner[account.AppID] = name
	}
	return errors.Join(errs...)
}

// headerText reports whether net/http sends the text exactly so.
func headerText(text string) bool {
	return text == strings.TrimSpace(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		// The parser's error would repeat the text, which may hold a password.
		return errors.New("URL: must be absolute, with http or https")
	case u.User != nil:
		return errors.New("URL: must not hold a user or password")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("URL: must be scheme and host alone, since the signature covers the path")
	}
	return nil
}

// LogValue implements slog.LogValuer: what is worth a line at start, without secrets.
func (c Config) LogValue() slog.Value {
	c = c.withDefaults()
	return slog.GroupValue(
		slog.String("url", c.URL),
		slog.String("mode", string(c.Mode)),
		slog.Any("accounts", slices.Sorted(maps.Keys(c.Accounts))),
		slog.String("default_account", c.DefaultAccount),
		slog.String("content_type", c.ContentType),
		slog.Bool("show_account_numbers", c.ShowAccountNumbers),
		slog.Duration("share_for", c.ShareFor),
		slog.Any("failed_codes", c.FailedCodes),
		slog.Any("answer_statuses", c.AnswerStatuses),
		slog.Duration("timeout", c.HTTP.Timeout),
	)
}
