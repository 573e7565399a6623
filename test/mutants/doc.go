// Mutants makes one mistake after another in the code that decides about money, and has the tests look for it: a
// mistake that no test notices is alive, and fails the run.
//
//	go run ./test/mutants                 all of them
//	go run ./test/mutants -only lease     those whose name or file matches the regular expression
//	go run ./test/mutants -list           names and what makes each dangerous
//	go run ./test/mutants -suite sim      only the simulation looks for them
//	go run ./test/mutants -table out.md   and a table in Markdown
//
// The source tree is not touched: the go command reads a mutated file through its -overlay flag. A mutant names the text
// that it replaces, which must stand in its file exactly once, so that a change of the code makes an outdated mutant fail
// loudly. The simulation has mistakes of its own kind beside these, made by wrapping ports: internal/sim/mutation_test.go.
package main
