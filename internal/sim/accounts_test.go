package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	double "paydispatch/internal/vendors/sim/withhold"
	"paydispatch/internal/vendors/withhold"
)

// Two accounts at the gateway. Each may have an order of one number, and what the one says of it settles nothing of the
// other's.

const (
	home = "main" // the default
	west = "west"
)

// uas and keys of the accounts.
func accounts() map[string]withhold.Account {
	return map[string]withhold.Account{home: {UA: ua, Key: aesKey}, west: {UA: "ua_west", Key: "fedcba9876543210"}}
}

// uaOf is that of the account that a command's word stands for.
func uaOf(word string) string {
	if word == "" {
		word = home
	}
	return accounts()[word].UA
}

// other is the account that a word does not stand for.
func other(word string) string {
	if word == west {
		return home
	}
	return west
}

// foreignOrder is one that another client of the gateway submitted, in another account than ours of that number.
type foreignOrder struct {
	no, ua string
	at     time.Duration
	plan   double.Plan
}

// abroad draws whose an order is, and whether the other account has one of that number, which ends otherwise.
func (s *scenario) abroad(rng *rand.Rand, o *order) {
	if !s.accounts {
		return
	}
	if rng.IntN(3) == 0 {
		o.account = west
	}
	if rng.IntN(3) > 0 {
		plan := double.Plan{Final: "fail"}
		if o.plan.Final == "fail" {
			plan.Final = "success"
		}
		entered := at(rng)
		if rng.IntN(2) == 0 {
			entered = 0
		}
		s.foreign = append(s.foreign, foreignOrder{o.no, uaOf(other(o.account)), entered, plan})
	}
}

// asked is the account that a question about an order names: its own, by word or by silence, or the other one.
func (s *scenario) asked(rng *rand.Rand, orderNo string) string {
	o := s.orders[orderNo]
	if !s.accounts || o == nil {
		return ""
	}
	if rng.IntN(2) == 0 {
		return other(o.account)
	}
	if o.account == "" && rng.IntN(2) == 0 {
		return home
	}
	return o.account
}

// ours is the ua in whose account our order of a number is.
func (s *scenario) ours(orderNo string) string {
	if o := s.orders[orderNo]; o != nil {
		return uaOf(o.account)
	}
	return ua
}

// ledger is what the gateway has of our order of a number.
func (w *watch) ledger(orderNo string) double.Summary {
	return w.gateway.OrderOf(w.scenario.ours(orderNo), orderNo)
}

// foreigners checks that nothing of ours went to another account than it named.
func (w *watch) foreigners(e double.Entry, count int) {
	entered := 0
	for _, f := range w.scenario.foreign {
		if f.no == e.Order && f.ua == e.UA {
			entered++
		}
	}
	if count > entered {
		w.broken("1: order %s was submitted to the account of %s, which it does not name", e.Order, e.UA)
	}
}

// abroad puts the other clients' orders on the agenda.
func (w *world) abroad() {
	for _, f := range w.scenario.foreign {
		w.later(f.at, fmt.Sprintf("order %s of %s is submitted elsewhere", f.no, f.ua), func() {
			w.gateway.Enter(f.ua, f.no, "1.00", "101", f.plan)
		})
	}
}
