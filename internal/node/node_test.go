package node

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sotto/internal/directory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDir lays out the folder of a node that is alone in its network.
func newDir(t *testing.T) string {
	t.Helper()
	network, nodes, err := directory.Local(directory.LocalConfig{
		Nodes: 1, Swarm: 1, Port: freePort(t, 1), Created: time.Now(), Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := network.Encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "node")
	if err := WriteDir(dir, Keys{Identity: nodes[0].Identity, Onion: nodes[0].Onion}, b); err != nil {
		t.Fatal(err)
	}
	return dir
}

// freePort returns a port that is free at the addresses of so many nodes.
func freePort(t *testing.T, nodes int) uint16 {
	t.Helper()
	var last error
	for range 100 { // drawn anew while somebody has it at another address
		port := uint16(0)
		var conns []io.Closer
		for i := 1; i <= nodes; i++ {
			var c *net.UDPConn
			if c, last = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, byte(i), 0, 1), Port: int(port)}); last != nil {
				break
			}
			conns = append(conns, c)
			port = uint16(c.LocalAddr().(*net.UDPAddr).Port)
		}
		for _, c := range conns {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if last == nil {
			return port
		}
	}
	t.Fatal(last)
	return 0
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestNodeServesAndStops(t *testing.T) {
	dir := newDir(t)
	n, err := Start(Config{Dir: dir, Metrics: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := ReadRunInfo(dir)
	if err != nil || info.PID != os.Getpid() || info.Metrics != n.MetricsAddr() {
		t.Errorf("run info %+v, %v", info, err)
	}
	if status, body := get(t, "http://"+info.Metrics+"/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", status, body)
	}
	status, body := get(t, "http://"+info.Metrics+"/metrics")
	for _, want := range []string{"sotto_relay_circuits_open", "sotto_swarm_envelopes", "sotto_swarm_subscriptions"} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("metrics: %d without %s", status, want)
		}
	}
	if _, err := Start(Config{Dir: dir}); err == nil {
		t.Error("a second node started in the same folder")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	n, err = Start(Config{Dir: dir})
	if err != nil {
		t.Fatalf("starting again: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestFailedRoomIsTold(t *testing.T) {
	n, err := Start(Config{Dir: newDir(t), Metrics: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	broken := errors.New("disk refuses")
	n.ended("swarm", broken)
	n.ended("relay", io.ErrUnexpectedEOF)
	if err := <-n.Failed(); !errors.Is(err, broken) {
		t.Errorf("got %v, want the first failure", err)
	}
	if status, _ := get(t, "http://"+n.MetricsAddr()+"/healthz"); status != http.StatusServiceUnavailable {
		t.Errorf("healthz after a failure: %d", status)
	}
}

func TestDirRefuses(t *testing.T) {
	dir := newDir(t)
	keys, err := ReadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteDir(dir, keys, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwriting an identity: %v", err)
	}
	if _, err := Start(Config{Dir: dir, Metrics: "0.0.0.0:0"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("metrics for everyone: %v", err)
	}
	if _, err := Start(Config{Dir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	secret := strings.Repeat("zz", 32)
	if err := os.WriteFile(filepath.Join(dir, onionFile), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{Dir: dir}); err == nil || strings.Contains(err.Error(), "zz") {
		t.Errorf("malformed key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, networkFile), make([]byte, directory.MaxNetworkFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{Dir: dir}); err == nil {
		t.Error("an oversized directory was read")
	}
}
