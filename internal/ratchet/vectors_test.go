package ratchet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sotto/internal/suite"
)

var update = flag.Bool("update", false, "rewrite spec/vectors/session.json")

var vectorPath = filepath.Join("..", "..", "spec", "vectors", "session.json")

// hexBytes is a byte string that stands in JSON as hex.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type vectorFile struct {
	Description []string         `json:"description"`
	Sessions    []*sessionVector `json:"sessions"`
}

// sessionVector is a first contact and what follows (spec/session.md §8).
type sessionVector struct {
	Name string `json:"name"`

	InitiatorIdentity hexBytes `json:"initiator_identity"`
	ResponderIdentity hexBytes `json:"responder_identity"`
	ResponderSigned   hexBytes `json:"responder_signed"`
	ResponderKEM      hexBytes `json:"responder_kem"`
	Period            uint64   `json:"period"`
	Sender            hexBytes `json:"sender"`
	Payload           hexBytes `json:"payload"`
	AD                hexBytes `json:"ad"`
	Random            hexBytes `json:"random"`
	KEMRandom         hexBytes `json:"kem_random"`

	First       hexBytes        `json:"first"`
	FirstDigest hexBytes        `json:"first_digest"`
	ID          hexBytes        `json:"id"`
	Refused     []*firstFailure `json:"refused,omitempty"`
	Steps       []*vectorStep   `json:"steps,omitempty"`
	Stored      []hexBytes      `json:"stored,omitempty"`
}

// firstFailure is the first message read wrongly: with one bit flipped or cut
// short, or with another period, identity of the sender or associated data.
type firstFailure struct {
	Flip   *int     `json:"flip,omitempty"`
	Cut    *int     `json:"cut,omitempty"`
	Period uint64   `json:"period,omitempty"`
	Sender hexBytes `json:"sender_identity,omitempty"`
	AD     hexBytes `json:"ad,omitempty"`
	Error  string   `json:"error"`
}

// vectorStep is one call on one side's session.
type vectorStep struct {
	By        string   `json:"by"`
	Op        string   `json:"op"` // encrypt, discard or decrypt
	Plaintext hexBytes `json:"plaintext,omitempty"`
	AD        hexBytes `json:"ad,omitempty"`
	Random    hexBytes `json:"random,omitempty"`
	Message   hexBytes `json:"message,omitempty"`
	Count     int      `json:"count,omitempty"` // discard: messages that nobody will see
	Of        *int     `json:"of,omitempty"`    // decrypt: the step that encrypted it
	Flip      *int     `json:"flip,omitempty"`  // decrypt: lowest bit of this byte changed
	Error     string   `json:"error,omitempty"`
}

var errorNames = map[string]error{
	"not_for_us": ErrNotForUs, "replay": ErrReplay, "forgotten": ErrForgotten, "too_far": ErrTooFar,
	"damaged": ErrDamaged, "malformed": ErrMalformed, "period": ErrPeriod, "identity": ErrIdentity,
}

func checkError(t *testing.T, err error, name string) {
	t.Helper()
	switch want, known := errorNames[name]; {
	case name == "" && err != nil:
		t.Fatal(err)
	case name == "version":
		var v *VersionError
		if !errors.As(err, &v) {
			t.Fatalf("got %v, want another version to be named", err)
		}
	case name != "" && !known:
		t.Fatalf("unknown error name %q", name)
	case name != "" && !errors.Is(err, want):
		t.Fatalf("got %v, want %v", err, want)
	}
}

// transcript runs a vector: it fills in what the vector leaves open when it is
// being made, and compares when it is being checked.
type transcript struct {
	t      *testing.T
	v      *sessionVector
	source io.Reader // nil when checking
}

// random runs f with the recorded randomness, or records it.
func (tr *transcript) random(recorded *hexBytes, f func(io.Reader)) {
	if tr.source == nil {
		r := bytes.NewReader(*recorded)
		f(r)
		if r.Len() != 0 {
			tr.t.Fatalf("%d random bytes too many", r.Len())
		}
		return
	}
	var used bytes.Buffer
	f(io.TeeReader(tr.source, &used))
	*recorded = used.Bytes()
}

// output compares what was computed with the vector, or records it.
func (tr *transcript) output(what string, recorded *hexBytes, got []byte) {
	tr.t.Helper()
	if tr.source != nil {
		*recorded = bytes.Clone(got)
	} else if !bytes.Equal(*recorded, got) {
		tr.t.Fatalf("%s: got %x, want %x", what, got, []byte(*recorded))
	}
}

func (tr *transcript) dh(recorded *hexBytes) (k suite.DHPrivate) {
	tr.random(recorded, func(r io.Reader) { k = must[suite.DHPrivate](tr.t)(suite.NewDHPrivate(r)) })
	return k
}

