package settings

import (
	"errors"
	"time"

	"paydispatch/internal/vendors/wire"
	"paydispatch/internal/vendors/withhold"
)

// Gateway is how to reach the withhold gateway; what seed 001 leaves open about it is set here.
type Gateway struct {
	URL            string        `env:"WITHHOLD_URL"`
	AccountsFile   string        `env:"WITHHOLD_ACCOUNTS_FILE"`
	DefaultAccount string        `env:"WITHHOLD_DEFAULT_ACCOUNT"`
	CipherMode     string        `env:"WITHHOLD_CIPHER_MODE"`
	CipherKeyBits  int           `env:"WITHHOLD_CIPHER_KEY_BITS"`
	CipherKeyForm  string        `env:"WITHHOLD_CIPHER_KEY_FORM"`
	CipherPadding  string        `env:"WITHHOLD_CIPHER_PADDING"`
	CipherIV       string        `env:"WITHHOLD_CIPHER_IV"`
	CipherEncoding string        `env:"WITHHOLD_CIPHER_ENCODING"`
	CipherOrder    string        `env:"WITHHOLD_CIPHER_ORDER"`
	MissingWords   []string      `env:"WITHHOLD_MISSING_WORDS" envSeparator:";"`
	MaxAmount      string        `env:"WITHHOLD_MAX_AMOUNT"`
	Timeout        time.Duration `env:"WITHHOLD_TIMEOUT"`
	MaxConns       int           `env:"WITHHOLD_MAX_CONNS"`
	Limits         Limits        `envPrefix:"WITHHOLD_"`
}

// DefaultGateway are the defaults: AES-128-ECB, PKCS7, Base64, the most common form of such gateways.
func DefaultGateway() Gateway {
	return Gateway{
		DefaultAccount: "default", CipherMode: "ecb", CipherKeyBits: 128, CipherKeyForm: "raw", CipherPadding: "pkcs7",
		CipherEncoding: "base64", CipherOrder: "plain", MaxAmount: "50000.00", Timeout: 5 * time.Second, MaxConns: 128, Limits: DefaultLimits(),
	}
}

// Config returns the adapter's configuration; notify gives the callback address of an order. Its error names every
// problem, also those that the adapter has with it.
func (g Gateway) Config(notify func(order string) string) (withhold.Config, error) {
	accounts := map[string]withhold.Account{}
	files := ReadJSON("WITHHOLD_ACCOUNTS_FILE", g.AccountsFile, &accounts)
	c := withhold.Config{
		URL: g.URL, Accounts: accounts, DefaultAccount: g.DefaultAccount,
		Cipher: withhold.CipherConfig{
			Mode: g.CipherMode, KeyBits: g.CipherKeyBits, KeyForm: g.CipherKeyForm, Padding: g.CipherPadding,
			IV: g.CipherIV, Encoding: g.CipherEncoding, Order: g.CipherOrder,
		},
		MissingWords: g.MissingWords, MaxAmount: g.MaxAmount, NotifyURL: notify,
		HTTP: wire.Config{Timeout: g.Timeout, MaxConns: g.MaxConns, MaxIdle: g.MaxConns},
	}
	problems := Rename(c.Validate(), "WITHHOLD", [][2]string{
		{"URL", "WITHHOLD_URL"}, {"default account", "WITHHOLD_DEFAULT_ACCOUNT"}, {"account", "WITHHOLD_ACCOUNTS_FILE"},
		{"cipher mode", "WITHHOLD_CIPHER_MODE"}, {"cipher key bits", "WITHHOLD_CIPHER_KEY_BITS"},
		{"cipher key form", "WITHHOLD_CIPHER_KEY_FORM"}, {"cipher padding", "WITHHOLD_CIPHER_PADDING"},
		{"cipher IV", "WITHHOLD_CIPHER_IV"}, {"cipher encoding", "WITHHOLD_CIPHER_ENCODING"},
		{"cipher order", "WITHHOLD_CIPHER_ORDER"}, {"largest amount", "WITHHOLD_MAX_AMOUNT"},
		{"HTTP timeout", "WITHHOLD_TIMEOUT"}, {"HTTP connections", "WITHHOLD_MAX_CONNS"},
		{"HTTP idle connections", "WITHHOLD_MAX_CONNS"}, {"missing wording", "WITHHOLD_MISSING_WORDS"},
	}...)
	if files != nil {
		problems = without(problems, "WITHHOLD_ACCOUNTS_FILE: accounts:") // that there are none follows from it
	}
	return c, errors.Join(files, problems, g.Limits.Check("WITHHOLD_"))
}
