package withhold

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/jsonobject"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/wire"
)

// The methods that tie a card to us, in two steps (seed 001, sections 1 and 2).
const (
	methodPrebind = "pre-tied-card"
	methodConfirm = "confirm-tied-card"
)

// Stable codes of accepted replies that lack what the next step needs.
const (
	CodeNoUniqueCode = "reply_without_unique_code"
	CodeNoProtocol   = "reply_without_protocol_no"
)

// PrebindOrder is a decoded withhold.card.prebind command, under the vendor's own names.
type PrebindOrder struct {
	RequestID      string
	Name           Personal
	IDCardNumber   Personal
	Mobile         Personal
	BankCardNumber Personal
	PayType        string
	Account        string
}

// DecodePrebind reads a withhold.card.prebind command's body. All problems are reported together; no error holds a
// value of the body.
func DecodePrebind(body commands.Body) (PrebindOrder, error) {
	var o PrebindOrder
	err := decodeFields(body, func(in *orderReader) {
		in.text("requestId", &o.RequestID, true)
		in.text("pay_type", &o.PayType, true)
		in.text("account", &o.Account, false)
		in.personal("name", &o.Name, true)
		in.personal("id_card_number", &o.IDCardNumber, true)
		in.personal("mobile", &o.Mobile, true)
		in.personal("bank_card_number", &o.BankCardNumber, true)
	})
	if err != nil {
		return PrebindOrder{}, err
	}
	return o, nil
}

func (o PrebindOrder) params() map[string]any {
	return map[string]any{
		"name": string(o.Name), "id_card_number": string(o.IDCardNumber), "mobile": string(o.Mobile),
		"bank_card_number": string(o.BankCardNumber), "pay_type": o.PayType,
	}
}

// ConfirmOrder is a decoded withhold.card.confirm command, under the vendor's own names. The verification code and
// unique_code together tie the card, so they mask themselves like personal data.
type ConfirmOrder struct {
	RequestID        string
	VerificationCode Personal
	UniqueCode       Personal
	BankCardNumber   Personal
	PayType          string
	Account          string
}

// DecodeConfirm reads a withhold.card.confirm command's body, as [DecodePrebind] does.
func DecodeConfirm(body commands.Body) (ConfirmOrder, error) {
	var o ConfirmOrder
	err := decodeFields(body, func(in *orderReader) {
		in.text("requestId", &o.RequestID, true)
		in.text("pay_type", &o.PayType, true)
		in.text("account", &o.Account, false)
		in.personal("verification_code", &o.VerificationCode, true)
		in.personal("unique_code", &o.UniqueCode, true)
		in.personal("bank_card_number", &o.BankCardNumber, true)
	})
	if err != nil {
		return ConfirmOrder{}, err
	}
	return o, nil
}

func (o ConfirmOrder) params() map[string]any {
	return map[string]any{
		"verification_code": string(o.VerificationCode), "unique_code": string(o.UniqueCode),
		"bank_card_number": string(o.BankCardNumber), "pay_type": o.PayType,
	}
}

// decodeFields reads a command whose fields read takes; the others are problems.
func decodeFields(body commands.Body, read func(*orderReader)) error {
	fields, err := jsonobject.Read(body)
	if err != nil {
		return fmt.Errorf("the command: %w", err)
	}
	in := orderReader{fields: fields}
	read(&in)
	in.unknown()
	return errors.Join(in.problems...)
}

// Prebind sends withhold.card.prebind commands by pre-tied-card: the gateway texts a verification code to the mobile.
// It cannot be asked about, so after an unknown outcome nobody but a person may send it again. [Client.Prebind] makes
// one.
type Prebind struct{ client *Client }

// Confirm sends withhold.card.confirm commands by confirm-tied-card: the texted code ties the card. It cannot be asked
// about either. [Client.Confirm] makes one.
type Confirm struct{ client *Client }

var (
	_ vendors.Sender = Prebind{}
	_ vendors.Sender = Confirm{}
)

// Prebind is the Sender of withhold.card.prebind. It shares the client's connections and accounts.
func (c *Client) Prebind() Prebind { return Prebind{c} }

// Confirm is the Sender of withhold.card.confirm. It shares the client's connections and accounts.
func (c *Client) Confirm() Confirm { return Confirm{c} }

// Format implements fmt.Formatter as the client's does.
func (p Prebind) Format(f fmt.State, verb rune) { p.client.Format(f, verb) }

