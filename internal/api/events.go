package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"sotto/internal/client"
)

// EventStatus is the type of the event with which a stream begins and that
// follows each change of the profile's state.
const EventStatus = "status"

// Event is one event of the stream: a client's, or the profile's state.
type Event struct {
	client.Event
	State client.State `json:"state,omitempty"`
}

// events streams what changes until the reader leaves or the server stops
// (docs/api.md §5.7). It outlives locking: a stream opened by a locked app
// tells when it is unlocked.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		s.writeError(w, errBusy)
		return
	}
	if err := noDeadlines(w); err != nil {
		s.writeError(w, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	out := &stream{w: w, rc: http.NewResponseController(w)}
	for s.streamState(ctx, out) == nil {
	}
}

// streamState serves one state of the profile and returns nil at its end.
func (s *Server) streamState(ctx context.Context, out *stream) error {
	changed := s.states.next()
	// The subscription comes before the status that makes the app load
	// everything, so that nothing falls between the two.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var events <-chan client.Event
	if c, err := s.app.Client(); err == nil {
		events = c.Events(ctx)
	}
	status := Event{State: s.app.State()}
	status.Type = EventStatus
	if err := out.send(status); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stopped:
			return http.ErrServerClosed
		case <-changed:
			return nil
		case e, open := <-events:
			if !open {
				events = nil // locked: the change of state follows
				continue
			}
			if err := out.send(Event{Event: e}); err != nil {
				return err
			}
		case <-beat.C:
			if err := out.write(": \n\n"); err != nil {
				return err
			}
		}
	}
}

// stream writes server-sent events.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *stream) send(e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("api: encoding an event: %w", err)
	}
	return s.write("data: " + string(b) + "\n\n")
}

func (s *stream) write(text string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}
