package kafkastream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	groupapi "github.com/segmentio/kafka-go/protocol/consumer"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/leavegroup"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
	"github.com/segmentio/kafka-go/protocol/syncgroup"

	"paydispatch/internal/stream"
)

// protocolName is that of kafka-go's own ConsumerGroup, beside which a member may stand during a roll-out.
const protocolName = "range"

// membership is this process's place in the consumer group.
//
// kafka-go's own ConsumerGroup is not used: it ends a generation with each connection that breaks, joins thousands of
// times a second while a topic is missing, forgets the id of a member whose join failed, and leaves partitions alone
// that were added to a topic which the group's leader does not serve.
type membership struct {
	client *client
	cfg    ConsumerConfig
	// id was given by the coordinator; "" before.
	id string
}

// seat is one generation of the group, as this member got it.
type seat struct {
	member     string
	generation int32
	assigned   []spot
}

// errRejoin says that the member must join again. It may do so at once: the coordinator makes it wait there.
var errRejoin = errors.New("the group is being formed anew")

// join takes part in the next generation. sizes are the numbers of partitions of the topics that this member serves. All
// members tell theirs: whoever leads the group shares out what each knows, without looking at topics that it may not see,
// and a number that changed makes a new generation, which joining again would not.
func (m *membership) join(ctx context.Context, sizes map[string]int) (*seat, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Rebalance+2*m.client.timeout)
	defer cancel()
	joined, err := m.enter(ctx, sizes)
	if err != nil {
		return nil, m.forget(err)
	}
	var plan []syncgroup.RequestAssignment
	if joined.LeaderID == m.id {
		if plan, err = m.plan(ctx, joined.Members); err != nil {
			return nil, err
		}
	}
	s, err := m.sync(ctx, joined, plan)
	return s, m.forget(err)
}

// forget drops the id when the coordinator does not know it, and returns the error.
func (m *membership) forget(err error) error {
	if errors.Is(err, kafka.UnknownMemberId) {
		m.id = ""
	}
	return err
}

func (m *membership) enter(ctx context.Context, sizes map[string]int) (*joingroup.Response, error) {
	told, err := json.Marshal(sizes)
	if err != nil {
		return nil, err
	}
	about, err := protocol.Marshal(0, groupapi.Subscription{Topics: slices.Sorted(maps.Keys(sizes)), UserData: told})
	if err != nil {
		return nil, err
	}
	for {
		res, err := ask[*joingroup.Response](ctx, m.client, &joingroup.Request{
			GroupID: m.cfg.Group, MemberID: m.id, ProtocolType: "consumer",
			SessionTimeoutMS: int32(m.cfg.Session.Milliseconds()), RebalanceTimeoutMS: int32(m.cfg.Rebalance.Milliseconds()),
			Protocols: []joingroup.RequestProtocol{{Name: protocolName, Metadata: about}},
		})
		switch {
		case err != nil:
			return nil, fmt.Errorf("join: %w", err)
		case res.ErrorCode == int16(kafka.MemberIDRequired) && res.MemberID != m.id:
			m.id = res.MemberID // asked for first, so that an answer that gets lost leaves no member behind
		case res.ErrorCode != 0:
			return nil, fmt.Errorf("join: %w", inWords(res.ErrorCode))
		default:
			m.id = res.MemberID
			return res, nil
		}
	}
}

// inWords is the error of a code.
func inWords(code int16) error {
	if err := kafka.Error(code); err != kafka.RebalanceInProgress {
		return err
	}
	return errRejoin
}

// plan shares the partitions out: each topic among the members that serve it, in ranges.
func (m *membership) plan(ctx context.Context, in []joingroup.ResponseMember) ([]syncgroup.RequestAssignment, error) {
	members := make([]kafka.GroupMember, len(in))
	sizes := map[string]int{}
	for i, member := range in {
		var about groupapi.Subscription
		if err := protocol.Unmarshal(member.Metadata, 0, &about); err != nil {
			return nil, fmt.Errorf("read what member %s told: %w", member.MemberID, err)
		}
		members[i] = kafka.GroupMember{ID: member.MemberID, Topics: about.Topics}
		var told map[string]int
		_ = json.Unmarshal(about.UserData, &told) // a member of another kind tells nothing
		for _, topic := range about.Topics {
			sizes[topic] = max(sizes[topic], told[topic])
		}
	}
	if err := m.count(ctx, sizes); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b kafka.GroupMember) int { return cmp.Compare(a.ID, b.ID) })
	var partitions []kafka.Partition
	for topic, size := range sizes {
		for p := range size {
			partitions = append(partitions, kafka.Partition{Topic: topic, ID: p})
		}
	}
	shares := kafka.RangeGroupBalancer{}.AssignGroups(members, partitions)
	plan := make([]syncgroup.RequestAssignment, len(members))
	for i, member := range members {
		var share groupapi.Assignment
		for topic, partitions := range shares[member.ID] {
			of := groupapi.TopicPartition{Topic: topic}
			for _, p := range partitions {
				of.Partitions = append(of.Partitions, int32(p))
			}
			share.AssignedPartitions = append(share.AssignedPartitions, of)
		}
		encoded, err := protocol.Marshal(0, share)
		if err != nil {
			return nil, err
		}
		plan[i] = syncgroup.RequestAssignment{MemberID: member.ID, Assignment: encoded}
	}
	return plan, nil
}

