package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"sotto/internal/client"
	"sotto/internal/testnet"
)

// The tests of this file kill real processes with SIGKILL while messages flow.

// TestMembersDie kills two of five members of the recipient's swarm in the
// middle of 200 messages, and then lets the two that came back stand alone.
func TestMembersDie(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes of a network of 15")
	}
	l, nodes := startNetwork(t, 15, 5)
	alice, bob := newPerson(t, l, "alice"), newPerson(t, l, "bob")
	befriend(alice, bob)
	swarm := busiestSwarm(t, l, func() {
		alice.send(bob, numberedTexts("probe", 1, 10)...)
		bob.expect(numberedTexts("probe", 1, 10))
	})
	t.Logf("the mailbox lies on nodes %v", swarm)

	texts := numberedTexts("m", 1, 200)
	states, stop := alice.events()
	ids := alice.send(bob, texts...)
	awaitStored(t, states, ids[40])
	stop()
	for _, i := range swarm[:2] {
		if err := nodes.Kill(i); err != nil {
			t.Fatal(err)
		}
	}
	bob.expect(texts)

	// While bob is away as well, 20 more go to the three that are left.
	bob.kill()
	states, stop = alice.events()
	texts = numberedTexts("n", 1, 20)
	ids = alice.send(bob, texts...)
	awaitStored(t, states, ids[len(ids)-1])
	stop()

	// The two return and catch up; then the three die, and the two serve alone.
	for _, i := range swarm[:2] {
		info, err := nodes.Restart(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		setMetrics(l, i, info.Metrics)
	}
	awaitEqual(t, l, swarm)
	for _, i := range swarm[2:] {
		if err := nodes.Kill(i); err != nil {
			t.Fatal(err)
		}
	}
	bob.start()
	bob.expect(texts)
}

// TestEndsDie kills the sender and then the recipient in the middle of 200
// messages.
func TestEndsDie(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes of a network of 15")
	}
	l, _ := startNetwork(t, 15, 5)
	alice, bob := newPerson(t, l, "alice"), newPerson(t, l, "bob")
	befriend(alice, bob)
	texts := numberedTexts("m", 1, 200)

	come, stop := bob.events()
	sent := make(chan int)
	go func() { sent <- sendUntilError(alice, bob, texts) }()
	awaitText(t, come, texts[60])
	stop()
	alice.kill()
	n := <-sent
	t.Logf("the sender died with message %d", n+1)

	come, stop = bob.events()
	alice.start()
	if n < len(texts) && alice.lastText(bob) == texts[n] {
		n++ // queued, and the daemon died before it could say so
	}
	go func() { sent <- n + sendUntilError(alice, bob, texts[n:]) }()
	awaitText(t, come, texts[140])
	stop()
	bob.kill()
	bob.start()
	if n := <-sent; n != len(texts) {
		t.Fatalf("%d of %d messages were queued", n, len(texts))
	}
	bob.expect(texts)
}

// sendUntilError queues texts one after the other and returns how many were.
func sendUntilError(from, to *person, texts []string) int {
	for i, text := range texts {
		if _, err := from.Send(from.t.Context(), to.ID(), text); err != nil {
			return i
		}
	}
	return len(texts)
}

func awaitText(t *testing.T, come <-chan client.Event, text string) {
	t.Helper()
	awaitEvent(t, come, func(e client.Event) bool { return isIncoming(e) && e.Message.Text == text })
}

// lastText returns the last text of the chat with somebody.
func (p *person) lastText(with *person) string {
	p.t.Helper()
	var answer struct{ Messages []client.Message }
	p.get("/chats/"+with.ID()+"/messages", &answer)
	if len(answer.Messages) == 0 {
		return ""
	}
	return answer.Messages[len(answer.Messages)-1].Text
}

// guardLimit is how soon after its guard's death a client must be heard again.
const guardLimit = 10 * time.Second

// TestGuardDies kills the guard that the sender uses.
func TestGuardDies(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes of a network of 15")
	}
	l, nodes := startNetwork(t, 15, 5)
	alice, bob := newPerson(t, l, "alice"), newPerson(t, l, "bob")
	befriend(alice, bob)
	alice.send(bob, "before")
	bob.expect([]string{"before"})

	guard := guardInUse(t, l, alice)
	if err := nodes.Kill(guard); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	alice.send(bob, "after")
	bob.expect([]string{"after"})
	if took := time.Since(killed); took > guardLimit {
		t.Errorf("the message took %v, at most %v", took, guardLimit)
	} else {
		t.Logf("the message arrived %v after node %d died", took.Round(time.Millisecond), guard)
	}
}

// awaitStored waits until a message is on a majority's disks.
func awaitStored(t *testing.T, states <-chan client.Event, id string) {
	t.Helper()
	awaitEvent(t, states, func(e client.Event) bool {
		return e.Message != nil && e.Message.ID == id && rank[e.Message.State] >= rank[client.MessageStored]
	})
}

// guardInUse returns the number of the node that most of p's circuits enter by.
func guardInUse(t *testing.T, l *testnet.Layout, p *person) int {
	t.Helper()
	var answer struct{ Paths []client.Path }
	p.get("/paths", &answer)
	count := make(map[string]int)
	best := ""
	for _, path := range answer.Paths {
		if count[path.Guard.ID]++; count[path.Guard.ID] > count[best] {
			best = path.Guard.ID
		}
	}
	for i, e := range l.Nodes {
		if e.Node.ID.String() == best {
			return i + 1
		}
	}
	t.Fatalf("no circuit names a guard: %+v", answer)
	return 0
}

// busiestSwarm returns the members (from 1) of the swarm that took the most puts
// while do ran.
func busiestSwarm(t *testing.T, l *testnet.Layout, do func()) []int {
	t.Helper()
	puts := func() map[int]float64 {
		out := make(map[int]float64)
		for i, e := range l.Nodes {
			out[int(e.Node.Swarm)] += metric(t, l, i+1, `sotto_swarm_requests_total{outcome="ok",request="put"}`)
		}
		return out
	}
	before := puts()
	do()
	best, most := -1, 0.0
	for swarm, n := range puts() {
		if n -= before[swarm]; n > most {
			best, most = swarm, n
		}
	}
	var members []int
	for i, e := range l.Nodes {
		if int(e.Node.Swarm) == best {
			members = append(members, i+1)
		}
	}
	return members
}

// awaitEqual waits until all members hold as many envelopes as one another.
func awaitEqual(t *testing.T, l *testnet.Layout, members []int) {
	t.Helper()
	awaitNothing(t, func() string {
		counts := make(map[float64][]int)
		for _, i := range members {
			n := metric(t, l, i, "sotto_swarm_envelopes")
			counts[n] = append(counts[n], i)
		}
		if len(counts) > 1 {
			return fmt.Sprintf("the members did not become equal; envelopes: %v", counts)
		}
		return ""
	})
}

func setMetrics(l *testnet.Layout, i int, address string) {
	id := l.Nodes[i-1].Node.ID
	p := l.Network.Processes[id]
	p.Metrics = address
	l.Network.Processes[id] = p
}

// metric reads one figure of node i's metrics; one that is not there yet is 0.
func metric(t *testing.T, l *testnet.Layout, i int, name string) float64 {
	t.Helper()
	address := l.Network.Processes[l.Nodes[i-1].Node.ID].Metrics
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(fmt.Errorf("metric %s: %w", name, err))
			}
			return v
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return 0
}
