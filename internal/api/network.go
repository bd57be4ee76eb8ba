package api

import (
	"context"
	"net/http"
	"time"

	"sotto/internal/client"
)

// Path is a circuit as GET /paths shows it.
type Path struct {
	ID      string     `json:"id"`
	Purpose string     `json:"purpose"`
	State   string     `json:"state"`
	Guard   client.Hop `json:"guard"`
	Middle  client.Hop `json:"middle"`
	Exit    client.Hop `json:"exit"`
	BuiltAt time.Time  `json:"built_at"`
	RTT     float64    `json:"rtt_ms"`
	Streams int        `json:"streams"`
}

func paths(c Client, _ http.ResponseWriter, _ *http.Request) (any, error) {
	list := []Path{}
	for _, p := range c.Paths() {
		list = append(list, Path{
			p.ID, p.Purpose, p.State, p.Guard, p.Middle, p.Exit, p.BuiltAt,
			float64(p.RTT) / float64(time.Millisecond), p.Streams,
		})
	}
	return map[string][]Path{"paths": list}, nil
}

func renew(c Client, _ http.ResponseWriter, _ *http.Request) (any, error) {
	c.NewPath()
	return nil, nil
}

func connection(c Client, _ http.ResponseWriter, _ *http.Request) (any, error) {
	return c.Connection(), nil
}

// Members is the answer of GET /members.
type Members struct {
	Faults []client.MemberFault `json:"faults"`
}

func members(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	faults, err := c.MemberFaults(r.Context())
	return Members{faults}, err
}

// MemberFaults returns the nodes that kept messages back.
func (r *Remote) MemberFaults(ctx context.Context) ([]client.MemberFault, error) {
	var a Members
	err := r.call(ctx, "GET", "/members", nil, &a)
	return a.Faults, err
}

// Forks is the answer of GET /forks.
type Forks struct {
	Forks []client.DirectoryFork `json:"forks"`
}

func forks(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := c.Forks(r.Context())
	return Forks{list}, err
}

// Forks returns the proofs that the network's key signed two directories with
// one serial.
func (r *Remote) Forks(ctx context.Context) ([]client.DirectoryFork, error) {
	var a Forks
	err := r.call(ctx, "GET", "/forks", nil, &a)
	return a.Forks, err
}

// ForgetForks removes them.
func (r *Remote) ForgetForks(ctx context.Context) error {
	return r.call(ctx, "POST", "/forks/forget", nil, nil)
}
