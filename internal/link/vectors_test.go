package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/quic-go/quic-go"

	"sotto/internal/directory"
	"sotto/internal/suite"
)

var update = flag.Bool("update", false, "write spec/vectors/link.json anew")

// vectors is spec/vectors/link.json (spec/link.md §8).
type vectors struct {
	Protocols   []string `json:"protocols"`
	Seed        string   `json:"seed"`
	NodeID      string   `json:"node_id"`
	Certificate string   `json:"certificate"`
	ResetKey    string   `json:"stateless_reset_key"`
	// Refused are certificate messages that no node presents.
	Refused []refusedCertificates `json:"refused_certificates"`
	// Handshakes end with these codes of CONNECTION_CLOSE, by who sends it.
	Handshakes []refusedHandshake `json:"refused_handshakes"`
}

type refusedCertificates struct {
	Why          string   `json:"why"`
	Certificates []string `json:"certificates"`
}

type refusedHandshake struct {
	Why  string `json:"why"`
	By   string `json:"by"`
	Code uint64 `json:"code"`
}

func TestVectors(t *testing.T) {
	path := filepath.Join("..", "..", "spec", "vectors", "link.json")
	if *update {
		writeVectors(t, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, ours(t, v)); diff != "" {
		t.Error(diff)
	}
	for _, r := range v.Refused {
		var certs []*x509.Certificate
		for _, c := range r.Certificates {
			cert, err := x509.ParseCertificate(unhex(t, c))
			if err != nil {
				t.Fatal(err)
			}
			certs = append(certs, cert)
		}
		if _, err := certifiedNode(certs); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s: got %v, want ErrIdentity", r.Why, err)
		}
	}
}

// ours makes of v's seed and refusals what this package makes of them.
func ours(t *testing.T, v vectors) vectors {
	t.Helper()
	key, err := suite.SigningKeyFrom(unhex(t, v.Seed))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := selfSigned(key)
	if err != nil {
		t.Fatal(err)
	}
	id := key.Public()
	v.Protocols = []string{ProtocolCells, ProtocolService}
	v.NodeID = hex.EncodeToString(id[:])
	v.Certificate = hex.EncodeToString(cert.Certificate[0])
	v.ResetKey = hex.EncodeToString(resetKey(key))
	v.Handshakes = refusals(t)
	return v
}

func writeVectors(t *testing.T, path string) {
	t.Helper()
	seed := make([]byte, 32)
	for i := range seed {
		seed[i] = byte(i)
	}
	v := ours(t, vectors{Seed: hex.EncodeToString(seed)})
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: certNotBefore, NotAfter: certNotAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, foreign.Public(), foreign)
	if err != nil {
		t.Fatal(err)
	}
	v.Refused = []refusedCertificates{
		{"none", []string{}},
		{"two, though equal", []string{v.Certificate, v.Certificate}},
		{"a key that is not Ed25519", []string{hex.EncodeToString(der)}},
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// refusals makes each handshake that is refused, and returns how it ended.
func refusals(t *testing.T) []refusedHandshake {
	t.Helper()
	w := newWorld(t, 2, nil)
	b, node := w.node(1)
	client := w.client()
	var rand seeds = 99
	key, err := suite.NewSigningKey(&rand)
	if err != nil {
		t.Fatal(err)
	}
	stranger := w.endpoint(netip.MustParseAddrPort("127.0.0.1:0"), key)
	defer closeAll(t, client, stranger, b)
	other := node
	other.ID = w.nodes[0].Node.ID
	same := func(*tls.Config) {}
	var out []refusedHandshake
	for _, h := range []struct {
		why      string
		from     *Endpoint
		to       directory.Node
		protocol string
		change   func(*tls.Config)
	}{
		{"the listener is not the node that was dialled", client, other, ProtocolCells, same},
		{"the dialler's certificate is no node's", stranger, node, ProtocolCells, same},
		{"a client asks for the service protocol", client, node, ProtocolService, same},
		{"no protocol in common", client, node, ProtocolCells, func(c *tls.Config) { c.NextProtos = []string{"sotto-link/2"} }},
		{"a classical key exchange", client, node, ProtocolCells, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }},
	} {
		conf := h.from.dialTLS(h.protocol, h.to.ID, netip.Addr{})
		h.change(conf)
		conn, err := h.from.first.transport.Dial(timeout(t), net.UDPAddrFromAddrPort(h.to.Addr), conf, dialConfig())
		if err == nil {
			<-conn.Context().Done()
			_, err = conn.AcceptStream(timeout(t))
		}
		var refused *quic.TransportError
		if !errors.As(err, &refused) {
			t.Fatalf("%s: got %v, want a TLS alert", h.why, err)
		}
		by := "dialler"
		if refused.Remote {
			by = "listener"
		}
		out = append(out, refusedHandshake{h.why, by, uint64(refused.ErrorCode)})
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
