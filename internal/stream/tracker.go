package stream

// slot is one offset that was handed to a lane.
type slot struct {
	offset int64
	done   bool
}

// tracker knows which prefix of a partition is finished. Offsets are added in rising order (holes are fine: what was
// compacted or aborted never arrives) and finished in any order; the position never passes an unfinished one and never
// moves back. It is not safe for concurrent use.
type tracker struct {
	slots []*slot // added, not yet behind the position
	tail  int64   // the offset after the last one added
}

// newTracker starts with everything below start finished.
func newTracker(start int64) tracker { return tracker{tail: start} }

// add notes an offset, which must be at or above every earlier one plus one.
func (t *tracker) add(offset int64) *slot {
	s := &slot{offset: offset}
	t.slots = append(t.slots, s)
	t.tail = offset + 1
	return s
}

// skip notes that nothing is to be added below an offset.
func (t *tracker) skip(to int64) { t.tail = max(t.tail, to) }

// finish marks a slot and drops the finished prefix.
func (t *tracker) finish(s *slot) {
	s.done = true
	n := 0
	for n < len(t.slots) && t.slots[n].done {
		t.slots[n] = nil
		n++
	}
	t.slots = t.slots[n:]
}

// position is the next offset to read after a restart: all below it are finished.
func (t *tracker) position() int64 {
	if len(t.slots) > 0 {
		return t.slots[0].offset
	}
	return t.tail
}

// size counts the offsets from the position on, finished or not.
func (t *tracker) size() int { return len(t.slots) }