func (tr *transcript) run() {
	t, v := tr.t, tr.v
	alice := tr.dh(&v.InitiatorIdentity)
	bob := PrekeySecrets{Identity: tr.dh(&v.ResponderIdentity), Signed: tr.dh(&v.ResponderSigned), Period: v.Period}
	tr.random(&v.ResponderKEM, func(r io.Reader) { bob.KEM = must[suite.KEMPrivate](t)(suite.NewKEMPrivate(r)) })

	var a *Session
	var first []byte
	tr.random(&v.KEMRandom, func(kem io.Reader) {
		tr.random(&v.Random, func(r io.Reader) {
			var err error
			if a, first, err = initiate(r, fixedEncapsulate(kem), alice, v.Sender, bob.Public(), v.Payload, v.AD); err != nil {
				t.Fatal(err)
			}
		})
	})
	tr.output("first message", &v.First, first)
	digest, id := FirstDigest(first), a.ID()
	tr.output("digest", &v.FirstDigest, digest[:])
	tr.output("session ID", &v.ID, id[:])
	for _, f := range v.Refused {
		tr.refuse(f, bob, alice.Public())
	}
	b, payload, err := readFirst(bob, v.First, v.AD, alice.Public())
	if err != nil || !bytes.Equal(payload, v.Payload) {
		t.Fatalf("first message: %q, %v", payload, err)
	}
	sides := map[string]*Session{"initiator": a, "responder": b}
	for i, step := range v.Steps {
		tr.step(i, step, sides[step.By])
		sides[step.By] = reload(t, sides[step.By])
	}
	if tr.source != nil {
		v.Stored = make([]hexBytes, 2)
	}
	tr.output("initiator's state", &v.Stored[0], sides["initiator"].Encode())
	tr.output("responder's state", &v.Stored[1], sides["responder"].Encode())
}

func readFirst(secrets PrekeySecrets, first, ad []byte, sender suite.DHPublic) (*Session, []byte, error) {
	o, err := ReadFirst(secrets, first, ad)
	if err != nil {
		return nil, nil, err
	}
	return o.Accept(nil, sender)
}

func (tr *transcript) refuse(f *firstFailure, bob PrekeySecrets, sender suite.DHPublic) {
	tr.t.Helper()
	first, ad := bytes.Clone(tr.v.First), tr.v.AD
	if f.Flip != nil {
		first[*f.Flip] ^= 1
	}
	if f.Cut != nil {
		first = first[:*f.Cut]
	}
	if f.Period != 0 {
		bob.Period = f.Period
	}
	if f.Sender != nil {
		sender = suite.DHPublic(f.Sender)
	}
	if f.AD != nil {
		ad = f.AD
	}
	_, _, err := readFirst(bob, first, ad, sender)
	checkError(tr.t, err, f.Error)
}

func (tr *transcript) step(i int, step *vectorStep, s *Session) {
	t := tr.t
	switch step.Op {
	case "encrypt":
		tr.random(&step.Random, func(r io.Reader) {
			msg, err := s.Encrypt(r, step.Plaintext, step.AD)
			if err != nil {
				t.Fatal(err)
			}
			tr.output("message", &step.Message, msg)
		})
	case "discard":
		discard(t, s, step.Count)
	case "decrypt":
		of := tr.v.Steps[*step.Of]
		msg := bytes.Clone(of.Message)
		if step.Flip != nil {
			msg[*step.Flip] ^= 1
		}
		got, err := s.Decrypt(msg, step.AD)
		checkError(t, err, step.Error)
		if err == nil && !bytes.Equal(got, of.Plaintext) {
			t.Fatalf("step %d: got %q, want %q", i, got, of.Plaintext)
		}
	default:
		t.Fatalf("step %d: unknown operation %q", i, step.Op)
	}
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	raw, err := os.ReadFile(vectorPath)
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Sessions {
		t.Run(v.Name, func(t *testing.T) { (&transcript{t: t, v: v}).run() })
	}
}

func writeVectors(t *testing.T) {
	file := vectorFile{
		Description: []string{
			"Sessions of spec/session.md §8. All byte strings are hex.",
			"random holds what is drawn from the random source, in order; kem_random is the m of ML-KEM.Encaps_internal.",
			"Steps run in order; of names the step whose message is decrypted, flip the byte whose lowest bit is changed first.",
			"discard encrypts count messages that are lost; a chain begun by discard draws a fresh ratchet key, so it is only used in running chains.",
		},
		Sessions: scripts(),
	}
	for _, v := range file.Sessions {
		(&transcript{t: t, v: v, source: seeded("vector " + v.Name)}).run()
	}
	out, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(vectorPath), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorPath, append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
