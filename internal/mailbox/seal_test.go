package mailbox

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

func TestSealedRequestsAndReplies(t *testing.T) {
	w := newWorld(t)
	for name, req := range w.requests() {
		frame, opener, err := SealStamped(w.key.Cert(), w.stamp(), req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, sealer, err := w.key.OpenRequest(frame)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(req, got.Request); d != "" || got.Stamp != w.stamp() {
			t.Fatalf("%s differs: %s", name, d)
		}
		for name, resp := range w.responses() {
			back, err := opener.Open(must(sealer.Seal(resp)))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if d := cmp.Diff(resp, back); d != "" {
				t.Fatalf("%s differs: %s", name, d)
			}
		}
	}
}

func TestSealedFramesAreOrderedAndDirected(t *testing.T) {
	w := newWorld(t)
	frame, opener, err := SealRequest(rand.Reader, w.key.Cert(), w.now, w.subscribe())
	if err != nil {
		t.Fatal(err)
	}
	_, sealer, err := w.key.OpenRequest(frame)
	if err != nil {
		t.Fatal(err)
	}
	first, second := must(sealer.Seal(&Subscribed{})), must(sealer.Seal(&Deleted{}))
	if bytes.Equal(first[2:20], second[2:20]) {
		t.Fatal("two replies begin alike")
	}
	if _, err := opener.Open(second); !errors.Is(err, ErrOpen) {
		t.Fatalf("second before first: got %v", err)
	}
	if _, err := opener.Open(first); err != nil {
		t.Fatalf("after a wrong frame: %v", err)
	}
	if _, err := opener.Open(first); !errors.Is(err, ErrOpen) {
		t.Fatalf("first again: got %v", err)
	}
	prove, _ := w.prove()
	next := must(opener.SealNext(prove))
	if _, err := opener.Open(append([]byte{FrameReply}, next[1:]...)); !errors.Is(err, ErrOpen) {
		t.Fatalf("own frame as a reply: got %v", err)
	}
	if got := must(sealer.OpenNext(next)); cmp.Diff(Request(prove), got) != "" {
		t.Fatal("another proof came out")
	}
	if _, err := sealer.OpenNext(next); !errors.Is(err, ErrOpen) {
		t.Fatalf("proof replayed: got %v", err)
	}
	if _, err := sealer.OpenNext(first); !errors.Is(err, ErrFormat) {
		t.Fatalf("frame of another type: got %v", err)
	}
}

func TestOpenRequestRefuses(t *testing.T) {
	w := newWorld(t)
	frame, _, err := SealRequest(rand.Reader, w.key.Cert(), w.now, w.put())
	if err != nil {
		t.Fatal(err)
	}
	with := func(i int) []byte {
		b := bytes.Clone(frame)
		b[i] ^= 1
		return b
	}
	tests := map[string]struct {
		frame []byte
		want  error
	}{
		"empty":         {nil, ErrFormat},
		"type":          {append([]byte{FrameReply}, frame[1:]...), ErrFormat},
		"version":       {append([]byte{FrameSealed, 9}, frame[2:]...), ErrVersion},
		"epoch":         {with(9), ErrUnknownKey},
		"KEM part":      {with(sealedHead + 5), ErrOpen},
		"X25519 part":   {with(sealedHead + encSize - 1), ErrOpen},
		"ciphertext":    {with(sealedHead + encSize + 50), ErrOpen},
		"tag":           {with(len(frame) - 1), ErrOpen},
		"cut in enc":    {frame[:sealedHead+encSize-1], ErrFormat},
		"cut at enc":    {frame[:sealedHead+encSize], ErrOpen},
		"cut at end":    {frame[:len(frame)-1], ErrOpen},
		"a byte more":   {append(bytes.Clone(frame), 0), ErrOpen},
		"keys question": {KeysRequest(), ErrFormat},
	}
	for name, tc := range tests {
		if _, _, err := w.key.OpenRequest(tc.frame); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	other := must(NewRequestKey(newStream("other"), w.node, 7, w.now, w.now))
	if _, _, err := other.OpenRequest(frame); !errors.Is(err, ErrOpen) {
		t.Errorf("other key of the epoch: got %v", err)
	}
	w.key.Erase()
	if _, _, err := w.key.OpenRequest(frame); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("erased key: got %v", err)
	}
}

func TestSealRefusesAFetchWithoutItsStamp(t *testing.T) {
	w := newWorld(t)
	if _, _, err := SealRequest(rand.Reader, w.key.Cert(), w.now, w.fetch()); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v", err)
	}
	s := w.stamp()
	s.Node[0] ^= 1
	if _, _, err := SealStamped(w.key.Cert(), s, w.fetch()); !errors.Is(err, ErrFormat) {
		t.Errorf("stamp of another node: got %v", err)
	}
}

