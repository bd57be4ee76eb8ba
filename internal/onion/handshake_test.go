package onion

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"errors"
	"testing"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// counting is a source of fixed bytes for tests.
type counting byte

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		*c = *c*5 + 13
		p[i] = byte(*c)
	}
	return len(p), nil
}

// testRelay is a relay's identity and onion key, different for each n.
func testRelay(t testing.TB, n byte) (identity.NodeID, suite.DHPrivate) {
	t.Helper()
	secret := bytes.Repeat([]byte{n + 1}, suite.DHSize)
	return identity.NodeID(bytes.Repeat([]byte{n + 100}, identity.NodeIDSize)), dhKey(t, secret)
}

// fixedKEM encapsulates with the randomness m, so that CREATED repeats.
func fixedKEM(m []byte) encapsulator {
	return func(k suite.KEMPublic) (shared, ciphertext []byte, err error) {
		ek, err := mlkem.NewEncapsulationKey768(k[:])
		if err != nil {
			return nil, nil, err
		}
		return mlkemtest.Encapsulate768(ek, m)
	}
}

func echoReply(_ Class, message []byte) ([]byte, error) { return message, nil }

func startTest(t testing.TB, class Class, message []byte) (*ClientHandshake, []byte) {
	t.Helper()
	id, secret := testRelay(t, 0)
	state, create, err := StartHandshake(new(counting), id, secret.Public(), class, message)
	if err != nil {
		t.Fatal(err)
	}
	return state, create
}

func answerTest(create []byte, reply Reply, t testing.TB) ([]byte, *Keys, error) {
	id, secret := testRelay(t, 0)
	return answerHandshake(new(counting), fixedKEM(make([]byte, 32)), id, secret, create, reply)
}

func TestHandshake(t *testing.T) {
	state, create := startTest(t, ClassStream, []byte("from the client"))
	var seen string
	created, serverKeys, err := answerTest(create, func(class Class, message []byte) ([]byte, error) {
		seen = string(message)
		return []byte("from the relay"), nil
	}, t)
	if err != nil {
		t.Fatal(err)
	}
	clientKeys, message, err := state.Finish(created)
	if err != nil {
		t.Fatal(err)
	}
	if seen != "from the client" || string(message) != "from the relay" {
		t.Fatalf("messages %q and %q", seen, message)
	}
	if len(create) != HandshakeSize || len(created) != HandshakeSize {
		t.Fatalf("CREATE has %d bytes, CREATED %d, want %d", len(create), len(created), HandshakeSize)
	}
	if clientKeys.forward != serverKeys.forward || clientKeys.backward != serverKeys.backward {
		t.Fatal("the two ends have different keys")
	}
	if clientKeys.forward == clientKeys.backward {
		t.Fatal("both directions have the same keys")
	}
}

func TestHandshakeMessageBounds(t *testing.T) {
	id, secret := testRelay(t, 0)
	if _, _, err := StartHandshake(new(counting), id, secret.Public(), ClassStream, make([]byte, MaxClientMessage+1)); !errors.Is(err, ErrMessageTooLong) {
		t.Errorf("client: got %v, want ErrMessageTooLong", err)
	}
	state, create := startTest(t, ClassStream, make([]byte, MaxClientMessage))
	tooLong := func(Class, []byte) ([]byte, error) { return make([]byte, MaxServerMessage+1), nil }
	if _, _, err := answerTest(create, tooLong, t); !errors.Is(err, ErrMessageTooLong) {
		t.Errorf("relay: got %v, want ErrMessageTooLong", err)
	}
	longest := func(Class, []byte) ([]byte, error) { return make([]byte, MaxServerMessage), nil }
	created, _, err := answerTest(create, longest, t)
	if err != nil {
		t.Fatal(err)
	}
	if _, message, err := state.Finish(created); err != nil || len(message) != MaxServerMessage {
		t.Errorf("longest message: %d bytes, error %v", len(message), err)
	}
}

