package withhold

import (
	"context"
	"fmt"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
)

// OrderQuery is a decoded withhold.query command, under the vendor's own names.
type OrderQuery struct {
	RequestID  string
	BizOrderNo string
	Account    string
}

// DecodeQuery reads a withhold.query command's body. All problems are reported together; no error holds a value of the
// body.
func DecodeQuery(body commands.Body) (OrderQuery, error) {
	var q OrderQuery
	err := decodeFields(body, func(in *orderReader) {
		in.text("requestId", &q.RequestID, true)
		in.text("biz_order_no", &q.BizOrderNo, true)
		in.text("account", &q.Account, false)
	})
	if err != nil {
		return OrderQuery{}, err
	}
	return q, nil
}

// Query puts the questions that withhold.query commands are, by single-order-query. [Client.Query] makes one.
type Query struct{ client *Client }

var _ vendors.Asker = Query{}

// Query is the Asker of withhold.query. It shares the client's connections and accounts.
func (c *Client) Query() Query { return Query{c} }

// Format implements fmt.Formatter as the client's does.
func (q Query) Format(f fmt.State, verb rune) { q.client.Format(f, verb) }

// Check reports all that is wrong with a command beyond its schema, as [Client.Check] does.
func (q Query) Check(cmd commands.Command) error {
	_, err := q.decode(cmd)
	return err
}

func (q Query) decode(cmd commands.Command) (OrderQuery, error) {
	o, err := DecodeQuery(cmd.Body)
	if err != nil {
		return OrderQuery{}, err
	}
	_, err = q.client.match(cmd, o.RequestID, o.Account)
	return o, err
}

// Ask asks about the order that the command names, whatever the command's own key is. The reply's status is the order's.
func (q Query) Ask(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	o, err := q.decode(cmd)
	if err != nil {
		return commands.Reply{}, invalid(err)
	}
	cmd.Key = commands.OperationKey(o.BizOrderNo)
	return q.client.Ask(ctx, cmd)
}
