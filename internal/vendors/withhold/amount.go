package withhold

import (
	"errors"
	"fmt"
)

// Amount is a sum of money in hundredths of the currency unit. The vendor's document does not state its unit; the
// decimal text of a command is passed on as it stands, and Amount is what it is checked and compared by.
type Amount int64

// maxDigits before the point keep every amount far inside int64.
const maxDigits = 13

// ParseAmount reads a decimal text: digits, without sign, exponent, spaces or needless leading zeros, and at most two
// decimals, such as "100", "100.5" or "0.01". It must be more than 0.
func ParseAmount(text string) (Amount, error) {
	whole, i := Amount(0), 0
	for ; i < len(text) && isDigit(text[i]); i++ {
		if i == maxDigits {
			return 0, fmt.Errorf("more than %d digits", maxDigits)
		}
		whole = whole*10 + Amount(text[i]-'0')
	}
	if i == 0 {
		return 0, errors.New("must be a decimal number such as 100.00, without a sign")
	}
	if i > 1 && text[0] == '0' {
		return 0, errors.New("must not begin with a needless 0")
	}
	hundredths, err := parseDecimals(text[i:])
	if err != nil {
		return 0, err
	}
	sum := whole*100 + hundredths
	if sum == 0 {
		return 0, errors.New("must be more than 0")
	}
	return sum, nil
}

// parseDecimals reads "" or a point and one or two digits.
func parseDecimals(text string) (Amount, error) {
	if text == "" {
		return 0, nil
	}
	digits := text[1:]
	if text[0] != '.' || digits == "" {
		return 0, errors.New("must be a decimal number such as 100.00, without exponent, spaces or separators")
	}
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return 0, errors.New("must be a decimal number such as 100.00, without exponent, spaces or separators")
		}
	}
	switch len(digits) {
	case 1:
		return Amount(digits[0]-'0') * 10, nil
	case 2:
		return Amount(digits[0]-'0')*10 + Amount(digits[1]-'0'), nil
	}
	return 0, errors.New("must have at most two decimals")
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// String returns the amount with two decimals, such as "100.00".
func (a Amount) String() string {
	if a < 0 {
		// Written apart, since -5 hundredths have no whole part that could carry the sign.
		return "-" + (-a).String()
	}
	return fmt.Sprintf("%d.%02d", int64(a/100), int64(a%100))
}
