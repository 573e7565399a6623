// Package arch holds the module to the layout of its design by tests: which package may import which, which library
// belongs to whom, what must never be linked into a service, what the pure core must not touch, and that every package
// says what it is for.
//
// The table in table_test.go is meant to be read: it is the picture of the module. A package that it does not list is
// refused, so that a new one is placed deliberately. The package refuses to judge code inside a package; the linters
// do that. It has no code for others to call.
package arch
