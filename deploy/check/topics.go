package check

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// topicList is kafka/topics.yaml.
type topicList struct {
	Config   map[string]map[string]string
	Replicas int
	Tiers    map[string][]string
	Commands map[string]struct {
		Tiers                                             string
		Partitions, DelayPartitions, DeadLetterPartitions int
	}
	Results map[string]struct{ Partitions int }
}

// Topic is one topic as it has to be made.
type Topic struct {
	Name, Kind           string
	Partitions, Replicas int
	Config               map[string]string
}

const topicsFile = "kafka/topics.yaml"

// Tiers returns the settings that say which delay topics there are.
func (t Tree) Tiers() ([]string, error) {
	l, err := t.topicList()
	var env []string
	for setting, tiers := range l.Tiers {
		env = append(env, setting+"="+strings.Join(tiers, ","))
	}
	return env, err
}

func (t Tree) topicList() (topicList, error) {
	var l topicList
	raw, err := os.ReadFile(t.path(topicsFile))
	if err == nil {
		err = yaml.UnmarshalStrict(raw, &l)
	}
	return l, err
}

// all lists every topic, in the order of their names.
func (l topicList) all() []Topic {
	var topics []Topic
	add := func(name, kind string, partitions int) {
		config := maps.Clone(l.Config["all"])
		maps.Copy(config, l.Config[kind])
		topics = append(topics, Topic{Name: name, Kind: kind, Partitions: partitions, Replicas: l.Replicas, Config: config})
	}
	for name, c := range l.Commands {
		add(name, "command", c.Partitions)
		add(name+".dlq", "dead-letter", c.DeadLetterPartitions)
		for _, d := range l.Tiers[c.Tiers] {
			add(name+".delay."+d, "delay", c.DelayPartitions)
		}
	}
	for name, r := range l.Results {
		add(name, "result", r.Partitions)
	}
	slices.SortFunc(topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics
}

// KafkaTopics returns the topics as Strimzi's objects.
func (t Tree) KafkaTopics() ([]byte, error) {
	l, err := t.topicList()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("# Made from kafka/topics.yaml by 'make deploy-files'; changes belong there.\n")
	for _, topic := range l.all() {
		fmt.Fprintf(&out, "---\napiVersion: kafka.strimzi.io/v1beta2\nkind: KafkaTopic\nmetadata:\n  name: %s\n  labels:\n    strimzi.io/cluster: kafka\n", topic.Name)
		fmt.Fprintf(&out, "spec:\n  partitions: %d\n  replicas: %d\n  config:\n", topic.Partitions, topic.Replicas)
		for _, name := range slices.Sorted(maps.Keys(topic.Config)) {
			fmt.Fprintf(&out, "    %s: %q\n", name, topic.Config[name])
		}
	}
	return out.Bytes(), nil
}

// CreateScript returns a shell script that makes the topics where no operator does.
func (t Tree) CreateScript() ([]byte, error) {
	l, err := t.topicList()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(`#!/bin/sh
# Made from kafka/topics.yaml by 'make deploy-files'; changes belong there.
# Makes the topics that do not exist: create-topics BROKER [more arguments of Kafka's kafka-topics.sh]
set -eu
broker=$1
shift
make() { kafka-topics.sh --bootstrap-server "$broker" "$@" --create --if-not-exists; }

`)
	for _, topic := range l.all() {
		fmt.Fprintf(&out, "make \"$@\" --topic %s --partitions %d --replication-factor %d", topic.Name, topic.Partitions, topic.Replicas)
		for _, name := range slices.Sorted(maps.Keys(topic.Config)) {
			fmt.Fprintf(&out, " --config %s=%s", name, topic.Config[name])
		}
		out.WriteString("\n")
	}
	return out.Bytes(), nil
}

// Files returns the files that are made from others, by path.
func (t Tree) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for path, write := range map[string]func() ([]byte, error){
		"k8s/components/topics/kafkatopics.yaml": t.KafkaTopics,
		"kafka/create-topics":                    t.CreateScript,
		"compose/prometheus/rules.yaml":          t.PlainRules,
	} {
		content, err := write()
		if err != nil {
			return nil, err
		}
		files[path] = content
	}
	return files, nil
}

// Topics holds the list against the topics in the code, against the settings of every overlay, and against what was made
// from it.
func (t Tree) Topics(overlays []Overlay) []Finding {
	var found findings
	l, err := t.topicList()
	if err != nil {
		found.fail(topicsFile, err)
		return found
	}
	files, err := t.Files()
	found.fail(topicsFile, err)
	for path, want := range files {
		if got, err := os.ReadFile(t.path(path)); err != nil || !bytes.Equal(got, want) {
			found.add(path, "is not what 'make deploy-files' makes")
		}
	}
	found = append(found, t.named(l)...)
	for _, o := range overlays {
		found = append(found, o.kept(l)...)
		for _, x := range o.of("ScaledObject") {
			found = append(found, o.lag(x, l)...)
		}
	}
	return found
}

