package sim

import (
	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// whole checks that a vendor call ended by its answer, its own deadline, or with its process: neither a rebalance nor a
// stop cuts one off.
func (w *watch) whole(c commands.Command, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if vendors.CodeOf(err) == wire.CodeCanceled {
		w.broken("14: a call about %s was cut off", c.Key)
	}
}
