package commands

import "fmt"

// Phase is how far one operation has come. docs/state-machine.md draws the moves.
type Phase uint8

const (
	// New: nothing is recorded yet.
	New Phase = iota
	// Sending: the intent to send is recorded, and a request may be on the wire until the lease is over.
	Sending
	// Waiting: proven that nothing outstanding was sent; it may be sent when NotBefore has come.
	Waiting
	// Asking: a request may have had its effect; only the vendor can tell.
	Asking
	// Refused: the vendor did not accept the last submission; asked whether the order exists all the same.
	Refused
	// Pending: the vendor knows the order and has not decided.
	Pending
	// Unresolved: the deadline passed without a verdict; a person is called. A late word of the vendor still settles it.
	Unresolved
	// Settled: the verdict is recorded and not yet known to be published.
	Settled
	// Announced: the verdict was published.
	Announced
)

var phaseNames = [...]string{"new", "sending", "waiting", "asking", "refused", "pending", "unresolved", "settled", "announced"}

// Phases lists all phases in the order of an operation's life.
func Phases() []Phase {
	all := make([]Phase, len(phaseNames))
	for i := range all {
		all[i] = Phase(i)
	}
	return all
}

// String returns the phase as it stands in records, results and logs.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase(%d)", p)
}

// Final reports whether a verdict was reached. Final phases never move to another verdict.
func (p Phase) Final() bool { return p == Settled || p == Announced }

// rank orders what two states of one submission know: where they differ the higher one heard more. Sending knows less
// than what follows it, and more than the proof that an earlier submission did not leave.
func (p Phase) rank() int {
	switch p {
	case New:
		return 0
	case Waiting:
		return 1
	case Sending:
		return 2
	}
	return int(p) + 1 // in the order of an operation's life
}

// MarshalText implements encoding.TextMarshaler.
func (p Phase) MarshalText() ([]byte, error) {
	if int(p) >= len(phaseNames) {
		return nil, fmt.Errorf("phase %d is not one of %v", p, phaseNames)
	}
	return []byte(phaseNames[p]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Phase) UnmarshalText(text []byte) error {
	for i, name := range phaseNames {
		if name == string(text) {
			*p = Phase(i)
			return nil
		}
	}
	return fmt.Errorf("phase %q is not one of %v", text, phaseNames)
}
