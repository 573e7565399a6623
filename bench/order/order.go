// Package order names the bench's orders, so that every party can tell from a biz_order_no alone which Kafka key it has
// and where it stands in the order of that key.
package order

import (
	"fmt"
	"strconv"
	"strings"
)

// Order is one command of a run.
type Order struct {
	// Key is the number of its Kafka key, Seq its place among those of that key, Index its place in the run.
	Key, Seq, Index int
}

// Name is the biz_order_no, such as "k0123-000456-0045723".
func (o Order) Name() string { return fmt.Sprintf("%s-%06d-%07d", o.Card(), o.Seq, o.Index) }

// Card is the Kafka key, such as "k0123".
func (o Order) Card() string { return fmt.Sprintf("k%04d", o.Key) }

// WarmUp is the biz_order_no of a command that nobody counts.
func WarmUp(n int) string { return fmt.Sprintf("w%04d", n) }

// Parse reads a name; ok is false for one that is not of a counted order.
func Parse(name string) (o Order, ok bool) {
	key, rest, found := strings.Cut(name, "-")
	seq, index, more := strings.Cut(rest, "-")
	if !found || !more || !strings.HasPrefix(key, "k") {
		return Order{}, false
	}
	var errs [3]error
	o.Key, errs[0] = strconv.Atoi(key[1:])
	o.Seq, errs[1] = strconv.Atoi(seq)
	o.Index, errs[2] = strconv.Atoi(index)
	return o, errs == [3]error{} && o.Key >= 0 && o.Seq >= 0 && o.Index >= 0
}