// count looks up the topics that nobody told the size of. Those that may not be seen keep none.
func (m *membership) count(ctx context.Context, sizes map[string]int) error {
	var unknown []string
	for topic, size := range sizes {
		if size == 0 {
			unknown = append(unknown, topic)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	topics, err := look(ctx, m.cfg.Config, unknown)
	for _, t := range topics {
		sizes[t.Name] = len(t.Partitions)
	}
	return err
}

func (m *membership) sync(
	ctx context.Context, joined *joingroup.Response, plan []syncgroup.RequestAssignment,
) (*seat, error) {
	res, err := ask[*syncgroup.Response](ctx, m.client, &syncgroup.Request{
		GroupID: m.cfg.Group, GenerationID: joined.GenerationID, MemberID: m.id, ProtocolType: "consumer",
		ProtocolName: protocolName, Assignments: plan,
	})
	if err == nil && res.ErrorCode != 0 {
		err = inWords(res.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("sync: %w", err)
	}
	s := &seat{member: m.id, generation: joined.GenerationID}
	if len(res.Assignments) == 0 {
		return s, nil
	}
	var share groupapi.Assignment
	if err := protocol.Unmarshal(res.Assignments, 0, &share); err != nil {
		return nil, fmt.Errorf("read the assignment: %w", err)
	}
	for _, t := range share.AssignedPartitions {
		for _, p := range t.Partitions {
			s.assigned = append(s.assigned, spot{t.Topic, int(p)})
		}
	}
	return s, nil
}

// attend sends heartbeats until the generation is over, and returns why it is. A coordinator that does not answer, moves
// or cuts the connection ends nothing: it is asked again until it must have given the member up.
func (m *membership) attend(ctx context.Context, s *seat) error {
	tick := time.NewTicker(m.cfg.Heartbeat)
	defer tick.Stop()
	for alive := time.Now(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		began := time.Now()
		err := m.beat(ctx, s)
		switch {
		case err == nil:
			alive = began
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errRejoin), errors.Is(err, kafka.IllegalGeneration), errors.Is(err, kafka.UnknownMemberId):
			return err
		case time.Since(alive) >= m.cfg.Session:
			return fmt.Errorf("no sign of life reached the coordinator for %v: %w", m.cfg.Session, err)
		}
	}
}

func (m *membership) beat(ctx context.Context, s *seat) error {
	ctx, cancel := context.WithTimeout(ctx, min(m.client.timeout, m.cfg.Session/4))
	defer cancel()
	res, err := ask[*heartbeatAnswer](ctx, m.client, &heartbeat{
		group: m.cfg.Group, generation: s.generation, member: s.member, client: m.client.id,
	})
	if err == nil && res.code != 0 {
		err = inWords(res.code)
	}
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// commit stores the next offsets to read. The coordinator refuses it unless the member is in that generation.
func (m *membership) commit(ctx context.Context, s *seat, next []stream.Assignment) error {
	ctx, cancel := context.WithTimeout(ctx, m.client.timeout)
	defer cancel()
	req := &offsetcommit.Request{GroupID: m.cfg.Group, GenerationID: s.generation, MemberID: s.member}
	for _, a := range next {
		i := slices.IndexFunc(req.Topics, func(t offsetcommit.RequestTopic) bool { return t.Name == a.Topic })
		if i < 0 {
			i = len(req.Topics)
			req.Topics = append(req.Topics, offsetcommit.RequestTopic{Name: a.Topic})
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, offsetcommit.RequestPartition{
			PartitionIndex: int32(a.Partition), CommittedOffset: a.Offset, CommittedLeaderEpoch: -1,
		})
	}
	res, err := ask[*offsetcommit.Response](ctx, m.client, req)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return fmt.Errorf("commit %s/%d: %w", t.Name, p.PartitionIndex, kafka.Error(p.ErrorCode))
			}
		}
	}
	return nil
}

// leave tells the coordinator, so that it need not wait for the member.
func (m *membership) leave(ctx context.Context) error {
	if m.id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.client.timeout)
	defer cancel()
	res, err := ask[*leavegroup.Response](ctx, m.client, &leavegroup.Request{
		GroupID: m.cfg.Group, MemberID: m.id, Members: []leavegroup.RequestMember{{MemberID: m.id}},
	})
	m.id = ""
	if err == nil && res.ErrorCode != 0 {
		err = kafka.Error(res.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// ask makes a request and expects an answer of a kind.
func ask[T kafka.Response](ctx context.Context, c *client, req kafka.Request) (answer T, err error) {
	res, err := c.send(ctx, req)
	if err != nil {
		return answer, err
	}
	answer, ok := res.(T)
	if !ok {
		return answer, fmt.Errorf("the broker answered with %T", res)
	}
	return answer, nil
}
