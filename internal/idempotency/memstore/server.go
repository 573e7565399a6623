package memstore

import (
	"hash/fnv"
	"maps"
	"strconv"
	"sync"
	"time"

	"paydispatch/internal/idempotency/epoch"
)

const defaultBuckets = 256

// Server is the data that all views share, with a clock of its own. Create it with [NewServer]. What can befall a real
// one are its methods.
type Server struct {
	mu      sync.Mutex
	epochs  []life
	records map[string]entry
	created uint64
	read    func() time.Time
	ahead   time.Duration // of read
	alone   bool          // without the replicas that are asked for
	evicted int           // keys, ever
	noted   int           // of them, those whose loss was marked
}

// life is an epoch and its end.
type life struct {
	epoch   epoch.Epoch
	expires time.Time
}

type entry struct {
	version uint64
	value   []byte
	// expires is zero for a record without a lifetime.
	expires time.Time
}

// NewServer returns an empty server with this number of buckets; 0 or less means 256. Its clock is time.Now.
func NewServer(buckets int) *Server {
	if buckets <= 0 {
		buckets = defaultBuckets
	}
	return &Server{epochs: make([]life, buckets), records: map[string]entry{}, read: time.Now}
}

// SetClock replaces the server's clock; views have their own.
func (s *Server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = now
}

// Jump moves the server's clock: what lives no longer by it expires.
func (s *Server) Jump(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += by
}

// Forget loses everything, records and epochs, as FLUSHALL does.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.epochs)
	clear(s.records)
}

// Lose loses single records behind the back of every view, and leaves their epochs.
func (s *Server) Lose(which func(key string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose(which)
}

// Evict is Lose by a server that makes room: it counts what it drops.
func (s *Server) Evict(which func(key string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicted += s.lose(which)
}

// Replicas says whether the replicas that writes wait for are in reach. Without them a write lands, and its writer hears
// that the store is unavailable.
func (s *Server) Replicas(reached bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone = !reached
}

// Snapshot is what a server held at one moment.
type Snapshot struct{ records map[string]entry }

// Snapshot returns what the server holds now.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{maps.Clone(s.records)}
}

// Rewind takes records back to a snapshot: those that which picks by key and bucket, nil for all, as a failover to a
// replica that lagged does. A picked record that the snapshot does not have is gone. Epochs stay.
func (s *Server) Rewind(to Snapshot, which func(key string, bucket int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	picked := func(key string) bool { return which == nil || which(key, s.bucket(key)) }
	s.lose(picked)
	for key, e := range to.records {
		if picked(key) {
			s.records[key] = e
		}
	}
}

// Len returns the number of records, including expired ones that were not read since.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// What follows needs s.mu.

func (s *Server) now() time.Time { return s.read().Add(s.ahead) }

// newID counts, and does not roll, so that a simulation can be repeated.
func (s *Server) newID() string {
	s.created++
	return strconv.FormatUint(s.created, 10)
}

func (s *Server) lose(which func(key string) bool) (lost int) {
	before := len(s.records)
	maps.DeleteFunc(s.records, func(key string, _ entry) bool { return which(key) })
	return before - len(s.records)
}

func (s *Server) at(key string) entry {
	found := s.records[key]
	if s.over(found.expires) {
		delete(s.records, key)
		return entry{}
	}
	return found
}

func (s *Server) epoch(bucket int) epoch.Epoch {
	if s.over(s.epochs[bucket].expires) {
		s.epochs[bucket] = life{}
	}
	return s.epochs[bucket].epoch
}

func (s *Server) setEpoch(bucket int, e epoch.Epoch, lifetime time.Duration) {
	s.epochs[bucket] = life{e, s.expiry(lifetime)}
}

// renew is what a write into a bucket does to its epoch, only once it has lost a sixteenth of its lifetime: as in
// redisstore, where that saves a write.
func (s *Server) renew(bucket int, lifetime time.Duration) {
	if s.epochs[bucket].expires.Before(s.expiry(lifetime - lifetime/16)) {
		s.epochs[bucket].expires = s.expiry(lifetime)
	}
}

func (s *Server) over(expires time.Time) bool { return !expires.IsZero() && !s.now().Before(expires) }

// expiry is zero without a lifetime.
func (s *Server) expiry(lifetime time.Duration) time.Time {
	if lifetime <= 0 {
		return time.Time{}
	}
	return s.now().Add(lifetime)
}

// bucket must be the same for all views.
func (s *Server) bucket(key string) int {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(key)) // never fails
	return int(hash.Sum64() % uint64(len(s.epochs)))
}
