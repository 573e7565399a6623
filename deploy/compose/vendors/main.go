// Command vendors serves the doubles of the vendors for a development set-up: strict about what they are sent, each with
// a ledger in memory, every answer a good one. It is a module of its own, since only deploy/compose runs it.
//
// Settings, for each of WITHHOLD, ESIGN and DAXPAY: …_ADDR to listen on, and …_ACCOUNTS_FILE, the same file that the
// dispatcher reads.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"paydispatch/internal/vendors/sim/daxpay"
	"paydispatch/internal/vendors/sim/esign"
	"paydispatch/internal/vendors/sim/withhold"
)

const latency = 50 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves the doubles until ctx ends.
func run(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	withholds, err := accounts(getenv, "WITHHOLD")
	if err != nil {
		return err
	}
	keys := map[string]string{}
	for _, a := range withholds {
		keys[a.UA] = a.Key
	}
	gateway, err := withhold.Listen(withhold.New(withhold.Config{Accounts: keys, Latency: latency}), getenv("WITHHOLD_ADDR"))
	if err != nil {
		return err
	}
	defer gateway.Close()

	esigns, err := accounts(getenv, "ESIGN")
	if err != nil {
		return err
	}
	apps := map[string]string{}
	for _, a := range esigns {
		apps[a.AppID] = a.Secret
	}
	identity, err := esign.Listen(esign.New(esign.Config{Apps: apps, Latency: latency}), getenv("ESIGN_ADDR"))
	if err != nil {
		return err
	}
	defer identity.Close()

	daxpays, err := accounts(getenv, "DAXPAY")
	if err != nil {
		return err
	}
	// An installation has one secret.
	receivers, err := daxpay.Listen(daxpay.New(daxpay.Config{Secret: daxpays["default"].Secret, Latency: latency}), getenv("DAXPAY_ADDR"))
	if err != nil {
		return err
	}
	defer receivers.Close()

	fmt.Fprintln(stderr, "withhold gateway:", gateway.URL, " esign:", identity.URL, " DaxPay:", receivers.URL)
	<-ctx.Done()
	return nil
}

// account has the fields of any vendor's account.
type account struct{ UA, Key, AppID, Secret string }

func accounts(getenv func(string) string, vendor string) (map[string]account, error) {
	name := vendor + "_ACCOUNTS_FILE"
	raw, err := os.ReadFile(getenv(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var all map[string]account
	if json.Unmarshal(raw, &all) != nil {
		return nil, fmt.Errorf("%s: does not hold accounts", name)
	}
	return all, nil
}
