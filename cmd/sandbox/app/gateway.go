package app

import (
	"slices"
	"sync"
	"time"

	double "paydispatch/internal/vendors/sim/withhold"
)

// notFound is the double's wording of "no such order", and what the dispatcher is told about it.
const notFound = "订单不存在"

// gateway is the withhold double, and which order meets which fate.
type gateway struct {
	*double.Gateway
	server *double.Server

	mu   sync.Mutex
	fate map[string]func(attempt int) double.Plan
}

func startGateway(ua, key string) (*gateway, error) {
	g := &gateway{fate: map[string]func(int) double.Plan{}}
	g.Gateway = double.New(double.Config{
		Accounts: map[string]string{ua: key}, NotFound: notFound, Script: g.script, Latency: 20 * time.Millisecond,
	})
	server, err := double.Listen(g.Gateway, "")
	if err != nil {
		return nil, err
	}
	g.server = server
	return g, nil
}

// script is the fate of a submission; orders of no row succeed.
func (g *gateway) script(order string, attempt int) double.Plan {
	g.mu.Lock()
	fate := g.fate[order]
	g.mu.Unlock()
	if fate == nil {
		return double.Plan{}
	}
	return fate(attempt)
}

// follow makes the orders of the rows meet their fates.
func (g *gateway) follow(rows []row) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range rows {
		for _, key := range r.keys() {
			g.fate[key] = r.fate
		}
	}
}

// moves returns the amounts that moved for orders, from the ledger.
func (g *gateway) moves(orders ...string) []string {
	var moved []string
	for _, e := range g.Ledger() {
		if slices.Contains(orders, e.Order) && e.Status == "success" {
			moved = append(moved, e.Amount)
		}
	}
	return moved
}
