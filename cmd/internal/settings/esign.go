package settings

import (
	"errors"
	"time"

	"paydispatch/internal/vendors/esign"
	"paydispatch/internal/vendors/wire"
)

// Esign is how to reach e签宝.
type Esign struct {
	URL            string        `env:"ESIGN_URL"`
	Mode           string        `env:"ESIGN_AUTH"`
	AccountsFile   string        `env:"ESIGN_ACCOUNTS_FILE"`
	DefaultAccount string        `env:"ESIGN_DEFAULT_ACCOUNT"`
	ContentType    string        `env:"ESIGN_CONTENT_TYPE"`
	ShowAccounts   bool          `env:"ESIGN_SHOW_ACCOUNT_NUMBERS"`
	ShareFor       time.Duration `env:"ESIGN_SHARE_FOR"`
	Timeout        time.Duration `env:"ESIGN_TIMEOUT"`
	MaxConns       int           `env:"ESIGN_MAX_CONNS"`
	Limits         Limits        `envPrefix:"ESIGN_"`
}

// DefaultEsign are the defaults: signed requests, as the vendor recommends.
func DefaultEsign() Esign {
	return Esign{
		Mode: string(esign.ModeSignature), DefaultAccount: "default", ContentType: esign.DefaultContentType,
		ShareFor: time.Second, Timeout: 4 * time.Second, MaxConns: 32, Limits: DefaultLimits(),
	}
}

// Config returns the adapter's configuration. Its error names every problem.
func (e Esign) Config() (esign.Config, error) {
	accounts := map[string]esign.Account{}
	files := ReadJSON("ESIGN_ACCOUNTS_FILE", e.AccountsFile, &accounts)
	c := esign.Config{
		URL: e.URL, Mode: esign.Mode(e.Mode), Accounts: accounts, DefaultAccount: e.DefaultAccount,
		ContentType: e.ContentType, ShowAccountNumbers: e.ShowAccounts, ShareFor: e.ShareFor,
		HTTP: wire.Config{Timeout: e.Timeout, MaxConns: e.MaxConns, MaxIdle: e.MaxConns},
	}
	problems := Rename(c.Validate(), "ESIGN", append(httpNames("ESIGN"),
		[2]string{"mode", "ESIGN_AUTH"}, [2]string{"content type", "ESIGN_CONTENT_TYPE"},
		[2]string{"sharing time", "ESIGN_SHARE_FOR"})...)
	if files != nil {
		problems = without(problems, "ESIGN_ACCOUNTS_FILE: accounts:")
	}
	return c, errors.Join(files, problems, e.Limits.Check("ESIGN_"))
}

// httpNames are the settings behind the words with which adapters name the parts that all of them have.
func httpNames(prefix string) [][2]string {
	return [][2]string{
		{"URL", prefix + "_URL"}, {"default account", prefix + "_DEFAULT_ACCOUNT"}, {"account", prefix + "_ACCOUNTS_FILE"},
		{"HTTP timeout", prefix + "_TIMEOUT"}, {"HTTP connections", prefix + "_MAX_CONNS"},
		{"HTTP idle connections", prefix + "_MAX_CONNS"},
	}
}
