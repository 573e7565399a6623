package operation

import (
	"context"
	"errors"
	"fmt"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
)

// Relay is the Asker of a topic whose question is about an order of another topic (withhold.query about
// withhold.request). The vendor's final word on the order settles the order too, whatever phase it is in, and the
// question is answered with the order's state.
type Relay struct {
	// Asker puts the question; its reply's status is the order's.
	vendors.Asker
	// Orders drives the orders that are asked about.
	Orders *Driver
	// OrderField is the command's field that names the order; it must be one of the topic's CarryFields.
	OrderField string
	// Account returns the merchant account that a command's word stands for, "" meaning the default; nil leaves the word
	// as it is.
	Account func(word string) string
}

// Ask implements vendors.Asker. An order that cannot be updated makes the question fail, so that it is put again.
func (r Relay) Ask(ctx context.Context, c commands.Command) (commands.Reply, error) {
	reply, err := r.Asker.Ask(ctx, c)
	if err != nil {
		return commands.Reply{}, err
	}
	if reply.Status.Final() {
		if err := r.hear(ctx, c, reply); err != nil {
			return commands.Reply{}, &vendors.Error{Class: commands.ClassUnknown, Code: "order_not_updated", Err: err}
		}
	}
	return answer(reply), nil
}

// hear passes on what the vendor said of an order. It is the word of one account: an order that is not on record, or that
// another account has, is not settled by it.
func (r Relay) hear(ctx context.Context, c commands.Command, reply commands.Reply) error {
	order := commands.OperationKey(c.Carry[r.OrderField])
	record, err := r.Orders.Store.Load(ctx, Key(r.Orders.Policy.Spec, order))
	if err != nil {
		return fmt.Errorf("load the record of %s: %w", order, err)
	}
	if record.Version == 0 {
		return nil
	}
	state, err := decode(record.Value)
	if err != nil {
		return err
	}
	if r.account(state.Account) != r.account(c.Account) {
		return nil
	}
	if r.Orders.contradicted("ask", &state, reply) {
		return nil // another pay_order_no than before: the answer shows it, the order keeps its state
	}
	_, err = r.Orders.Drive(ctx, &Job{Record: record, State: state, Entry: commands.CalledBack{Reply: reply}})
	if refusal, ok := errors.AsType[*commands.Refusal](err); ok && refusal.Reason == commands.ReasonMismatch {
		return nil // another writer heard more in the meantime
	}
	return err
}

func (r Relay) account(word string) string {
	if r.Account == nil {
		return word
	}
	return r.Account(word)
}

// answer turns the state of an order into the answer to a question about it.
func answer(order commands.Reply) commands.Reply {
	reply := order
	reply.Status = commands.StatusSucceeded
	reply.Fields = map[string]string{"state": order.Status.String()}
	for name, v := range order.Fields {
		reply.Fields[name] = v
	}
	return reply
}
