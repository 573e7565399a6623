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
	"hash/fnv"
	"strconv"
	"sync"
	"time"

	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/epoch"
)

const defaultBuckets = 256

// Server is the data that all views share. Create it with [NewServer].
type Server struct {
	mu      sync.Mutex
	epochs  []epoch.Epoch
	records map[string]entry
	created uint64
}

type entry struct {
	version uint64
	value   []byte
	// expires is zero for a record without a lifetime.
	expires time.Time
}

// NewServer returns an empty server of so many buckets; 0 or less means 256.
func NewServer(buckets int) *Server {
	if buckets <= 0 {
		buckets = defaultBuckets
	}
	return &Server{epochs: make([]epoch.Epoch, buckets), records: map[string]entry{}}
}

// Forget loses everything, records and epochs, as FLUSHALL does.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.epochs)
	clear(s.records)
}

// Drop loses one record; its bucket's epoch stays, as in a store that went back in time.
func (s *Server) Drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, key)
}

// Len returns how many records stand, the expired ones that nobody met since included.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// newID needs s.mu. Ids are counted, not rolled, so that a simulation can be repeated.
func (s *Server) newID() string {
	s.created++
	return strconv.FormatUint(s.created, 10)
}

// at needs s.mu.
func (s *Server) at(key string, now time.Time) entry {
	found := s.records[key]
	if !found.expires.IsZero() && !now.Before(found.expires) {
		delete(s.records, key)
		return entry{}
	}
	return found
}

// Config is one process' view of a [Server].
type Config struct {
	// Lifetime of a record after its last write; 0 means for ever.
	Lifetime time.Duration
	// AskWindow is how long a bucket's loss of memory is told; 0 means Lifetime, after which no lost record would
	// stand any more.
	AskWindow time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Store is one process' view: the shared records and the epochs that it remembers.
type Store struct {
	server *Server
	config Config
	// known holds by bucket what this view remembers; guarded by server.mu.
	known []epoch.Epoch
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
	return &Store{server: server, config: config, known: make([]epoch.Epoch, len(server.epochs))}
}

// Prepare learns every bucket's epoch and creates those that are missing: as fresh, or as lost now if commands may have
// been seen before. It must be called before the first send.
func (s *Store) Prepare(ctx context.Context, seenBefore bool) error {
	if err := available(ctx); err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	now := s.config.Now()
	for bucket := range s.known {
		if s.server.epochs[bucket].IsZero() {
			s.server.epochs[bucket] = epoch.Create(s.server.newID(), !seenBefore, now)
		}
		s.believe(bucket, now)
	}
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
	return s.record(key, s.server.at(key, now), s.believe(s.bucket(key), now), now), nil
}

// Swap implements [idempotency.Store]. Its errors are a *Conflict, or [idempotency.ErrUnavailable] when ctx is over.
func (s *Store) Swap(ctx context.Context, was idempotency.Record, value []byte) (idempotency.Record, error) {
	if err := available(ctx); err != nil {
		return idempotency.Record{}, err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	now := s.config.Now()
	current := s.server.at(was.Key, now)
	standing := s.record(was.Key, current, s.believe(s.bucket(was.Key), now), now)
	if !sameMemory(was, standing) || standing.Version != was.Version {
		return idempotency.Record{}, &idempotency.Conflict{Standing: standing}
	}
	next := entry{version: was.Version + 1, value: copied(value)}
	if s.config.Lifetime > 0 {
		next.expires = now.Add(s.config.Lifetime)
	}
	s.server.records[was.Key] = next
	standing.Version, standing.Value = next.version, copied(value)
	return standing, nil
}

// sameMemory: a record expected before anything was known of the bucket has no epoch. It may stand on any memory but
// one that forgot, which its holder has to hear of.
func sameMemory(was, standing idempotency.Record) bool {
	if was.Epoch == "" {
		return standing.Forgot.IsZero()
	}
	return was.Epoch == standing.Epoch
}

// believe brings the memory of this view in line with the bucket's epoch, and returns it. It needs server.mu.
func (s *Store) believe(bucket int, now time.Time) epoch.Epoch {
	for {
		found := s.server.epochs[bucket]
		replace, accept := epoch.Judge(s.known[bucket], found, s.server.newID, now, s.config.AskWindow)
		if accept {
			s.known[bucket] = found
			return found
		}
		s.server.epochs[bucket] = replace
	}
}

func (s *Store) record(key string, e entry, in epoch.Epoch, now time.Time) idempotency.Record {
	r := idempotency.Record{Key: key, Version: e.version, Epoch: in.String(), Forgot: in.Forgot(now, s.config.AskWindow)}
	if e.version > 0 {
		r.Value = copied(e.value)
	}
	return r
}

func (s *Store) bucket(key string) int {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(key)) // never fails
	return int(hash.Sum64() % uint64(len(s.known)))
}

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
