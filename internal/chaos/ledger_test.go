package chaos

import (
	"testing"

	"sotto/internal/client"
	"sotto/internal/mailbox"
)

// told is a text's way through the applications, as they tell it.
type told struct {
	accepted bool
	events   []client.Event
	history  []client.Message
}

func out(state string) client.Message {
	return client.Message{Outgoing: true, Text: "a", State: state}
}

func in() client.Message { return client.Message{Text: "a", State: client.MessageReceived} }

func announced(m client.Message) client.Event {
	return client.Event{Type: client.EventMessage, Message: &m}
}

func became(m client.Message) client.Event {
	return client.Event{Type: client.EventState, Message: &m}
}

// TestLedger: the checker sees each kind of fault, and none where there is none.
func TestLedger(t *testing.T) {
	queued, kept, delivered, failed := out(client.MessageQueued), out(client.MessageStored), out(client.MessageDelivered), out(client.MessageFailed)
	for name, c := range map[string]struct {
		told
		want Messages
	}{
		"arrived": {
			told{true, []client.Event{announced(queued), became(kept), announced(in()), became(delivered)}, []client.Message{delivered, in()}},
			Messages{Sent: 1, Stored: 1, Delivered: 1},
		},
		"arrived unannounced": {told{true, nil, []client.Message{kept, in()}}, Messages{Sent: 1, Stored: 1, Delivered: 1}},
		"never sent":          {told{}, Messages{}},
		"sent by one who did not learn": {
			told{false, nil, []client.Message{kept, in()}}, Messages{Sent: 1, Stored: 1, Delivered: 1},
		},
		"acknowledged and lost": {told{true, []client.Event{became(kept)}, []client.Message{kept}}, Messages{Sent: 1, Stored: 1, Lost: 1}},
		"acknowledged, then forgotten": {
			told{true, []client.Event{became(kept)}, []client.Message{queued}}, Messages{Sent: 1, Stored: 1, Lost: 1},
		},
		"accepted and lost":          {told{true, nil, []client.Message{queued}}, Messages{Sent: 1, Lost: 1}},
		"lost by its sender":         {told{true, nil, []client.Message{in()}}, Messages{Sent: 1, Delivered: 1, Lost: 1}},
		"delivered twice":            {told{true, nil, []client.Message{kept, in(), in()}}, Messages{Sent: 1, Stored: 1, Delivered: 1, Repeated: 1}},
		"announced twice":            {told{true, []client.Event{announced(in()), announced(in())}, []client.Message{kept, in()}}, Messages{Sent: 1, Stored: 1, Delivered: 1, Repeated: 1}},
		"given up":                   {told{true, nil, []client.Message{failed}}, Messages{Sent: 1, Failed: 1}},
		"sent again by its sender":   {told{true, nil, []client.Message{kept, kept, in()}}, Messages{Sent: 1, Stored: 1, Delivered: 1, Repeated: 1}},
		"changed state when it came": {told{true, []client.Event{announced(in()), became(in())}, []client.Message{kept, in()}}, Messages{Sent: 1, Stored: 1, Delivered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			l.tried("a", 1, 2)
			if c.accepted {
				l.accepted("a")
			}
			for _, e := range c.events {
				l.event(e)
			}
			for range 2 { // a second look counts anew
				l.forgetHistory()
				for _, m := range c.history {
					l.history(m)
				}
			}
			got, faults := l.count()
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.clean() != (len(faults) == 0) {
				t.Errorf("%+v with %q", got, faults)
			}
		})
	}
	l := newLedger()
	l.history(in())
	if got, _ := l.count(); got.Strange != 1 {
		t.Errorf("a text of nobody's: %+v", got)
	}
}

// TestJudge: an audit sees what a member lacks, and what it should not have.
func TestJudge(t *testing.T) {
	d := func(n byte) mailbox.Digest { return mailbox.Digest{n} }
	b := &probed{envelopes: []*envelope{
		{digest: d(1), put: acked},
		{digest: d(2), put: acked, deleted: acked},
		{digest: d(3), put: unknown},
		{digest: d(4), put: acked, deleted: unknown},
		{digest: d(5), put: unknown, deleted: acked},
	}}
	for name, c := range map[string]struct {
		held map[mailbox.Digest]int
		want auditFault
	}{
		"all that must":      {map[mailbox.Digest]int{d(1): 1}, auditFault{}},
		"all that may":       {map[mailbox.Digest]int{d(1): 1, d(3): 1, d(4): 1}, auditFault{}},
		"lost":               {map[mailbox.Digest]int{d(3): 1}, auditFault{lost: 1}},
		"returned":           {map[mailbox.Digest]int{d(1): 1, d(2): 1}, auditFault{returned: 1}},
		"came after it went": {map[mailbox.Digest]int{d(1): 1, d(5): 1}, auditFault{returned: 1}},
		"repeated":           {map[mailbox.Digest]int{d(1): 2}, auditFault{repeated: 1}},
		"foreign":            {map[mailbox.Digest]int{d(1): 1, d(9): 1}, auditFault{foreign: 1}},
	} {
		if got := b.judge(c.held); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
