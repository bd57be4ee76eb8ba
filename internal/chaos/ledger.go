package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"sotto/internal/client"
)

// ledger is what applications showed of each text. Texts are unique.
type ledger struct {
	mu    sync.Mutex // guards entries
	texts map[string]*entry
}

// entry is one text.
type entry struct {
	from, to int
	accepted bool // Send returned: it is in the sender's vault
	stored   bool // the sender's application showed it as stored, or further
	shown    int  // how often the recipient's application announced it

	// What histories hold at the end.
	sent     int
	state    string // at the sender
	received int
}

func newLedger() *ledger { return &ledger{texts: make(map[string]*entry)} }

// tried notes a text before it is sent; whether it was, its sender may not learn.
func (l *ledger) tried(text string, from, to int) {
	l.note(text, func(e *entry) { e.from, e.to = from, to })
}

func (l *ledger) accepted(text string) { l.note(text, func(e *entry) { e.accepted = true }) }

// event takes what the application of an account announces.
func (l *ledger) event(e client.Event) {
	switch m := e.Message; {
	case m == nil:
	case m.Outgoing && stored(m.State):
		l.note(m.Text, func(e *entry) { e.stored = true })
	case !m.Outgoing && e.Type == client.EventMessage:
		l.note(m.Text, func(e *entry) { e.shown++ })
	}
}

// stored reports whether a state says that a majority keeps a message, or more.
func stored(state string) bool {
	return slices.Contains([]string{client.MessageStored, client.MessageDelivered, client.MessageRead}, state)
}

func (l *ledger) note(text string, change func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.texts[text]
	if e == nil {
		e = &entry{}
		l.texts[text] = e
	}
	change(e)
}

// history begins the final count anew.
func (l *ledger) forgetHistory() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.texts {
		e.sent, e.received, e.state = 0, 0, ""
	}
}

// history takes one message of an account's history.
func (l *ledger) history(m client.Message) {
	l.note(m.Text, func(e *entry) {
		if m.Outgoing {
			e.sent++
			e.state = m.State
		} else {
			e.received++
		}
	})
}

// Messages are the figures of texts between accounts.
type Messages struct {
	Sent      int `json:"sent"` // in their senders' vaults
	Stored    int `json:"stored"`
	Delivered int `json:"delivered"`
	Lost      int `json:"lost"`     // acknowledged or accepted, and not with the recipient
	Repeated  int `json:"repeated"` // with the recipient or announced more than once
	Failed    int `json:"failed"`   // given up by their senders
	Strange   int `json:"strange"`  // that nobody sent
}

// count judges the ledger. It names up to some of what is not as it must be.
func (l *ledger) count() (m Messages, faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text, e := range l.texts {
		var what string
		if e.accepted || e.sent > 0 {
			m.Sent++
		}
		if e.stored || stored(e.state) {
			m.Stored++
		}
		if e.received > 0 {
			m.Delivered++
		}
		switch {
		case e.from == 0:
			m.Strange++
			what = "was sent by nobody"
		case e.received > 1 || e.shown > 1 || e.sent > 1:
			m.Repeated++
			what = fmt.Sprintf("is %d times in the recipient's history and was announced %d times", e.received, e.shown)
		case e.state == client.MessageFailed:
			m.Failed++
			what = "was given up"
		case e.received == 0 && (e.accepted || e.stored || e.sent > 0):
			m.Lost++
			what = fmt.Sprintf("did not arrive: accepted %v, shown as stored %v, in the end %q", e.accepted, e.stored, cmp.Or(e.state, "not in the sender's history"))
		case e.accepted && e.sent == 0:
			m.Lost++
			what = "is not in its sender's history"
		}
		if what != "" {
			faults = append(faults, fmt.Sprintf("%q of account %d to %d %s", text, e.from, e.to, what))
		}
	}
	slices.Sort(faults)
	return m, faults
}

func (m Messages) clean() bool { return m.Lost+m.Repeated+m.Failed+m.Strange == 0 }
