// Package memstore is the record store's twin in memory, for tests, the simulation and the sandbox.
//
// A [Server] is the shared data, as the Redis servers are for redisstore; a [Store] is one process' view of it with the
// epochs that this process remembers. A restarted process is a new Store over the same Server.
//
// It starts no goroutine, never sleeps and never blocks but on a mutex, so it may run inside a synctest bubble. It
// refuses to fail on its own: faults are put around it by whoever simulates them. Every operation is atomic.
package memstore

import (
	"context"
	"fmt"
	"time"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/clock"
	"paydispatch/internal/idempotency/epoch"
)

// jumpOf is by how much the server's clock must move against a view's to count as a jump; as in redisstore.
const jumpOf = time.Minute

// Config is one process' view of a [Server].
type Config struct {
	// Lifetime of a record after its last write, and of an epoch; 0 means for ever.
	Lifetime time.Duration
	// AskWindow is how long a bucket's loss of memory is told; 0 means Lifetime, after which no lost record would
	// stand any more.
	AskWindow time.Duration
	// Tolerance is how far the view's clock and the server's may be apart, see [Store.Fit]; 0 turns that off.
	Tolerance time.Duration
	// Now is the view's clock; nil means time.Now.
	Now func() time.Time
}

// memory is the two epochs of a bucket: of is that of what it remembers, on that of the data that it lives on.
type memory struct{ of, on epoch.Epoch }

// Store is one process' view: the shared records and the epochs that it remembers.
type Store struct {
	server *Server
	config Config
	// known holds by bucket what this view remembers; guarded by server.mu.
	known []memory
	// wrote is when this view wrote last, by bucket.
	wrote []time.Time
	read  func() clock.Reading
	// last is the last reading of the server's clock, short whether a write was not acknowledged and no probe was since;
	// guarded by server.mu.
	last  clock.Measurement
	short bool
}

var _ idempotency.Store = (*Store)(nil)

// New returns a view that remembers nothing yet.
func New(server *Server, config Config) *Store {
	if config.AskWindow <= 0 {
		config.AskWindow = config.Lifetime
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Store{
		server: server, config: config, known: make([]memory, len(server.epochs)),
		wrote: make([]time.Time, len(server.epochs)), read: clock.From(config.Now),
	}
}

// Prepare learns every bucket's epoch and creates those that are missing: as fresh, or as lost now if commands may have
// been seen before. Then it looks at the server for the first time, as [Store.Look] does. It must be called before the
// first send.
func (s *Store) Prepare(ctx context.Context, seenBefore bool) error {
	if err := available(ctx); err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	now := s.config.Now()
	for bucket := range s.known {
		if s.server.epoch(bucket).IsZero() {
			s.server.setEpoch(bucket, epoch.Create(s.server.newID(), !seenBefore, now), s.config.Lifetime)
			s.server.sees(bucket, !seenBefore, s.config.Lifetime)
		}
		s.server.sees(bucket, false, s.config.Lifetime)
		s.believe(bucket, now)
	}
	s.measure(now)
	return nil
}

// Expect implements [idempotency.Store].
func (s *Store) Expect(key string) idempotency.Record {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.record(key, entry{}, s.known[s.bucket(key)], s.config.Now())
}

// Load implements [idempotency.Store]. Its only error is [idempotency.ErrUnavailable], when ctx is over.
func (s *Store) Load(ctx context.Context, key string) (idempotency.Record, error) {
	if err := available(ctx); err != nil {
		return idempotency.Record{}, err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	now := s.config.Now()
	return s.record(key, s.server.at(key), s.believe(s.bucket(key), now), now), nil
}

// Swap implements [idempotency.Store]. Its errors are a *Conflict, or [idempotency.ErrUnavailable] when ctx is over.
func (s *Store) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	if err := available(ctx); err != nil {
		return idempotency.Record{}, err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	now, bucket := s.config.Now(), s.bucket(was.Key)
	current, in := s.server.at(was.Key), s.believe(bucket, now)
	standing := s.record(was.Key, current, in, now)
	fits := sameMemory(was, standing) && standing.Version == was.Version && standing.Token == was.Token
	if fits && was.Intent {
		s.server.sees(bucket, false, s.config.Lifetime)
		in = s.believe(bucket, now)
		standing = s.record(was.Key, current, in, now)
		fits = sameMemory(was, standing)
	}
	if !fits {
		return idempotency.Record{}, &idempotency.Conflict{Standing: standing}
	}
	next := entry{
		version: was.Version + 1, token: s.server.newID(), value: copied(value), under: in.on, expires: s.server.expiry(s.config.Lifetime),
	}
	s.server.records[was.Key], s.wrote[bucket] = next, now
	s.server.renew(bucket, s.config.Lifetime)
	if s.server.alone {
		s.short = true
		return idempotency.Record{}, fmt.Errorf("%w: too few replicas have the write", idempotency.ErrUnavailable)
	}
	standing.Version, standing.Token, standing.Value, standing.Back = next.version, next.token, copied(value), time.Time{}
	return standing, nil
}

// sameMemory: a record expected before anything was known of the bucket has no epoch. It may stand on any memory but
// one that forgot or went back, which its holder has to hear of.
func sameMemory(was, standing idempotency.Record) bool {
	if was.Epoch == "" {
		return standing.Lost().IsZero()
	}
	return was.Epoch == standing.Epoch
}

// believe brings the memory of this view in line with the bucket's epochs, and returns it. It needs server.mu.
func (s *Store) believe(bucket int, now time.Time) memory {
	for {
		found, known := memory{s.server.epoch(bucket), s.server.on(bucket)}, s.known[bucket]
		replace, same := epoch.Judge(known.of, found.of, s.server.newID, now, s.config.AskWindow)
		if !same {
			s.server.setEpoch(bucket, replace, s.config.Lifetime)
		}
		on, followed := epoch.Follow(known.on, found.on, s.wrote[bucket], now)
		switch {
		case same && followed:
			s.known[bucket] = found
			return found
		case s.server.sees(bucket, false, s.config.Lifetime):
		case !followed:
			s.server.data[bucket] = life{on, s.server.expiry(s.config.Lifetime)}
		}
	}
}

func (s *Store) record(key string, e entry, in memory, now time.Time) idempotency.Record {
	r := idempotency.Record{Key: key, Version: e.version, Token: e.token, Forgot: in.of.Forgot(now, s.config.AskWindow)}
	if in != (memory{}) {
		r.Epoch = in.of.String() + " " + in.on.String()
	}
	if e.version > 0 {
		r.Value = copied(e.value)
	}
	if e.version == 0 || e.under != in.on {
		r.Back = in.on.Forgot(now, s.config.AskWindow)
	}
	return r
}

func (s *Store) bucket(key string) int { return s.server.bucket(key) }

// copied never returns nil: an empty value is not an absent one.
func copied(value []byte) []byte {
	return append(make([]byte, 0, len(value)), value...)
}

func available(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		// Not wrapped: a caller must not take it for the end of anything but this call.
		return fmt.Errorf("%w: %s", idempotency.ErrUnavailable, err.Error())
	}
	return nil
}
