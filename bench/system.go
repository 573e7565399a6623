package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"paydispatch/bench/gateway"
	"paydispatch/bench/load"
	"paydispatch/bench/process"
	"paydispatch/bench/report"
)

// startSystem starts one process of a system.
func (w *world) startSystem(ctx context.Context, system, group string, s scenario) (*process.Process, error) {
	log, err := w.log(group)
	if err != nil {
		return nil, err
	}
	c := process.Config{Name: system, Log: log}
	if system == report.Dispatcher {
		admin, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		c.Path, c.Env = w.dispatcher, w.settings(group, admin, s)
		fmt.Fprintf(log, "bench: admin port %s\n", admin)
	} else {
		c.Path, c.Args = w.self, []string{
			system, "-brokers", strings.Join(w.brokers, ","), "-group", group, "-redis", w.redis.address,
			"-url", w.vendor.URL, "-partitions", strconv.Itoa(s.partitions), "-workers", strconv.Itoa(s.inFlight),
		}
	}
	return process.Start(c)
}

// settings are the dispatcher's, all at their defaults but where the parties are, how much is in flight, and what the
// command line says. In flight are the calls at the vendor, of which no system makes more at once; beside them the
// dispatcher works on as many commands that are on their way there or back (MAX_IN_FLIGHT). A partition may have half as
// much again as its even share of both, since keys do not spread evenly.
func (w *world) settings(group, admin string, s scenario) []string {
	work := 2 * s.inFlight
	lane := min(max(work*3/2/s.partitions, 1), work)
	limits := []string{
		"MAX_IN_FLIGHT=" + strconv.Itoa(work), "IN_FLIGHT=" + strconv.Itoa(lane),
		"WITHHOLD_MAX_IN_FLIGHT=" + strconv.Itoa(s.inFlight), "WITHHOLD_MAX_CONNS=" + strconv.Itoa(s.inFlight),
	}
	if s.shipped {
		limits = nil
	}
	return slices.Concat([]string{
		"KAFKA_BROKERS=" + strings.Join(w.brokers, ","), "KAFKA_GROUP=" + group, "REDIS_ADDRS=" + w.redis.address, "REDIS_ACCEPT=identity",
		"TOPICS=" + load.Commands, "ADMIN_ADDR=" + admin, "LOG_LEVEL=" + w.logLevel,
		"WITHHOLD_URL=" + w.vendor.URL + "/gateway", "WITHHOLD_MISSING_WORDS=" + gateway.Missing,
		"WITHHOLD_ACCOUNTS_FILE=" + filepath.Join(w.dir, "accounts"),
		"FINGERPRINT_KEYS_FILE=" + filepath.Join(w.dir, "fingerprints"),
	}, limits, w.set)
}
