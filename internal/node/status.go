package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// maxMetricsPage bounds what Status reads of a node's page.
const maxMetricsPage = 4 << 20

// Status is how a node does, as its own pages tell it.
type Status struct {
	Running bool   `json:"running"`
	State   string `json:"state"` // serving, low, full, repairing, lacking, failed, stopped, unknown
	PID     int    `json:"pid,omitempty"`

	Members           uint64 `json:"members"`
	MembersAway       uint64 `json:"members_away"`
	MembersReconciled uint64 `json:"members_reconciled"`

	// What a change of the network left to do.
	Moving Moving `json:"moving"`
	// HintsWaiting counts changes that other members missed, and are yet to be given.
	HintsWaiting uint64 `json:"hints_waiting"`

	Envelopes     uint64 `json:"envelopes"`
	StoredBytes   uint64 `json:"stored_bytes"`
	FreeBytes     uint64 `json:"free_bytes"`
	Expired       uint64 `json:"expired"`
	Repairs       uint64 `json:"repairs"`
	Subscriptions uint64 `json:"subscriptions"`
	Circuits      uint64 `json:"circuits"`
	// Forks counts the proofs that the network's key signed two directories
	// with one serial.
	Forks uint64 `json:"forks"`

	Puts    uint64            `json:"puts"`
	PutP50  float64           `json:"put_p50_seconds"` // upper end of its bucket
	PutP99  float64           `json:"put_p99_seconds"`
	Refused map[string]uint64 `json:"refused"`
	// Other holds every other figure of the swarm's, moves and hints among them.
	Other map[string]float64 `json:"other"`
	// Advice says what an operator should do, if anything.
	Advice []string `json:"advice"`
}

// Moving is how far a node is with a change of the network.
type Moving struct {
	Serial    uint64 `json:"serial"`  // of the directory in use
	Listed    bool   `json:"listed"`  // it lists this node
	Counted   bool   `json:"counted"` // Mailboxes and Bytes are known
	Sources   uint64 `json:"sources"` // nodes that it is yet to get mailboxes from
	Mailboxes uint64 `json:"mailboxes"`
	Bytes     uint64 `json:"bytes"` // of these, yet to be handed over
}

// Settled reports that the node has got and handed over all that the directory
// with a serial asks of it.
func (m Moving) Settled(serial uint64) bool {
	return m.Serial >= serial && m.Counted && m.Sources == 0 && m.Mailboxes == 0
}

// Finished reports that a node which no directory lists is not needed any more.
func (m Moving) Finished() bool { return !m.Listed && m.Counted && m.Mailboxes == 0 }

// ReadStatus asks the node that runs in dir. A node that does not run, or has no
// metrics page, is no error.
func ReadStatus(ctx context.Context, dir string) (Status, error) {
	st := Status{State: "stopped", Refused: map[string]uint64{}, Other: map[string]float64{}, Advice: []string{}}
	info, err := ReadRunInfo(dir)
	if errors.Is(err, fs.ErrNotExist) {
		st.advise("no node has run in this folder yet: sotto node run")
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("node: %s: %w", runFile, err)
	}
	if info.Metrics == "" {
		st.State = "unknown"
		st.advise("the node was started without a metrics page: run it with --metrics 127.0.0.1:0 to see how it does")
		return st, nil
	}
	page, run, code, err := fetchPage(ctx, "http://"+info.Metrics+"/metrics")
	if err != nil || code != http.StatusOK {
		st.advise("the node does not run, or does not answer: look at the end of its log, and start it")
		return st, nil // why it cannot be reached says no more than that
	}
	if run != info.Run {
		st.advise("the node does not run, and another process answers where it did: start it")
		return st, nil
	}
	st.Running, st.PID = true, info.PID
	st.read(page)
	_, _, health, err := fetchPage(ctx, "http://"+info.Metrics+"/healthz")
	st.judge(err == nil && health == http.StatusOK)
	return st, nil
}

// fetchPage returns a page, which run of a node answered, and how.
func fetchPage(ctx context.Context, url string) (page, run string, code int, _ error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", "", 0, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", "", 0, err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxMetricsPage))
	return string(b), res.Header.Get(runHeader), res.StatusCode, errors.Join(err, res.Body.Close())
}

func (st *Status) advise(text string) { st.Advice = append(st.Advice, text) }

