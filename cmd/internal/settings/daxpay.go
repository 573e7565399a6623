package settings

import (
	"errors"
	"time"

	"paydispatch/internal/vendors/daxpay"
	"paydispatch/internal/vendors/wire"
)

// Daxpay is how to reach DaxPay.
type Daxpay struct {
	URL            string        `env:"DAXPAY_URL"`
	AccountsFile   string        `env:"DAXPAY_ACCOUNTS_FILE"`
	DefaultAccount string        `env:"DAXPAY_DEFAULT_ACCOUNT"`
	SignType       string        `env:"DAXPAY_SIGN_TYPE"`
	Nonce          bool          `env:"DAXPAY_NONCE"`
	ShowAccounts   bool          `env:"DAXPAY_SHOW_ACCOUNTS"`
	Timeout        time.Duration `env:"DAXPAY_TIMEOUT"`
	MaxConns       int           `env:"DAXPAY_MAX_CONNS"`
	Limits         Limits        `envPrefix:"DAXPAY_"`
}

// DefaultDaxpay are the defaults: what an installation of 2.0.8 is shipped with.
func DefaultDaxpay() Daxpay {
	return Daxpay{
		DefaultAccount: "default", SignType: string(daxpay.HMACSHA256), Nonce: true, Timeout: 5 * time.Second,
		MaxConns: 32, Limits: DefaultLimits(),
	}
}

// Config returns the adapter's configuration. Its error names every problem.
func (d Daxpay) Config() (daxpay.Config, error) {
	accounts := map[string]daxpay.Account{}
	files := ReadJSON("DAXPAY_ACCOUNTS_FILE", d.AccountsFile, &accounts)
	c := daxpay.Config{
		URL: d.URL, Accounts: accounts, DefaultAccount: d.DefaultAccount, SignType: daxpay.SignType(d.SignType),
		Nonce: d.Nonce, ShowAccounts: d.ShowAccounts,
		HTTP: wire.Config{Timeout: d.Timeout, MaxConns: d.MaxConns, MaxIdle: d.MaxConns},
	}
	problems := Rename(c.Validate(), "DAXPAY", append(httpNames("DAXPAY"), [2]string{"sign type", "DAXPAY_SIGN_TYPE"})...)
	if files != nil {
		problems = without(problems, "DAXPAY_ACCOUNTS_FILE: accounts:")
	}
	return c, errors.Join(files, problems, d.Limits.Check("DAXPAY_"))
}
