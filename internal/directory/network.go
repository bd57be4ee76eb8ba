package directory

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// MaxNetworkFile bounds a network file: MaxNodes entries at about 800 bytes.
const MaxNetworkFile = 4 << 20

// maxProcessField bounds the unsigned strings of an entry: a file-system path.
const maxProcessField = 4096

// Network is a network file: a document, its signature, and unsigned hints
// about nodes that run on this machine (spec/directory.md §4.2).
type Network struct {
	Document  Document
	Key       suite.VerifyKey
	Signature suite.Signature
	// Processes holds the unsigned hints. Nothing but the commands that start
	// and watch local nodes may rely on them.
	Processes map[identity.NodeID]Process
}

// Process says where a node runs on this machine.
type Process struct {
	PID     int    // process ID
	Dir     string // the node's folder
	Metrics string // host and port of its metrics and health pages
}

// Directory verifies the signature and returns the directory.
func (n *Network) Directory() (*Directory, error) {
	b, err := n.Document.Encode()
	if err != nil {
		return nil, err
	}
	if !n.Key.Verify(labelDocument, b, n.Signature) {
		return nil, ErrSignature
	}
	return newDirectory(n, b), nil
}

// The file's form. Field names are the format's.
type fileJSON struct {
	Version   int        `json:"version"`
	Network   string     `json:"network"`
	Created   string     `json:"created"`
	Serial    uint64     `json:"serial"`
	Issued    string     `json:"issued"`
	Key       string     `json:"key"`
	Signature string     `json:"signature"`
	Nodes     []nodeJSON `json:"nodes"`
}

type nodeJSON struct {
	ID       string `json:"id"`
	Operator string `json:"operator"`
	Address  string `json:"address"`
	OnionKey string `json:"onion_key"`
	Swarm    uint16 `json:"swarm"`
	PID      int    `json:"pid,omitempty"`
	Dir      string `json:"dir,omitempty"`
	Metrics  string `json:"metrics,omitempty"`
}

// Encode returns the network file.
func (n *Network) Encode() ([]byte, error) {
	f := fileJSON{
		Version:   Version,
		Network:   n.Document.Name,
		Created:   n.Document.Created.UTC().Format(time.RFC3339),
		Serial:    n.Document.Serial,
		Issued:    n.Document.Issued.UTC().Format(time.RFC3339),
		Key:       n.Key.String(),
		Signature: hex.EncodeToString(n.Signature[:]),
		Nodes:     make([]nodeJSON, 0, len(n.Document.Nodes)),
	}
	for _, node := range n.Document.Nodes {
		p := n.Processes[node.ID]
		f.Nodes = append(f.Nodes, nodeJSON{
			ID:       node.ID.String(),
			Operator: node.Operator,
			Address:  node.Addr.String(),
			OnionKey: hex.EncodeToString(node.OnionKey[:]),
			Swarm:    uint16(node.Swarm),
			PID:      p.PID,
			Dir:      p.Dir,
			Metrics:  p.Metrics,
		})
	}
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// ParseNetwork parses a network file and verifies its signature. The errors
// wrap ErrVersion, ErrInvalid or ErrSignature.
func ParseNetwork(b []byte) (*Network, error) {
	if len(b) > MaxNetworkFile {
		return nil, fmt.Errorf("%w: file of %d bytes, at most %d", ErrInvalid, len(b), MaxNetworkFile)
	}
	f, err := decodeFile(b)
	if err != nil {
		return nil, err
	}
	n, err := f.network()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := n.Directory(); err != nil {
		return nil, err
	}
	return n, nil
}

// decodeFile reads the JSON: known fields only, one value, this version. The
// version is read first, so that another one is named as such.
func decodeFile(b []byte) (*fileJSON, error) {
	var v struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if v.Version == nil {
		return nil, fmt.Errorf("%w: no version", ErrInvalid)
	}
	if *v.Version != Version {
		return nil, fmt.Errorf("%w %d of the network file", ErrVersion, *v.Version)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var f fileJSON
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more after the network", ErrInvalid)
	}
	return &f, nil
}

// network converts the file's fields.
func (f *fileJSON) network() (*Network, error) {
	created, err := parseTime(f.Created)
	if err != nil {
		return nil, fmt.Errorf("created: %w", err)
	}
	issued, err := parseTime(f.Issued)
	if err != nil {
		return nil, fmt.Errorf("issued: %w", err)
	}
	n := &Network{
		Document:  Document{Name: f.Network, Created: created, Serial: f.Serial, Issued: issued},
		Processes: make(map[identity.NodeID]Process),
	}
	if err := decodeHex(n.Key[:], f.Key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if err := decodeHex(n.Signature[:], f.Signature); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if len(f.Nodes) > MaxNodes {
		return nil, fmt.Errorf("%d nodes, at most %d", len(f.Nodes), MaxNodes)
	}
	for i := range f.Nodes {
		node, process, err := f.Nodes[i].node()
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		n.Document.Nodes = append(n.Document.Nodes, node)
		if process != (Process{}) {
			n.Processes[node.ID] = process
		}
	}
	return n, nil
}

// parseTime reads a time of whole seconds.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err == nil && t.Nanosecond() != 0 {
		err = errors.New("not a whole second")
	}
	return t.UTC(), err
}

func (j *nodeJSON) node() (Node, Process, error) {
	n := Node{Operator: j.Operator, Swarm: SwarmID(j.Swarm)}
	p := Process{PID: j.PID, Dir: j.Dir, Metrics: j.Metrics}
	if err := decodeHex(n.ID[:], j.ID); err != nil {
		return n, p, fmt.Errorf("id: %w", err)
	}
	if err := decodeHex(n.OnionKey[:], j.OnionKey); err != nil {
		return n, p, fmt.Errorf("onion_key: %w", err)
	}
	addr, err := netip.ParseAddrPort(j.Address)
	if err != nil {
		return n, p, fmt.Errorf("address: %w", err)
	}
	n.Addr = addr
	if j.PID < 0 || len(j.Dir) > maxProcessField || len(j.Metrics) > maxProcessField {
		return n, p, errors.New("pid, dir or metrics out of bounds")
	}
	return n, p, nil
}

// decodeHex fills dst with s, which must have exactly its size.
func decodeHex(dst []byte, s string) error {
	if len(s) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("%d characters, want %d in hex", len(s), hex.EncodedLen(len(dst)))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}
