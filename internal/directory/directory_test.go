package directory_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/directory"
	"sotto/internal/identity"
	"sotto/internal/suite"
)

var created = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// stream is a deterministic source of randomness.
func stream(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func local(t testing.TB, nodes, swarm int) *directory.Network {
	t.Helper()
	n, _, err := directory.Local(directory.LocalConfig{
		Nodes: nodes, Swarm: swarm, Port: 4433, Created: created, Rand: stream(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func verified(t testing.TB, n *directory.Network) *directory.Directory {
	t.Helper()
	d, err := n.Directory()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNetworkFileComesBack(t *testing.T) {
	n := local(t, 15, 5)
	id := n.Document.Nodes[3].ID
	n.Processes = map[identity.NodeID]directory.Process{id: {PID: 77, Dir: "n4", Metrics: "127.0.0.1:9104"}}
	b, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := directory.ParseNetwork(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Fatal(diff)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("the file does not encode alike (%v)", err)
	}
}

func TestSignatureCoversEachField(t *testing.T) {
	n := local(t, 6, 5)
	changes := map[string]func(*directory.Network){
		"name": func(n *directory.Network) { n.Document.Name = "other" },
		"created": func(n *directory.Network) {
			n.Document.Created = n.Document.Created.Add(time.Second)
			n.Document.Issued = n.Document.Created
		},
		"serial": func(n *directory.Network) { n.Document.Serial++ },
		"issued": func(n *directory.Network) {
			n.Document.Serial, n.Document.Issued = 1, n.Document.Issued.Add(time.Second)
		},
		"operator": func(n *directory.Network) { n.Document.Nodes[0].Operator = "mallory" },
		"address": func(n *directory.Network) {
			n.Document.Nodes[0].Addr = netip.MustParseAddrPort("127.99.0.1:4433")
		},
		"port": func(n *directory.Network) {
			n.Document.Nodes[0].Addr = netip.AddrPortFrom(n.Document.Nodes[0].Addr.Addr(), 1)
		},
		"onion key": func(n *directory.Network) { n.Document.Nodes[0].OnionKey[5] ^= 1 },
		"id":        func(n *directory.Network) { n.Document.Nodes[0].ID[31] ^= 1 },
		"swarm":     func(n *directory.Network) { n.Document.Nodes[0].Swarm = 9 },
		"one less":  func(n *directory.Network) { n.Document.Nodes = n.Document.Nodes[1:] },
		"key":       func(n *directory.Network) { k, _ := suite.NewSigningKey(stream(9)); n.Key = k.Public() },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			c := *n
			c.Document.Nodes = append([]directory.Node(nil), n.Document.Nodes...)
			change(&c)
			b, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := directory.ParseNetwork(b); !errors.Is(err, directory.ErrSignature) {
				t.Fatalf("got %v, want ErrSignature", err)
			}
		})
	}
}

func TestParseNetworkRefuses(t *testing.T) {
	b, err := local(t, 6, 5).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	tests := map[string]struct {
		in   string
		want error
		text string
	}{
		"empty":           {"", directory.ErrInvalid, ""},
		"no version":      {"{}", directory.ErrInvalid, "no version"},
		"another version": {strings.Replace(good, `"version": 1`, `"version": 2`, 1), directory.ErrVersion, "2"},
		"unknown field":   {strings.Replace(good, `"network"`, `"netwerk"`, 1), directory.ErrInvalid, "netwerk"},
		"short key":       {strings.Replace(good, `"key": "`, `"key": "00`, 1), directory.ErrInvalid, "key"},
		"no port":         {strings.Replace(good, `127.1.0.1:4433`, `127.1.0.1`, 1), directory.ErrInvalid, "address"},
		"port 0":          {strings.Replace(good, `127.1.0.1:4433`, `127.1.0.1:0`, 1), directory.ErrInvalid, "port 0"},
		"a host name":     {strings.Replace(good, `127.1.0.1:4433`, `example.org:4433`, 1), directory.ErrInvalid, "address"},
		"mapped address":  {strings.Replace(good, `127.1.0.1:4433`, `[::ffff:127.1.0.1]:4433`, 1), directory.ErrInvalid, "IPv4"},
		"same address":    {strings.Replace(good, `127.1.0.1:4433`, `127.2.0.1:4433`, 1), directory.ErrInvalid, "another node"},
		"capitals":        {strings.Replace(good, `operator-1`, `Operator-1`, 1), directory.ErrInvalid, "operator"},
		"negative serial": {strings.Replace(good, `"serial": 0`, `"serial": -1`, 1), directory.ErrInvalid, "serial"},
		"inexact serial":  {strings.Replace(good, `"serial": 0`, `"serial": 9007199254740992`, 1), directory.ErrInvalid, "serial"},
		"issued later":    {strings.Replace(good, `"issued": "2026`, `"issued": "2027`, 1), directory.ErrInvalid, "genesis"},
		"not a time":      {strings.Replace(good, `"issued": "2026`, `"issued": "x`, 1), directory.ErrInvalid, "issued"},
		"negative swarm":  {strings.Replace(good, `"swarm": 0`, `"swarm": -1`, 1), directory.ErrInvalid, "swarm"},
		"trailing":        {good + "{}", directory.ErrInvalid, ""},
		"not utf-8 name":  {strings.Replace(good, `"local"`, "\"\xff\"", 1), directory.ErrInvalid, "name"},
		"too large":       {strings.Repeat(" ", directory.MaxNetworkFile) + good, directory.ErrInvalid, "at most"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := directory.ParseNetwork([]byte(tc.in))
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("got %v, want %v with %q", err, tc.want, tc.text)
			}
		})
	}
}

func TestDocumentRefusesSwarmsOverSize(t *testing.T) {
	n := local(t, 14, 7)
	key, _ := suite.NewSigningKey(stream(2))
	for i := range n.Document.Nodes {
		n.Document.Nodes[i].Swarm = 0
	}
	if _, err := directory.SignDocument(key, n.Document); !errors.Is(err, directory.ErrInvalid) {
		t.Fatalf("got %v, want ErrInvalid", err)
	}
}

func TestLocalSwarms(t *testing.T) {
	tests := []struct{ nodes, size, swarms, least, most int }{
		{15, 5, 3, 5, 5},
		{16, 5, 3, 5, 6},
		{14, 5, 2, 7, 7},
		{8, 5, 2, 4, 4}, // one swarm of 8 would be too large
		{6, 5, 1, 6, 6},
		{3, 5, 1, 3, 3},
		{250, 7, 36, 6, 7},
	}
	for _, tc := range tests {
		d := verified(t, local(t, tc.nodes, tc.size))
		ids := d.Swarms()
		if len(ids) != tc.swarms {
			t.Errorf("%d nodes by %d: %d swarms, want %d", tc.nodes, tc.size, len(ids), tc.swarms)
		}
		for _, id := range ids {
			if n := len(d.Swarm(id)); n < tc.least || n > tc.most {
				t.Errorf("%d nodes by %d: swarm %d has %d members", tc.nodes, tc.size, id, n)
			}
		}
	}
}

func TestEpochs(t *testing.T) {
	d := verified(t, local(t, 3, 5))
	for _, tc := range []struct {
		after time.Duration
		want  uint64
	}{{-time.Hour, 0}, {0, 0}, {time.Hour - 1, 0}, {time.Hour, 1}, {1000 * time.Hour, 1000}} {
		if got := d.Epoch(created.Add(tc.after)); got != tc.want {
			t.Errorf("epoch after %v is %d, want %d", tc.after, got, tc.want)
		}
	}
	if got := d.EpochStart(7); !got.Equal(created.Add(7 * time.Hour)) {
		t.Errorf("epoch 7 starts at %v", got)
	}
}

func TestFixedSource(t *testing.T) {
	n := local(t, 3, 5)
	d := verified(t, n)
	if directory.Fixed(d).Current() != d {
		t.Fatal("Fixed gives another directory")
	}
	node := n.Document.Nodes[1]
	if got, ok := d.Node(node.ID); !ok || got != node {
		t.Fatalf("got %v, %v", got, ok)
	}
	if _, ok := d.Node(identity.NodeID{}); ok {
		t.Fatal("found the zero node")
	}
	d.Nodes()[0].Operator = "mallory"
	if d.Nodes()[0].Operator == "mallory" {
		t.Fatal("a caller changed the directory")
	}
}
