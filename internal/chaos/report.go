package chaos

import (
	"fmt"
	"strings"
)

// Report is what came of a run.
type Report struct {
	Seed       uint64        `json:"seed"`
	Seconds    float64       `json:"seconds"`
	Nodes      int           `json:"nodes"`
	Swarms     int           `json:"swarms"`
	Accounts   int           `json:"accounts"`
	Messages   Messages      `json:"messages"`
	Puts       Puts          `json:"puts"`
	Faults     map[Fault]int `json:"faults"`
	Majorities int           `json:"majorities"` // times that a swarm lost its majority
	// SettledAfter is how many seconds everything took to be as it must be.
	SettledAfter float64  `json:"settled_after_s"`
	Inboxes      *Inboxes `json:"inboxes,omitempty"`
	Changes      *Changes `json:"changes,omitempty"`
	Quorum       *Quorum  `json:"quorum,omitempty"`
	Carried      *Carried `json:"carried,omitempty"`
	Expiry       *Expiry  `json:"expiry,omitempty"`
	Problems     []string `json:"problems,omitempty"`
}

// Puts are the figures of the probers, who speak to members directly. A copy is
// one envelope at one member.
type Puts struct {
	Acknowledged int `json:"acknowledged"`
	Refused      int `json:"refused"` // or not answered
	Deleted      int `json:"deleted"`
	False        int `json:"false"`    // acknowledged without a majority's receipts
	Lost         int `json:"lost"`     // copies of acknowledged ones that are missing
	Returned     int `json:"returned"` // copies of deleted ones that are there
	Repeated     int `json:"repeated"`
	Unread       int `json:"unread"` // members that did not answer in the end
}

func (p *Puts) add(f auditFault) {
	p.Lost += f.lost
	p.Returned += f.returned
	p.Repeated += f.repeated + f.foreign
	if f.err != nil {
		p.Unread++
	}
}

// Good reports whether nothing was lost, repeated or brought back, and nothing
// else went wrong.
func (r *Report) Good() bool {
	return len(r.Problems) == 0 && r.Messages.clean() && r.Puts.Lost+r.Puts.Returned+r.Puts.Repeated+r.Puts.False+r.Puts.Unread == 0 &&
		(r.Inboxes == nil || r.Inboxes.Left == 0) &&
		(r.Expiry == nil || r.Expiry.clean())
}

// String is the report for a person.
func (r *Report) String() string {
	var b strings.Builder
	line := func(name, format string, a ...any) {
		fmt.Fprintf(&b, "%-9s "+format+"\n", append([]any{name}, a...)...)
	}
	line("run", "%.0f s, seed %d, %d nodes in %d swarms, %d accounts", r.Seconds, r.Seed, r.Nodes, r.Swarms, r.Accounts)
	m, p := r.Messages, r.Puts
	line("messages", "%d sent, %d stored, %d delivered, lost = %d, repeated = %d, given up = %d", m.Sent, m.Stored, m.Delivered, m.Lost, m.Repeated+m.Strange, m.Failed)
	line("puts", "%d acknowledged, %d refused, %d deleted, lost = %d, repeated = %d, brought back = %d, falsely acknowledged = %d",
		p.Acknowledged, p.Refused, p.Deleted, p.Lost, p.Repeated, p.Returned, p.False)
	if in := r.Inboxes; in != nil {
		line("mailboxes", "%d of the accounts read anew at all members, delivered again = %d", in.Read, in.Left)
	}
	var faults []string
	total := 0
	for _, f := range Faults {
		total += r.Faults[f]
		faults = append(faults, fmt.Sprintf("%s %d", f, r.Faults[f]))
	}
	line("faults", "%d: %s; %d times a swarm without a majority", total, strings.Join(faults, ", "), r.Majorities)
	if c := r.Changes; c != nil {
		line("nodes", "%d joined, %d left and %d changed swarms, in %d directories; %d swarms made, %d dissolved",
			c.Joined, c.Left, c.Moved, c.Directories, c.Created, c.Dissolved)
	}
	line("settled", "after %.1f s", r.SettledAfter)
	if q := r.Quorum; q != nil {
		line("put p95", "%.1f ms; with %d of %d members killed %.1f ms (× %.2f), stopped %.1f ms (× %.2f)",
			q.Healthy, q.Away, q.Members, q.Killed, q.KilledRatio, q.Stopped, q.StoppedRatio)
	}
	if c := r.Carried; c != nil {
		line("moving", "%d envelopes got by a node in %.1f s; %d requests meanwhile, p95 of puts %.1f ms (× %.2f), of fetches %.1f ms (× %.2f)",
			c.Envelopes, c.Seconds, c.Requests, c.Put, c.PutRatio, c.Fetch, c.FetchRatio)
	}
	if e := r.Expiry; e != nil {
		line("files", "%d copies found alive (missing = %d); %d deleted and %d expired, left = %d after %.0f s",
			e.Copies, e.Missing, e.Deleted, e.Expired, e.Left, e.After)
	}
	for _, what := range r.Problems {
		line("PROBLEM", "%s", what)
	}
	return b.String()
}
