package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// EndpointFile is the file in a profile by which its owner's commands find
// the daemon (docs/api.md §4).
const EndpointFile = "daemon.json"

// maxEndpoint bounds the file; it has about 150 bytes.
const maxEndpoint = 4096

var (
	// ErrNoDaemon is returned when no daemon has left an endpoint, or none
	// answers at it.
	ErrNoDaemon = errors.New("api: no daemon runs on this profile")
	// ErrEndpointMode is returned for an endpoint file that others may read or
	// write: its token is then nobody's secret.
	ErrEndpointMode = errors.New("api: " + EndpointFile + " is open to other users; remove it and start the daemon again")
)

// Endpoint says where a profile's daemon listens and what admits to it.
type Endpoint struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	PID   int    `json:"pid"`
}

// Endpoint returns what a command needs to reach the server.
func (s *Server) Endpoint() Endpoint {
	return Endpoint{URL: s.URL(), Token: s.token.Reveal(), PID: os.Getpid()}
}

// WriteEndpointFile leaves the endpoint in a profile's directory, readable by
// its owner only, in one step.
func WriteEndpointFile(dir string, e Endpoint) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("api: encoding the endpoint: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+EndpointFile+"-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("api: writing the endpoint: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, EndpointFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("api: writing the endpoint: %w", err)
	}
	return nil
}

// ReadEndpointFile returns the endpoint that a daemon left; ErrNoDaemon says
// that there is none. The daemon may have died since.
func ReadEndpointFile(dir string) (Endpoint, error) {
	f, err := os.Open(filepath.Join(dir, EndpointFile))
	if errors.Is(err, os.ErrNotExist) {
		return Endpoint{}, ErrNoDaemon
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("api: reading the endpoint: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Endpoint{}, fmt.Errorf("api: reading the endpoint: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Endpoint{}, ErrEndpointMode
	}
	b, err := io.ReadAll(io.LimitReader(f, maxEndpoint))
	if err != nil {
		return Endpoint{}, fmt.Errorf("api: reading the endpoint: %w", err)
	}
	var e Endpoint
	if err := json.Unmarshal(b, &e); err != nil {
		return Endpoint{}, fmt.Errorf("api: %s is malformed", EndpointFile)
	}
	return e, nil
}

// RemoveEndpointFile takes back the endpoint when the daemon stops, unless
// another daemon has left its own since.
func RemoveEndpointFile(dir string, mine Endpoint) error {
	e, err := ReadEndpointFile(dir)
	if err != nil || e != mine {
		return nil
	}
	return os.Remove(filepath.Join(dir, EndpointFile))
}
