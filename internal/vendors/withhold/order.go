package withhold

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"paydispatch/internal/commands"
	"paydispatch/internal/jsonobject"
)

// Order is a decoded withhold.request command, under the vendor's own names.
type Order struct {
	RequestID  string
	BizOrderNo string
	// AmountText is the amount as the command has it, which is what the vendor gets.
	AmountText     string
	Amount         Amount
	Name           Personal
	IDCardNumber   Personal
	Mobile         Personal
	BankCardNumber Personal
	ProtocolNo     Personal
	PayType        string
	Account        string
}

// DecodeOrder reads a command's body. All problems are reported together; no error holds a value of the body.
func DecodeOrder(body commands.Body) (Order, error) {
	fields, err := jsonobject.Read(body)
	if err != nil {
		return Order{}, fmt.Errorf("the command: %w", err)
	}
	var (
		o    Order
		in   = orderReader{fields: fields}
		need = true
	)
	in.text("requestId", &o.RequestID, need)
	in.text("biz_order_no", &o.BizOrderNo, need)
	in.text("amount", &o.AmountText, need)
	in.text("pay_type", &o.PayType, need)
	in.text("account", &o.Account, !need)
	in.personal("name", &o.Name, need)
	in.personal("id_card_number", &o.IDCardNumber, need)
	in.personal("mobile", &o.Mobile, need)
	in.personal("bank_card_number", &o.BankCardNumber, !need)
	in.bizData(&o.ProtocolNo)
	in.unknown()
	if o.BankCardNumber == "" && o.ProtocolNo == "" {
		in.problem("bank_card_number, biz_data.protocol_no", "at least one of them is needed")
	}
	if o.AmountText != "" {
		if o.Amount, err = ParseAmount(o.AmountText); err != nil {
			in.problem("amount", err.Error())
		}
	}
	if err := errors.Join(in.problems...); err != nil {
		return Order{}, err
	}
	return o, nil
}

// orderReader takes fields out of a command and gathers what is wrong with them.
type orderReader struct {
	fields   object
	taken    []string
	problems []error
}

func (r *orderReader) problem(field, text string) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", field, text))
}

func (r *orderReader) text(name string, to *string, need bool) {
	r.taken = append(r.taken, name)
	raw, ok := r.fields[name]
	if !ok {
		if need {
			r.problem(name, "is missing")
		}
		return
	}
	text, ok := jsonobject.Text(raw)
	if !ok {
		r.problem(name, "must be a string")
		return
	}
	*to = text
	if *to == "" {
		r.problem(name, "must not be empty")
	}
}

func (r *orderReader) personal(name string, to *Personal, need bool) {
	var text string
	r.text(name, &text, need)
	*to = Personal(text)
}

// bizData reads the optional object {"protocol_no": "…"}.
func (r *orderReader) bizData(to *Personal) {
	r.taken = append(r.taken, "biz_data")
	raw, ok := r.fields["biz_data"]
	if !ok {
		return
	}
	fields, err := jsonobject.Read(raw)
	if err != nil {
		r.problem("biz_data", "must be an object")
		return
	}
	inner := orderReader{fields: fields}
	inner.personal("protocol_no", to, false)
	inner.unknown()
	for _, err := range inner.problems {
		r.problems = append(r.problems, fmt.Errorf("biz_data.%w", err))
	}
}

// unknown refuses fields that nobody took. Their names may be personal data in the wrong place, so only short plain
// ones are named.
func (r *orderReader) unknown() {
	var extra []string
	for name := range r.fields {
		if !slices.Contains(r.taken, name) {
			extra = append(extra, plainName(name))
		}
	}
	slices.Sort(extra)
	for _, name := range extra {
		r.problem(name, "is not a field of this command")
	}
}

func plainName(name string) string {
	plain := strings.IndexFunc(name, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
	if !plain || len(name) > 40 {
		return "(a field with an unusual name)"
	}
	return name
}

// params are the parameters of single-withhold. biz_data is required by the vendor's document, so it is there even
// when it is empty.
func (o Order) params(notifyURL string) map[string]any {
	biz := map[string]any{}
	if o.ProtocolNo != "" {
		biz["protocol_no"] = string(o.ProtocolNo)
	}
	p := map[string]any{
		"biz_order_no":   o.BizOrderNo,
		"amount":         o.AmountText,
		"name":           string(o.Name),
		"id_card_number": string(o.IDCardNumber),
		"mobile":         string(o.Mobile),
		"biz_data":       biz,
		"pay_type":       o.PayType,
	}
	if o.BankCardNumber != "" {
		p["bank_card_number"] = string(o.BankCardNumber)
	}
	if notifyURL != "" {
		p["notify_url"] = notifyURL
	}
	return p
}
