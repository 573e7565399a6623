package daxpay

import "time"

// Answer is the whole answer with every receiver of the configuration, as one question cannot get it.
func Answer(c Config, now time.Time, trace string) string {
	data := result{resTime: now.Unix(), list: true, receivers: c.Receivers}
	return envelope("success", 0, data.json(c, Plan{}), trace)
}
