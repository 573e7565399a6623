package idempotency

import "errors"

// Reasons why a process must not call a vendor now.
const (
	// UnfitClockUnknown: the server's clock was not read yet, or not for too long.
	UnfitClockUnknown = "clock_unknown"
	// UnfitClockStep: own clock was set, or the machine stood still, since the server's clock was read.
	UnfitClockStep = "clock_step"
	// UnfitClockSkew: own clock is too far from the server's.
	UnfitClockSkew = "clock_skew"
	// UnfitReplicas: too few replicas acknowledge writes.
	UnfitReplicas = "replicas"
	// UnfitEviction: the server may drop records to make room.
	UnfitEviction = "eviction"
	// UnfitLoss: records may be gone, and that could not be stored yet.
	UnfitLoss = "loss"
)

// UnfitReasons lists every reason.
func UnfitReasons() []string {
	return []string{UnfitClockUnknown, UnfitClockStep, UnfitClockSkew, UnfitReplicas, UnfitEviction, UnfitLoss}
}

// Unfit is the error of a process that must not call a vendor now, because what it would decide about money by cannot be
// relied on. It passes without a restart.
type Unfit struct {
	// Reason is one of [UnfitReasons].
	Reason string
	// Text says to an operator what was found, and what to do.
	Text string
}

// Error implements error.
func (u *Unfit) Error() string { return "no vendor may be called now: " + u.Text }

// ClockIsOff reports whether err says that own clock is wrong, so that nothing may be decided by it. One that could not
// be compared lately is not known to be.
func ClockIsOff(err error) bool {
	unfit, ok := errors.AsType[*Unfit](err)
	return ok && (unfit.Reason == UnfitClockStep || unfit.Reason == UnfitClockSkew)
}
