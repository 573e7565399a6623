package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
)

// claim is what stands in the store under a requestId: which content used it first.
type claim struct {
	Key         commands.OperationKey `json:"key"`
	Fingerprint string                `json:"fp"`
}

// claimRequest guards a requestId: it returns the record of the other content that used it before, nil when there is
// none. It comes before the operation is claimed, so that a reused requestId never touches an order; the two may live in
// different buckets of the store, which no script may join (docs/adr/0002).
func (t *task) claimRequest(ctx context.Context, c *commands.Command) (other *idempotency.Record, err error) {
	value, err := json.Marshal(claim{Key: c.Key, Fingerprint: c.Fingerprints[0]})
	if err != nil {
		return nil, fmt.Errorf("encode the claim of a request: %w", err)
	}
	record := t.Store.Expect("r:" + string(c.RequestID))
	for {
		_, err := t.Store.Swap(ctx, record, value)
		conflict, ok := errors.AsType[*idempotency.Conflict](err)
		if !ok {
			if err != nil {
				return nil, fmt.Errorf("claim request %s: %w", c.RequestID, err)
			}
			return nil, nil
		}
		if record = conflict.Standing; record.Version > 0 {
			if differs, err := differs(record.Value, c); !differs {
				return nil, err
			}
			return &record, nil
		}
	}
}

func differs(value []byte, c *commands.Command) (bool, error) {
	var standing claim
	if err := json.Unmarshal(value, &standing); err != nil {
		return false, fmt.Errorf("%w: record of request %s: %w", operation.ErrUnreadable, c.RequestID, err)
	}
	return standing.Key != c.Key || !slices.Contains(c.Fingerprints, standing.Fingerprint), nil
}