// named compares the names with those of the code: commands are what the dispatcher serves unless told otherwise,
// results are what else has a schema, and payctl knows which delays belong to which.
func (t Tree) named(l topicList) []Finding {
	var found findings
	commands := strings.Split(t.Code.Defaults["dispatcher"]["TOPICS"], ",")
	for _, name := range commands {
		if _, ok := l.Commands[name]; !ok {
			found.add(topicsFile, "the dispatcher reads %s, which is not among the commands", name)
		}
	}
	for name := range l.Commands {
		if !slices.Contains(commands, name) {
			found.add(topicsFile, "the dispatcher does not know the command topic %s", name)
		}
	}
	for _, name := range t.Code.Schemas {
		if _, ok := l.Results[name]; !ok && !slices.Contains(commands, name) {
			found.add(topicsFile, "%s has a schema and is not among the results", name)
		}
	}
	for name := range l.Results {
		if !slices.Contains(t.Code.Schemas, name) {
			found.add(topicsFile, "%s has no schema", name)
		}
	}
	var listed []string
	for _, topic := range l.all() {
		listed = append(listed, topic.Name)
		if !slices.Contains(t.Code.Topics, topic.Name) {
			found.add(topicsFile, "payctl does not know %s", topic.Name)
		}
		if topic.Partitions < 1 || topic.Replicas < 3 || topic.Config["min.insync.replicas"] != "2" || topic.Config["unclean.leader.election.enable"] != "false" {
			found.add(topicsFile, "%s: what is acknowledged must survive a broker: 3 replicas, 2 in sync, no unclean leader", topic.Name)
		}
	}
	for _, name := range t.Code.Topics {
		if !slices.Contains(listed, name) {
			found.add(topicsFile, "payctl would make %s, which is not here", name)
		}
	}
	return found
}

// kept compares how long and how large messages may be with an overlay's settings.
func (o Overlay) kept(l topicList) []Finding {
	var found findings
	where := o.Name + ": " + topicsFile
	get := func(name string) time.Duration {
		value := o.setting(name)
		d, err := time.ParseDuration(value)
		found.fail(where+": "+name, err)
		return d
	}
	lifetime, deadline := get("RECORD_LIFETIME"), get("WITHHOLD_DEADLINE")
	longest := time.Duration(0)
	for setting, tiers := range l.Tiers {
		if text := o.setting(setting); text != strings.Join(tiers, ",") {
			found.add(where, "%s is %s, the tiers are %s", setting, text, strings.Join(tiers, ","))
		}
		for _, tier := range tiers {
			d, err := time.ParseDuration(tier)
			found.fail(where, err)
			longest = max(longest, d)
		}
	}
	text := o.setting("MAX_COMMAND_BYTES")
	size, err := strconv.Atoi(text)
	found.fail(where+": MAX_COMMAND_BYTES", err)
	const headers = 64 << 10
	bytesOf := func(kind string) int {
		n, err := strconv.Atoi(l.Config[kind]["max.message.bytes"])
		found.fail(where+": "+kind+" max.message.bytes", err)
		return n
	}
	if c, d, dead := bytesOf("command"), bytesOf("delay"), bytesOf("dead-letter"); c < size+headers || d < c+headers || dead < d+headers {
		found.add(where, "max.message.bytes: MAX_COMMAND_BYTES %d, command %d, delay %d, dead-letter %d: each needs %d more than the one before", size, c, d, dead, headers)
	}
	for kind, low := range map[string]time.Duration{"command": 3*24*time.Hour + deadline, "delay": 3*24*time.Hour + deadline + longest, "dead-letter": 7 * 24 * time.Hour} {
		ms, err := strconv.ParseInt(l.Config[kind]["retention.ms"], 10, 64)
		found.fail(where+": "+kind+" retention.ms", err)
		if keep := time.Duration(ms) * time.Millisecond; keep < low || keep >= lifetime {
			found.add(where, "%s is kept for %v: not at least %v, or not shorter than RECORD_LIFETIME %v", kind, keep, low, lifetime)
		}
	}
	return found
}

// setting finds a variable in any of the overlay's ConfigMaps; "" when there is none.
func (o Overlay) setting(name string) string {
	for _, x := range o.of("ConfigMap") {
		if m, ok := x.Typed.(*corev1.ConfigMap); ok {
			if value, ok := m.Data[name]; ok {
				return value
			}
		}
	}
	return ""
}

type scaledObject struct {
	Spec struct {
		ScaleTargetRef  struct{ Name string }
		MaxReplicaCount int
		Triggers        []struct {
			Type     string
			Metadata map[string]string
		}
	}
}

// lag checks that KEDA asks the Kafka and the group of the dispatcher about each command topic, and starts no more pods
// than the largest of them has partitions.
func (o Overlay) lag(x Object, l topicList) []Finding {
	var found findings
	var s scaledObject
	found.fail(o.where(x), x.into(&s))
	asked := map[string]bool{}
	for _, trigger := range s.Spec.Triggers {
		m := trigger.Metadata
		asked[m["topic"]] = true
		if _, ok := l.Commands[m["topic"]]; !ok {
			found.add(o.where(x), "%s is no command topic", m["topic"])
		}
		for field, name := range map[string]string{"bootstrapServers": "KAFKA_BROKERS", "consumerGroup": "KAFKA_GROUP"} {
			if value := o.setting(name); m[field] != value {
				found.add(o.where(x), "%s: %s is %q, %s %q", m["topic"], field, m[field], name, value)
			}
		}
	}
	most := 0
	for name, c := range l.Commands {
		if !asked[name] {
			found.add(o.where(x), "has no trigger for %s", name)
		}
		most = max(most, c.Partitions)
	}
	if s.Spec.MaxReplicaCount > most {
		found.add(o.where(x), "up to %d pods for %d partitions", s.Spec.MaxReplicaCount, most)
	}
	return found
}
