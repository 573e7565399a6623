package redisstore

import (
	"strconv"
	"strings"

	"paydispatch/internal/idempotency/epoch"
)

// memory is the two epochs of a bucket: of is that of what it remembers, on that of the server's data that it lives on.
type memory struct{ of, on epoch.Epoch }

// String is the form that callers hold, "" while nothing is known.
func (m memory) String() string {
	if m.of.IsZero() || m.on.IsZero() {
		return ""
	}
	return m.of.String() + " " + m.on.String()
}

// noted is the two epochs of a bucket as they stand in Redis, each "" where none stands.
type noted struct{ of, on string }

func (n noted) is(m memory) bool { return n.of == m.of.String() && n.on == m.on.String() }

// parse reads what stands. The id of a bucket's epoch tells the number of buckets that it was laid out for.
func (s *Store) parse(found noted) (stands memory, err error) {
	if found.of != "" {
		if stands.of, err = epoch.Parse(found.of); err != nil {
			return memory{}, errMalformed
		}
		if !strings.HasPrefix(stands.of.ID, strconv.Itoa(s.config.Buckets)+".") {
			return memory{}, errBuckets
		}
	}
	if found.on != "" {
		if stands.on, err = epoch.Parse(found.on); err != nil {
			return memory{}, errMalformed
		}
	}
	return stands, nil
}

// held reads the form that callers hold.
func (s *Store) held(text string) (memory, error) {
	of, on, _ := strings.Cut(text, " ")
	return s.parse(noted{of, on})
}

// mark stands in the token of each record: the state of the server's data that it was written under. A record with another
// mark than its bucket's may be older than what was written last.
func (m memory) mark() string { return strconv.FormatInt(m.on.Lost, 36) }

// marked reads the mark of a token, "0" for one of before there were marks.
func marked(token string) string {
	if parts := strings.Split(token, "."); len(parts) == 3 {
		return parts[2]
	}
	return "0"
}