// A frame's length tells the step, not the content.
func TestSealedLengthsAreSteps(t *testing.T) {
	w := newWorld(t)
	lengths := map[int]bool{}
	for _, req := range []Request{&Quote{}, w.open(), w.subscribe(), w.fetch(), w.frontDoorFetch(), w.remove()} {
		frame, _, err := SealStamped(w.key.Cert(), w.stamp(), req)
		if err != nil {
			t.Fatal(err)
		}
		lengths[len(frame)] = true
	}
	if len(lengths) != 1 {
		t.Errorf("small requests have lengths %v", lengths)
	}
}

func TestRequestKeyCert(t *testing.T) {
	w := newWorld(t)
	cert := w.key.Cert()
	got := must(ParseKeysReply(KeysReply(cert)))
	if d := cmp.Diff(cert, got); d != "" {
		t.Fatal(d)
	}
	if err := got.Verify(w.nodeID(), w.now); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*RequestKeyCert)) *RequestKeyCert {
		c := must(ParseRequestKeyCert(cert.Encode()))
		f(c)
		return c
	}
	long := must(NewRequestKey(newStream("long"), w.node, 1, w.now, w.now.Add(2*MaxRequestKeyLife))).Cert()
	back := must(NewRequestKey(newStream("back"), w.node, 1, w.now.Add(time.Minute), w.now.Add(-time.Minute))).Cert()
	tests := map[string]struct {
		cert *RequestKeyCert
		node identity.NodeID
		now  time.Time
		want error
	}{
		"other node":     {cert, identity.NodeID{1}, w.now, ErrBadSignature},
		"too early":      {cert, w.nodeID(), w.now.Add(-2 * time.Hour), ErrExpired},
		"too late":       {cert, w.nodeID(), w.now.Add(2 * time.Hour), ErrExpired},
		"lives too long": {long, w.nodeID(), w.now, ErrExpired},
		"backward":       {back, w.nodeID(), w.now, ErrExpired},
		"other key":      {change(func(c *RequestKeyCert) { c.Public[0] ^= 1 }), w.nodeID(), w.now, ErrBadSignature},
		"other epoch":    {change(func(c *RequestKeyCert) { c.Epoch++ }), w.nodeID(), w.now, ErrBadSignature},
		"no key":         {change(func(c *RequestKeyCert) { c.Public = nil }), w.nodeID(), w.now, ErrBadSignature},
	}
	for name, tc := range tests {
		if err := tc.cert.Verify(tc.node, tc.now); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	enc := cert.Encode()
	for _, bad := range [][]byte{nil, enc[:100], append(bytes.Clone(enc), 1)} {
		if _, err := ParseRequestKeyCert(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: got %v", len(bad), err)
		}
	}
}

func TestReplayCache(t *testing.T) {
	w := newWorld(t)
	c := NewReplayCache(3)
	s := func(at time.Time, n byte) Stamp { return Stamp{Time: unix(at), Nonce: [StampNonceSize]byte{n}} }
	now := w.now
	steps := []struct {
		stamp Stamp
		now   time.Time
		want  error
	}{
		{s(now, 1), now, nil},
		{s(now, 1), now, ErrReplay},
		{s(now, 1), now.Add(MaxClockSkew), ErrReplay},
		{s(now, 2), now.Add(-MaxClockSkew), nil},
		{s(now, 3), now.Add(-MaxClockSkew - time.Second), ErrSkew},
		{s(now, 3), now.Add(MaxClockSkew + time.Second), ErrSkew},
		{s(now, 3), now, nil},
		{s(now, 4), now, ErrBusy},
		{s(now, 1), now, ErrReplay},
		{s(now.Add(5*time.Minute), 4), now.Add(5 * time.Minute), nil},
		{s(now.Add(5*time.Minute), 4), now.Add(5 * time.Minute), ErrReplay},
		{s(now, 1), now.Add(5 * time.Minute), ErrSkew},
	}
	for i, step := range steps {
		if err := c.Check(step.stamp, step.now); !errors.Is(err, step.want) {
			t.Errorf("step %d: got %v, want %v", i, err, step.want)
		}
	}
	if c.Len() != 1 {
		t.Errorf("%d remembered, want 1", c.Len())
	}
}

