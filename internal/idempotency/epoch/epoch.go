// Package epoch is the rule by which every record store notices that it forgot: the value of a bucket's epoch, and the
// judgement of one client over an epoch that it meets.
//
// A bucket has two. That of its memory is made by clients, and missing when all is gone. That of its data is made of the
// identity that the server gives to what it serves, which is another one after each start and each promotion: all but the
// latest writes may stand then.
//
// It does no I/O and refuses to guess: an epoch that a client cannot connect with what it remembers counts as a loss.
// Its callers, the stores, must replace an epoch only by compare-and-set, and must judge again what stands afterwards.
package epoch

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Epoch is one memory of a bucket, from its creation until the store forgets. The zero value means that none is known,
// or that none stands. Epochs are comparable; two equal ones are the same memory in the same state.
type Epoch struct {
	// ID is unique for every creation, or the identity of the data; it holds no '|'.
	ID string
	// Lost is when the loss of the memory before this one, or of the latest writes to it, was discovered, in Unix
	// milliseconds; 0 means that there was none: the bucket is as fresh as the system.
	Lost int64
}

// IsZero reports whether no epoch is known.
func (e Epoch) IsZero() bool { return e.ID == "" }

// String returns the stored form, "<id>|<lost>"; "" for the zero value.
func (e Epoch) String() string {
	if e.IsZero() {
		return ""
	}
	return e.ID + "|" + strconv.FormatInt(e.Lost, 10)
}

var errMalformed = errors.New("the bucket's epoch is not of the form <id>|<unix milliseconds>")

// Parse reads the stored form. It accepts only what String writes, since stores compare the bytes.
func Parse(stored string) (Epoch, error) {
	id, lost, found := strings.Cut(stored, "|")
	if !found || id == "" {
		return Epoch{}, errMalformed
	}
	millis, err := strconv.ParseInt(lost, 10, 64)
	if err != nil || millis < 0 {
		return Epoch{}, errMalformed
	}
	e := Epoch{ID: id, Lost: millis}
	if e.String() != stored {
		return Epoch{}, errMalformed
	}
	return e, nil
}

// Forgot is when the bucket was found to have lost its memory: zero when it never did, or when that is at least a
// window ago. A window of zero never passes.
func (e Epoch) Forgot(now time.Time, window time.Duration) time.Time {
	if e.Lost == 0 {
		return time.Time{}
	}
	lost := time.UnixMilli(e.Lost)
	if window > 0 && now.Sub(lost) >= window {
		return time.Time{}
	}
	return lost
}

// Create returns the epoch for a bucket that has none: fresh when nothing can have stood there, lost now otherwise.
func Create(id string, fresh bool, now time.Time) Epoch {
	if fresh {
		return Epoch{ID: id}
	}
	return Epoch{ID: id, Lost: now.UnixMilli()}
}

// Mark returns what must replace the epoch found at a bucket, zero for none, whose records may be gone although their
// epoch may stand: the clock of the server moved, or it dropped records. newID is called only when an epoch must be
// created. A mark that is not older already says so and stays.
func Mark(found Epoch, newID func() string, now time.Time) Epoch {
	if found.IsZero() {
		return Create(newID(), false, now)
	}
	return markLost(found, found, now)
}

// Judge decides whether a client that remembers known may take found as the bucket's epoch. If not, it returns the
// epoch that must replace found by compare-and-set, after which the client judges what stands then.
//
// Nothing found at all is a loss. Found another epoch than the remembered one, this client knows that the bucket
// forgot, whatever another client, which remembered nothing, wrote there; so the epoch found must say so too, and
// within the window. A loss that was marked and is now unmarked means that the store went back in time: a loss as well.
// newID is called only when an epoch must be created.
func Judge(known, found Epoch, newID func() string, now time.Time, window time.Duration) (replace Epoch, accept bool) {
	switch {
	case found.IsZero():
		return Create(newID(), false, now), false
	case known.IsZero(), found == known:
		return Epoch{}, true
	case found.Forgot(now, window).IsZero():
		return markLost(known, found, now), false
	case found.ID == known.ID && found.Lost < known.Lost:
		return markLost(known, found, now), false
	}
	return Epoch{}, true
}

// Follow decides whether a client that remembers known, and wrote to the bucket at that time for the last time, may take
// found as the epoch of the bucket's data. If not, it returns what must replace found by compare-and-set; nothing while
// none stands, for only the server can tell its identity.
//
// The client that met the new identity first marked when. A client that wrote under the old identity after that wrote to a
// server that is not read any more, and one that met a later mark knows of a later loss: both move the mark to now.
func Follow(known, found Epoch, wrote, now time.Time) (replace Epoch, accept bool) {
	mark := Epoch{ID: found.ID, Lost: max(now.UnixMilli(), known.Lost, found.Lost)}
	switch {
	case found.IsZero():
		return Epoch{}, false
	case known.IsZero():
		return Epoch{}, true
	case known.ID == found.ID && found.Lost < known.Lost:
		return mark, false
	case known.ID != found.ID && found.Lost < max(known.Lost, wrote.UnixMilli(), 1):
		return mark, false
	}
	return Epoch{}, true
}

// markLost keeps found's id, so that clients which wrote under it still recognise their records' bucket. The clocks of
// two clients may differ: of one epoch the latest mark wins, or they would mark it in turns for ever.
func markLost(known, found Epoch, now time.Time) Epoch {
	lost := now.UnixMilli()
	if known.ID == found.ID {
		lost = max(lost, known.Lost)
	}
	return Epoch{ID: found.ID, Lost: lost}
}
