// Package vendors is the contract of a vendor adapter: send a command once, ask what became of it, and say honestly
// what a failure proves.
//
// Adapters live in one folder each and are joined in catalog. They refuse to retry, to remember and to decide: one
// call is at most one request on the wire. Callers must have stored their intent before Send, and must give every call
// a deadline.
package vendors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"paydispatch/internal/commands"
)

// Sender submits one kind of command.
type Sender interface {
	// Send submits the command; at most one request reaches the wire. Its error, if any, is an *Error.
	Send(ctx context.Context, c commands.Command) (commands.Reply, error)
}

// Asker asks about one kind of command. An interface of a vendor that cannot be asked about has none.
type Asker interface {
	// Ask asks what became of the command's operation (effect money), or puts the question that the command is (effect
	// read). It has no effect at the vendor and may be repeated. Its error, if any, is an *Error.
	Ask(ctx context.Context, c commands.Command) (commands.Reply, error)
}

// Vendor is both.
type Vendor interface {
	Sender
	Asker
}

// CodeHandedOver is the code of a call that was not begun, because the partition of its message is handed over to another
// owner (package handover). Its class is Retryable: nothing was sent.
const CodeHandedOver = "handed_over"

// Error is a failed call, with what it proves.
type Error struct {
	// Class says what the failure proves; the zero value is Unknown.
	Class commands.Class
	// Code is a stable word from a closed list of the adapter or of wire, such as "timeout" or "dial_failed"; it
	// reaches metrics and results.
	Code string
	// RetryAfter is how long the vendor asked to be left alone; 0 when it did not say.
	RetryAfter time.Duration
	// Err is the cause, free of secrets and personal data.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s): %v", e.Code, e.Class, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns what err proves: Unknown for anything that is not an *Error.
func ClassOf(err error) commands.Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return commands.ClassUnknown
}

// CodeOf returns the stable word of err, "unclassified" for anything that is not an *Error with one: a code is 1 to 64
// small letters, digits and underscores, since it reaches metrics and results.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && isCode(e.Code) {
		return e.Code
	}
	return "unclassified"
}

func isCode(code string) bool {
	for _, c := range code {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return code != "" && len(code) <= 64
}
