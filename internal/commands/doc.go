// Package commands is the pure core: the words of the domain, their encodings, and the state machine that decides
// what happens next to one operation.
//
// It refuses to do I/O, to start goroutines, to read a clock and to roll dice: time and chance come in as arguments,
// so that every decision can be replayed. It imports the standard library only.
//
// Its callers (the shells in operation, dispatch and callback) must perform exactly the action that [Advance] returns
// and feed the outcome back as the next [Event]; they must store a state with a version check before they act on it.
package commands