// An exit that sends a request twice gets two answers in one context, the second
// of them known to it: a refusal. That must not help it to read the first.
func TestReplayedRequestGivesNoKeystreamAway(t *testing.T) {
	w := newWorld(t)
	frame, opener, err := SealRequest(newStream("seal"), w.key.Cert(), w.now, w.put())
	if err != nil {
		t.Fatal(err)
	}
	answer := func(resp Response) (reply, ciphertext, plain []byte) {
		_, sealer, err := w.key.OpenRequest(frame)
		if err != nil {
			t.Fatal(err)
		}
		reply, plain = must(sealer.Seal(resp)), pad(nil, must(EncodeResponse(resp)))
		end := len(reply) - suite.TagSize
		return reply, reply[end-len(plain) : end], plain
	}
	reply, secret, want := answer(&Stored{Receipts: w.receipts(1)})
	_, refused, known := answer(Refuse(ErrReplay))
	recovered := make([]byte, min(len(secret), len(refused)))
	for i := range recovered {
		recovered[i] = secret[i] ^ refused[i] ^ known[i]
	}
	if run := longestRun(recovered, want); run > 4 {
		t.Errorf("%d bytes in a row of the first answer follow from the second", run)
	}
	if _, err := opener.Open(reply); err != nil {
		t.Error(err)
	}
}

// The seconds by which a client's clock is wrong are its own, and the same in
// all its requests.
func TestStampsHideTheSecondsOfAClock(t *testing.T) {
	minute := testNow.Truncate(time.Minute)
	for offset := -30 * time.Second; offset < 30*time.Second; offset += time.Second {
		s := must(NewStamp(newStream("stamp"), identity.NodeID{1}, minute.Add(offset)))
		if s.Time != unix(minute) {
			t.Fatalf("%v: stamp of %d, want %d", offset, s.Time, unix(minute))
		}
	}
}

// A clock that runs ahead and is set back makes the cache forget, but not
// accept again what it has forgotten.
func TestReplayCacheOutlivesAClockSetBack(t *testing.T) {
	now := testNow
	old := Stamp{Time: unix(now), Nonce: [StampNonceSize]byte{1}}
	c := NewReplayCache(10)
	for _, step := range []struct {
		stamp Stamp
		now   time.Time
		want  error
	}{
		{old, now, nil},
		{Stamp{Time: unix(now.Add(time.Hour))}, now.Add(time.Hour), nil},
		{old, now, ErrSkew},
		{Stamp{Time: unix(now.Add(time.Minute)), Nonce: [StampNonceSize]byte{2}}, now, nil},
	} {
		if err := c.Check(step.stamp, step.now); !errors.Is(err, step.want) {
			t.Errorf("stamp of %d at %d: got %v, want %v", step.stamp.Time, unix(step.now), err, step.want)
		}
	}
}

// However time goes on, no stamp that is accepted is accepted twice.
func TestReplayCacheNeverAcceptsTwice(t *testing.T) {
	c := NewReplayCache(1 << 16)
	start := testNow
	for offset := -MaxClockSkew; offset <= MaxClockSkew; offset += 7 * time.Second {
		s := Stamp{Time: unix(start.Add(offset)), Nonce: [StampNonceSize]byte{byte(offset / time.Second), byte(offset / (256 * time.Second)), 1}}
		if err := c.Check(s, start); err != nil {
			t.Fatal(err)
		}
		for d := time.Duration(0); d < 6*time.Minute; d += 5 * time.Second {
			if c.Check(s, start.Add(d)) == nil {
				t.Fatalf("stamp at %v accepted again after %v", offset, d)
			}
		}
		c = NewReplayCache(1 << 16)
	}
}
