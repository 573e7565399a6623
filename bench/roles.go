package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/bench/gateway"
	"paydispatch/bench/load"
	"paydispatch/bench/report"
	"paydispatch/bench/rival"
)

// role is a party that runs in a process of its own. It ends when ctx does, or when its standard input is closed
// because the bench is gone.
type role func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error

// roles are the parties that this program can be; a server prints its address first.
func roles() map[string]role {
	return map[string]role{
		"broker": broker, "redis": miniRedis, "vendor": vendor,
		report.Loop: contender(rival.Loop), report.Pool: contender(rival.Pool),
	}
}

// orphaned returns a context that also ends when standard input does.
func orphaned(ctx context.Context, stdin io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	return ctx, cancel
}

// requestName names a request for the count, "" for one that is not counted: those that carry messages count only when
// they are the systems'. The bench's own client names topics by their ids, kafka-go by their names.
func requestName(req kmsg.Request) string {
	named := true
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		named = len(r.Topics) > 0 && r.Topics[0].Topic != "" && r.Topics[0].Topic != load.Commands
	case *kmsg.FetchRequest:
		named = len(r.Topics) > 0 && r.Topics[0].Topic != "" && r.Topics[0].Topic != load.Results
	}
	if !named {
		return ""
	}
	return kmsg.NameForKey(req.Key())
}

// broker is the embedded Kafka. It prints its address and, behind a space, where it tells how often each of Kafka's
// requests was made.
func broker(ctx context.Context, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	ctx, cancel := orphaned(ctx, stdin)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	defer cluster.Close()
	var mu sync.Mutex
	counts := map[string]int{}
	cluster.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if name := requestName(req); name != "" {
			counts[name]++
		}
		return nil, nil, false
	})
	stats := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(counts)
	})
	return serve(ctx, stats, func(address string) {
		fmt.Fprintln(stdout, strings.Join(cluster.ListenAddrs(), ","), address)
	})
}

// miniRedis stands in where redis-server is not installed. Its clock has to be driven for records to expire.
func miniRedis(ctx context.Context, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	ctx, cancel := orphaned(ctx, stdin)
	defer cancel()
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Close()
	fmt.Fprintln(stdout, server.Addr())
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			server.FastForward(time.Second)
		}
	}
}

func vendor(ctx context.Context, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	ctx, cancel := orphaned(ctx, stdin)
	defer cancel()
	double, err := gateway.New()
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "http://"+listener.Addr().String())
	return double.Serve(ctx, listener)
}

// serve serves on a free port of 127.0.0.1 until ctx ends; announce is told the address.
func serve(ctx context.Context, h http.Handler, announce func(address string)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	announce(listener.Addr().String())
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// contender makes a rival a role.
func contender(work func(context.Context, rival.Config, io.Writer) error) role {
	return func(ctx context.Context, args []string, stdin io.Reader, _, stderr io.Writer) error {
		var c rival.Config
		flags := flag.NewFlagSet("rival", flag.ContinueOnError)
		flags.SetOutput(stderr)
		brokers := flags.String("brokers", "", "")
		flags.StringVar(&c.Group, "group", "", "")
		flags.StringVar(&c.Redis, "redis", "", "")
		flags.StringVar(&c.URL, "url", "", "")
		flags.IntVar(&c.Partitions, "partitions", 0, "")
		flags.IntVar(&c.Workers, "workers", 0, "")
		if err := flags.Parse(args); err != nil {
			return err
		}
		c.Brokers = strings.Split(*brokers, ",")
		ctx, cancel := orphaned(ctx, stdin)
		defer cancel()
		return work(ctx, c, stderr)
	}
}
