package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"

	"sotto/internal/client"
)

// Events returns what changes from now on, until ctx ends, the account is
// locked or the daemon stops; then the channel is closed. A channel that is
// closed at once says that the daemon does not answer.
func (r *Remote) Events(ctx context.Context) <-chan client.Event {
	out := make(chan client.Event)
	body, err := r.do(ctx, "GET", "/events", nil)
	if err != nil {
		close(out)
		return out
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxAnswer)
	// The stream begins with its status once the subscription stands.
	if e, ok := nextEvent(lines); !ok || e.State != client.StateReady {
		_ = body.Close()
		close(out)
		return out
	}
	go follow(ctx, body, lines, out)
	return out
}

// follow passes events on; it ends with ctx, which also ends the body.
func follow(ctx context.Context, body io.Closer, lines *bufio.Scanner, out chan<- client.Event) {
	defer close(out)
	defer body.Close()
	for {
		e, ok := nextEvent(lines)
		if !ok || e.Type == EventStatus && e.State != client.StateReady {
			return
		}
		if e.Type == EventStatus {
			continue
		}
		select {
		case out <- e.Event:
		case <-ctx.Done():
			return
		}
	}
}

// nextEvent reads to the next event; false is the end of the stream.
func nextEvent(lines *bufio.Scanner) (e Event, ok bool) {
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if found {
			return e, json.Unmarshal([]byte(data), &e) == nil
		}
	}
	return e, false
}
