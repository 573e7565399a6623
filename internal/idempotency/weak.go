package idempotency

// Weaknesses of a record store: what makes a loss likelier, or keeps it from being seen.
const (
	// WeakIdentity: the server does not tell the identity of its data, so that a loss of its latest writes may go unseen.
	WeakIdentity = "identity"
	// WeakEviction: the server may drop records to make room.
	WeakEviction = "eviction"
	// WeakPersistence: a restart of the server loses more than a second of writes, or all.
	WeakPersistence = "persistence"
	// WeakReplicas: the server has too few replicas, or writes are not waited for.
	WeakReplicas = "replicas"
	// WeakVersion: the server is older than what is tested.
	WeakVersion = "version"
	// WeakClock: the server's clock is too far from own one.
	WeakClock = "clock"
)

// Weaknesses lists every weakness.
func Weaknesses() []string {
	return []string{WeakIdentity, WeakEviction, WeakPersistence, WeakReplicas, WeakVersion, WeakClock}
}

// Finding is one weakness of one server.
type Finding struct {
	// Weakness is one of [Weaknesses].
	Weakness string
	// Server is its address; "" for a single one.
	Server string
	// Text says to an operator what was found, what it risks and what to do.
	Text string
}
