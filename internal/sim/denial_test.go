package sim

import (
	"time"

	"paydispatch/internal/commands"
)

// The vendor's queries deny an order that it said it has: a replica that lags far behind, an archive.

// deny has queries deny an order whose record says that the vendor has it. While they do the record stays as it is: who
// does not know the vendor's word can only believe the denial.
func (w *world) deny() bool {
	var pending []string
	for _, no := range w.orderNos() {
		if w.watch.phase(recordOf(no)) == commands.Pending {
			pending = append(pending, no)
		}
	}
	if len(pending) == 0 || w.scenario.lifetime == shortLived {
		return false
	}
	no, d := pending[w.rng.IntN(len(pending))], between(w.rng, 5*time.Second, 45*time.Second)
	w.stats.events["denied"]++
	w.say("The vendor DENIES %s for %v", no, d)
	w.gateway.Deny(w.scenario.ours(no), no, d)
	w.denied = time.Now().Add(d + w.scenario.pace.timeout) // and the answer has arrived
	return true
}

func (w *world) denies() bool { return time.Now().Before(w.denied) }

// phase is that of the record at a key, New where none stands.
func (w *watch) phase(key string) commands.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := commands.DecodeState(w.standing(key))
	if err != nil {
		return commands.New
	}
	return s.Phase
}