// read takes the figures out of a page in Prometheus' text format.
func (st *Status) read(page string) {
	fields := map[string]*uint64{
		"members": &st.Members, "members_away": &st.MembersAway, "members_reconciled": &st.MembersReconciled,
		"envelopes": &st.Envelopes, "stored_bytes": &st.StoredBytes, "store_free_bytes": &st.FreeBytes,
		"expired_total": &st.Expired, "store_repairs_total": &st.Repairs, "subscriptions": &st.Subscriptions,
		"put_seconds_count": &st.Puts, "hints_waiting": &st.HintsWaiting,
		"moving_sources": &st.Moving.Sources, "moving_mailboxes": &st.Moving.Mailboxes, "moving_bytes": &st.Moving.Bytes,
	}
	var buckets []bucket
	lines := bufio.NewScanner(strings.NewReader(page))
	for lines.Scan() {
		name, labels, value, ok := parseSample(lines.Text())
		if !ok {
			continue
		}
		if name == "sotto_relay_circuits_open" {
			st.Circuits = whole(value)
		}
		if name == "sotto_directory_serial" {
			st.Moving.Serial = whole(value)
		}
		if name == "sotto_directory_listed" {
			st.Moving.Listed = value != 0
		}
		if name == "sotto_directory_forks" {
			st.Forks = whole(value)
		}
		name, ok = strings.CutPrefix(name, "sotto_swarm_")
		switch into := fields[name]; {
		case !ok:
		case into != nil:
			*into = whole(value)
		case name == "moving_counted":
			st.Moving.Counted = value != 0
		case name == "put_seconds_bucket":
			if le, err := strconv.ParseFloat(labels["le"], 64); err == nil {
				buckets = append(buckets, bucket{le, value})
			}
		case name == "requests_total":
			if labels["outcome"] != "ok" {
				st.Refused[labels["outcome"]] += whole(value)
			}
		case len(labels) == 0:
			st.Other[name] = value
		}
	}
	st.PutP50, st.PutP99 = quantile(buckets, 0.5), quantile(buckets, 0.99)
}

func whole(v float64) uint64 { return uint64(min(max(v, 0), 1<<63)) }

// parseSample reads one line of the text format; ours have no escapes in labels.
func parseSample(line string) (name string, labels map[string]string, value float64, ok bool) {
	head, last, found := strings.Cut(line, " ")
	if i := strings.LastIndexByte(line, ' '); found && i > 0 {
		head, last = line[:i], line[i+1:]
	}
	value, err := strconv.ParseFloat(last, 64)
	if err != nil || strings.HasPrefix(line, "#") || math.IsNaN(value) {
		return "", nil, 0, false
	}
	name, rest, _ := strings.Cut(head, "{")
	labels = map[string]string{}
	for _, pair := range strings.Split(strings.TrimSuffix(rest, "}"), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			labels[k] = strings.Trim(v, `"`)
		}
	}
	return name, labels, value, true
}

type bucket struct{ le, count float64 }

// quantile is the upper end of the bucket that a share of all falls into, and 0
// without any; the last bucket has none, and gives the one before.
func quantile(buckets []bucket, q float64) float64 {
	if len(buckets) == 0 || buckets[len(buckets)-1].count == 0 {
		return 0
	}
	want, finite := q*buckets[len(buckets)-1].count, 0.0
	for _, b := range buckets {
		if !math.IsInf(b.le, 1) {
			finite = b.le
		}
		if b.count >= want {
			break
		}
	}
	return finite
}

// judge names the node's state, and what is to be done about it.
func (st *Status) judge(healthy bool) {
	set := func(name string) bool {
		v := st.Other["store_"+name]
		delete(st.Other, "store_"+name)
		return v != 0
	}
	low, full, repairing, lacking := set("low"), set("read_only"), set("repairing"), set("lacking")
	switch {
	case !healthy:
		st.State = "failed"
		st.advise("the node has failed and is about to end: look at its log and its disk")
	case repairing:
		st.State = "repairing"
		st.advise("the store was damaged and is being copied: look at the disk")
	case full:
		st.State = "full"
		st.advise("the disk is full: mailboxes can be read and nothing changes; make room, the node goes on by itself")
	case low:
		st.State = "low"
		st.advise("less than 512 MiB are free: nothing new is stored; make room, the node goes on by itself")
	case lacking:
		st.State = "lacking"
	default:
		st.State = "serving"
	}
	if lacking {
		st.advise("the store is not the one that was here last, or was repaired: it gets what it lacks from the other members; look at the log and the disk")
	}
	if st.Repairs > 0 && !repairing {
		st.advise("the store was repaired since the start: look at the disk, and remove the folder store.damaged")
	}
	switch {
	case st.Moving.Finished():
		st.advise("this node left the network and has handed over all mailboxes: it may be switched off")
	case !st.Moving.Listed:
		st.advise("this node left the network: keep it running until it has handed over its mailboxes")
	}
	if st.Forks > 0 {
		st.advise("the network's key has signed two directories with one serial: the folder " + forksDir + " holds the proof, which `sotto network show` prints; ask who signs")
	}
	if st.MembersAway*2 > st.Members {
		st.advise("most other members cannot be reached: without a majority no put is acknowledged; look at this node's network and clock")
	}
}