func TestAnswerRefuses(t *testing.T) {
	_, create := startTest(t, ClassStream, nil)
	change := func(at int) []byte {
		out := bytes.Clone(create)
		out[at] ^= 1
		return out
	}
	_, otherClass := startTest(t, 2, nil)
	tests := map[string]struct {
		create []byte
		want   error
	}{
		"short":             {create[:HandshakeSize-1], ErrCreate},
		"long":              {append(bytes.Clone(create), 0), ErrCreate},
		"version":           {change(0), ErrVersion},
		"class":             {otherClass, ErrClass},
		"another relay":     {change(createHead), ErrOnionKey},
		"another onion key": {change(createHead + identity.NodeIDSize), ErrOnionKey},
		"ephemeral key":     {change(createHead + identity.NodeIDSize + suite.DHSize), ErrHandshake},
		"KEM key":           {change(createHead + identity.NodeIDSize + 2*suite.DHSize), ErrHandshake},
		"message":           {change(HandshakeSize - ntorMACSize - 1), ErrHandshake},
		"MAC":               {change(HandshakeSize - 1), ErrHandshake},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := answerTest(tc.create, echoReply, t); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
	refusal := errors.New("not now")
	if _, _, err := answerTest(create, func(Class, []byte) ([]byte, error) { return nil, refusal }, t); !errors.Is(err, refusal) {
		t.Errorf("got %v, want the reply's error", err)
	}
}

// TestLowOrderKeys sends the zero point as ephemeral key, both ways.
func TestLowOrderKeys(t *testing.T) {
	state, create := startTest(t, ClassStream, nil)
	at := createHead + identity.NodeIDSize + suite.DHSize
	low := bytes.Clone(create)
	clear(low[at : at+suite.DHSize])
	if _, _, err := answerTest(low, echoReply, t); !errors.Is(err, ErrHandshake) {
		t.Errorf("CREATE: got %v, want ErrHandshake", err)
	}
	created, _, err := answerTest(create, echoReply, t)
	if err != nil {
		t.Fatal(err)
	}
	clear(created[createdHead : createdHead+suite.DHSize])
	if _, _, err := state.Finish(created); !errors.Is(err, ErrHandshake) {
		t.Errorf("CREATED: got %v, want ErrHandshake", err)
	}
}

func TestFinishRefusesAnyChange(t *testing.T) {
	state, create := startTest(t, ClassStream, nil)
	created, _, err := answerTest(create, echoReply, t)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, created[:HandshakeSize-1], append(bytes.Clone(created), 0)} {
		if _, _, err := state.Finish(b); !errors.Is(err, ErrCreate) {
			t.Errorf("%d bytes: got %v, want ErrCreate", len(b), err)
		}
	}
	for at := 0; at < HandshakeSize; at += 3 {
		changed := bytes.Clone(created)
		changed[at] ^= 1 << (at % 8)
		want := ErrHandshake
		if at == 0 {
			want = ErrVersion
		}
		if _, _, err := state.Finish(changed); !errors.Is(err, want) {
			t.Fatalf("byte %d changed: got %v, want %v", at, err, want)
		}
	}
	if _, _, err := state.Finish(created); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// TestRelaysDiffer answers a CREATE with another relay's keys.
func TestRelaysDiffer(t *testing.T) {
	state, create := startTest(t, ClassStream, nil)
	id, secret := testRelay(t, 1)
	if _, _, err := AnswerHandshake(new(counting), id, secret, create, echoReply); !errors.Is(err, ErrOnionKey) {
		t.Errorf("got %v, want ErrOnionKey", err)
	}
	_, other, err := StartHandshake(new(counting), id, secret.Public(), ClassStream, nil)
	if err != nil {
		t.Fatal(err)
	}
	created, _, err := AnswerHandshake(new(counting), id, secret, other, echoReply)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := state.Finish(created); !errors.Is(err, ErrHandshake) {
		t.Errorf("got %v, want ErrHandshake", err)
	}
}

func BenchmarkAnswerHandshake(b *testing.B) {
	id, secret := testRelay(b, 0)
	_, create := startTest(b, ClassStream, nil)
	for b.Loop() {
		if _, _, err := AnswerHandshake(new(counting), id, secret, create, echoReply); err != nil {
			b.Fatal(err)
		}
	}
}
