package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sotto/internal/api"
	"sotto/internal/client"
	"sotto/internal/testnet"
)

const (
	testPassphrase = "seven horses in a row"
	// testWait bounds every wait; nothing normal takes this long.
	testWait = 90 * time.Second
)

// programPath is this program's, as script_test.go's TestMain lays it out.
func programPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("sotto")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startNetwork runs a network of processes for the test.
func startNetwork(t *testing.T, nodes, swarm int) (*testnet.Layout, *testnet.Processes) {
	t.Helper()
	l, err := testnet.Prepare(t.TempDir(), nodes, swarm)
	if err != nil {
		t.Fatal(err)
	}
	p, err := testnet.Up(t.Context(), l, programPath(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, p
}

// person is an account with a daemon of its own.
type person struct {
	*api.Remote
	t       *testing.T
	profile string
	cmd     *exec.Cmd
	done    chan struct{}
}

// newPerson makes an account and starts its daemon.
func newPerson(t *testing.T, l *testnet.Layout, name string) *person {
	t.Helper()
	p := &person{t: t, profile: filepath.Join(t.TempDir(), name)}
	if out, err := p.command("init", "--network", l.File(), "--name", name).CombinedOutput(); err != nil {
		t.Fatalf("sotto init: %v\n%s", err, out)
	}
	t.Cleanup(p.kill)
	p.start()
	return p
}

func (p *person) command(args ...string) *exec.Cmd {
	cmd := exec.Command(programPath(p.t), append([]string{"--profile", p.profile}, args...)...)
	cmd.Env = append(os.Environ(), passphraseEnv+"="+testPassphrase)
	return cmd
}

// start runs the daemon and waits until it answers.
func (p *person) start() {
	p.t.Helper()
	p.cmd = p.command("daemon")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	link, done := make(chan string, 1), make(chan struct{})
	p.done = done
	go func() {
		defer close(done)
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n') // the prefix below says whether it came
		link <- line
		_, _ = io.Copy(io.Discard, lines) // until the process ends
		_ = p.cmd.Wait()                  // killed on purpose
	}()
	if line := <-link; !strings.HasPrefix(line, "http://127.0.0.1:") {
		p.t.Fatalf("the daemon printed %q", line)
	}
	if p.Remote, err = api.Dial(p.t.Context(), p.profile); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the daemon as kill -9 does.
func (p *person) kill() {
	if p.done == nil {
		return // it did not start
	}
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.done
	if p.Remote != nil {
		p.Close()
	}
}

// get reads an endpoint of the daemon that commands do not use.
func (p *person) get(path string, out any) {
	p.t.Helper()
	e, err := api.ReadEndpointFile(p.profile)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, strings.TrimSuffix(e.URL, "/")+"/api/v1"+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+e.Token)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		p.t.Fatal(err)
	}
}

// events returns the daemon's events until the test's patience ends.
func (p *person) events() (<-chan client.Event, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(p.t.Context(), testWait)
	return p.Events(ctx), cancel
}

// send queues texts and returns their IDs.
func (p *person) send(to *person, texts ...string) []string {
	p.t.Helper()
	ids := make([]string, 0, len(texts))
	for _, text := range texts {
		m, err := p.Send(p.t.Context(), to.ID(), text)
		if err != nil {
			p.t.Fatal(err)
		}
		ids = append(ids, m.ID)
	}
	return ids
}

// numberedTexts returns prefix-from … prefix-to.
func numberedTexts(prefix string, from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}

// befriend makes two people contacts.
func befriend(a, b *person) {
	a.t.Helper()
	come, stop := b.events()
	defer stop()
	a.send(b, "first contact")
	awaitEvent(a.t, come, isIncoming)
	if err := b.Accept(a.t.Context(), a.ID()); err != nil {
		a.t.Fatal(err)
	}
	if _, err := b.Take(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

func isIncoming(e client.Event) bool {
	return e.Type == client.EventMessage && e.Message != nil && !e.Message.Outgoing
}

func awaitEvent(t *testing.T, events <-chan client.Event, ok func(client.Event) bool) client.Event {
	t.Helper()
	for e := range events {
		if ok(e) {
			return e
		}
	}
	t.Fatal("the event did not come in time")
	return client.Event{}
}

// expect takes messages until want has come, and fails if they come in another
// order, twice, or not at all.
func (p *person) expect(want []string) {
	p.t.Helper()
	come, stop := p.events()
	defer stop()
	for got := 0; ; {
		messages, err := p.Take(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range messages {
			if got == len(want) || m.Text != want[got] {
				p.t.Fatalf("message %d is %q, want %q", got+1, m.Text, append(want, "nothing")[got])
			}
			got++
		}
		if got == len(want) {
			return
		}
		awaitEvent(p.t, come, func(e client.Event) bool { return isIncoming(e) || e.Type == client.EventMissed })
	}
}

// awaitNothing waits until nothing is lacking any more.
func awaitNothing(t *testing.T, lacks func() string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.NewTimer(testWait)
	defer timeout.Stop()
	for {
		missing := lacks()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatal(missing)
		}
	}
}
