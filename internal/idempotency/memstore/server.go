package memstore

import (
	"hash/fnv"
	"maps"
	"slices"
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
	epochs  []life // by bucket: of its memory
	data    []life // by bucket: of the data that it lives on
	starts  uint64 // of the server: the identity of its data
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
	token   string
	value   []byte
	// under is the epoch of the data that it was written under.
	under epoch.Epoch
	// expires is zero for a record without a lifetime.
	expires time.Time
}

// NewServer returns an empty server with this number of buckets; 0 or less means 256. Its clock is time.Now.
func NewServer(buckets int) *Server {
	if buckets <= 0 {
		buckets = defaultBuckets
	}
	return &Server{
		epochs: make([]life, buckets), data: make([]life, buckets), starts: 1, records: map[string]entry{}, read: time.Now,
	}
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
	clear(s.data)
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
type Snapshot struct {
	records      map[string]entry
	epochs, data []life
}

// Keys are those of its records.
func (s Snapshot) Keys() []string { return slices.Sorted(maps.Keys(s.records)) }

// Snapshot returns what the server holds now.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{maps.Clone(s.records), slices.Clone(s.epochs), slices.Clone(s.data)}
}

// Restart starts the server again from a snapshot of its own, or promotes the replica that has it: all is as it was then,
// and the data have another identity.
func (s *Server) Restart(from Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.epochs, s.data = maps.Clone(from.records), slices.Clone(from.epochs), slices.Clone(from.data)
	s.starts++
}

// Rewind takes records back to a snapshot: those that which picks by key and bucket, nil for all. A picked record that the
// snapshot does not have is gone. Epochs and identity stay, so that nothing tells; no server is known to do so, but whoever
// has an order in hand must not depend on being told.
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

// sees notes at a bucket the identity that its data have now, and when that was, and reports whether another one was
// noted. fresh says that nothing can have stood there.
func (s *Server) sees(bucket int, fresh bool, lifetime time.Duration) bool {
	now, noted := epoch.Epoch{ID: strconv.FormatUint(s.starts, 10)}, s.on(bucket)
	if noted.ID == now.ID {
		return false
	}
	if !fresh || !noted.IsZero() {
		now.Lost = s.now().UnixMilli()
	}
	s.data[bucket] = life{now, s.expiry(lifetime)}
	return true
}

// on is the epoch of the data that a bucket is known to live on.
func (s *Server) on(bucket int) epoch.Epoch {
	if s.over(s.data[bucket].expires) {
		s.data[bucket] = life{}
	}
	return s.data[bucket].epoch
}

func (s *Server) setEpoch(bucket int, e epoch.Epoch, lifetime time.Duration) {
	s.epochs[bucket] = life{e, s.expiry(lifetime)}
}

// renew is what a write into a bucket does to its epoch, only once it has lost a sixteenth of its lifetime: as in
// redisstore, where that saves a write.
func (s *Server) renew(bucket int, lifetime time.Duration) {
	if s.epochs[bucket].expires.Before(s.expiry(lifetime - lifetime/16)) {
		s.epochs[bucket].expires, s.data[bucket].expires = s.expiry(lifetime), s.expiry(lifetime)
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