// Format implements fmt.Formatter as the client's does.
func (c Confirm) Format(f fmt.State, verb rune) { c.client.Format(f, verb) }

// Check reports all that is wrong with a command beyond its schema, as [Client.Check] does.
func (p Prebind) Check(cmd commands.Command) error {
	_, _, err := p.decode(cmd)
	return err
}

func (p Prebind) decode(cmd commands.Command) (PrebindOrder, merchant, error) {
	o, err := DecodePrebind(cmd.Body)
	if err != nil {
		return PrebindOrder{}, merchant{}, err
	}
	m, err := p.client.match(cmd, o.RequestID, o.Account)
	return o, m, err
}

// Send sends the command. Succeeded means that the gateway took it and gave the unique_code, which stands in Fields
// since the next step needs it; Refused is a negative outer status.
func (p Prebind) Send(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	o, m, err := p.decode(cmd)
	if err != nil {
		return commands.Reply{}, invalid(err)
	}
	return p.client.tie(ctx, cmd, step{
		merchant: m, method: methodPrebind, params: o.params(), gives: "unique_code", without: CodeNoUniqueCode,
	})
}

// Check reports all that is wrong with a command beyond its schema, as [Client.Check] does.
func (c Confirm) Check(cmd commands.Command) error {
	_, _, err := c.decode(cmd)
	return err
}

func (c Confirm) decode(cmd commands.Command) (ConfirmOrder, merchant, error) {
	o, err := DecodeConfirm(cmd.Body)
	if err != nil {
		return ConfirmOrder{}, merchant{}, err
	}
	m, err := c.client.match(cmd, o.RequestID, o.Account)
	return o, m, err
}

// Send sends the command. Succeeded means that the card is tied; its protocol_no stands in Fields since debits need it.
// Refused is a negative outer status.
func (c Confirm) Send(ctx context.Context, cmd commands.Command) (commands.Reply, error) {
	o, m, err := c.decode(cmd)
	if err != nil {
		return commands.Reply{}, invalid(err)
	}
	return c.client.tie(ctx, cmd, step{
		merchant: m, method: methodConfirm, params: o.params(), gives: "protocol_no", without: CodeNoProtocol,
	})
}

// step is one of the two requests that tie a card.
type step struct {
	merchant merchant
	method   string
	params   map[string]any
	// gives is the member of response that a success has; without is the code of one that lacks it.
	gives, without string
}

func (c *Client) tie(ctx context.Context, cmd commands.Command, s step) (commands.Reply, error) {
	body, err := s.merchant.seal(s.method, s.params, string(cmd.RequestID), time.Now())
	if err != nil {
		return commands.Reply{}, notBuilt(err)
	}
	a, err := c.call(ctx, body, wire.Send)
	if err != nil {
		return commands.Reply{}, err
	}
	return a.tieReply(s.gives, s.without, c.scrubber(s.merchant, cmd))
}

// tieReply translates the reply to one of the two steps. No field of it names the request, so nothing more can be held
// against it.
func (a answer) tieReply(gives, without string, clean scrubber) (commands.Reply, error) {
	switch {
	case a.status < 0:
		return a.refusal(commands.StatusRefused, clean), nil
	case a.status != 1:
		return commands.Reply{}, wire.Unreadable(CodeUnreadable, "the reply's status is neither 1 nor negative")
	}
	given, ok := scalar(a.response[gives])
	if !ok || given == "" {
		return commands.Reply{}, wire.Unreadable(without, "the reply says status 1 but holds no "+gives)
	}
	return commands.Reply{
		Status: commands.StatusSucceeded, Code: strconv.Itoa(a.status), Fields: map[string]string{gives: given},
		Message: clean(a.message, given),
	}, nil
}

// match finds the merchant of a command and compares what the caller took from the body with the body. Where the body
// names no account the command's counts: the default may have changed since the operation began.
func (c *Client) match(cmd commands.Command, requestID, account string) (merchant, error) {
	m, err := c.merchant(cmd.Account)
	errs := []error{err}
	if string(cmd.RequestID) != requestID {
		errs = append(errs, errors.New("requestId: differs from the command's"))
	}
	if account != "" && cmd.Account != account {
		errs = append(errs, errors.New("account: differs from the command's"))
	}
	return m, errors.Join(errs...)
}

// invalid is the error of a command that was not sent since it can never be.
func invalid(err error) error {
	return &vendors.Error{Class: commands.ClassPermanent, Code: CodeInvalid, Err: err}
}
