package operation

import "paydispatch/internal/stream"

// Seal seals any message, also one that Parked would not make.
func Seal(d *Driver, m stream.Message) (stream.Message, error) { return d.seal(m) }
