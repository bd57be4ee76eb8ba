package identity

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/suite"
)

var update = flag.Bool("update", false, "write spec/vectors/identity.json anew")

// vectors is spec/vectors/identity.json; spec/identity.md §8 says how to read it.
type vectors struct {
	Comment  string          `json:"comment"`
	Personas []personaVector `json:"personas"`
	Periods  []periodVector  `json:"periods"`
	Refused  []refusedVector `json:"refused"`
}

type personaVector struct {
	Seed     string `json:"seed"`
	Phrase   string `json:"phrase"`
	Persona  uint32 `json:"persona"`
	Root     string `json:"root"`
	Base     string `json:"base"`
	Identity string `json:"identity"`
	ID       string `json:"id"`
}

type periodVector struct {
	Root            string `json:"root"`
	Period          uint64 `json:"period"`
	Blinded         string `json:"blinded"`
	SignatureLabel  string `json:"signature_label"`
	SignatureOf     string `json:"signature_of"`
	Signature       string `json:"signature"`
	FrontDoorShared string `json:"front_door_shared"`
	FrontDoorKey    string `json:"front_door_key"`
	CardShared      string `json:"card_shared"`
	Device          string `json:"device"`
	Removals        uint32 `json:"removals"`
	Certificate     string `json:"certificate"`
	Card            string `json:"card"`
	SealedCard      string `json:"sealed_card"`
	Introduction    string `json:"introduction"`
}

type refusedVector struct {
	What   string `json:"what"`
	Root   string `json:"root,omitempty"`
	Period uint64 `json:"period,omitempty"`
	Input  string `json:"input"`
	Class  string `json:"class"`
}

var classNames = map[string]error{
	"key": ErrKey, "version": ErrVersion, "format": ErrFormat, "period": ErrPeriod, "foreign": ErrForeign,
	"signature": ErrSignature, "card": ErrCard, "phrase": ErrPhrase, "account ID": ErrAccountID,
}

func vectorsPath(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "spec", "vectors", "identity.json")
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

func TestVectors(t *testing.T) {
	made := makeVectors()
	if *update {
		b, err := json.MarshalIndent(made, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsPath(t), append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorsPath(t))
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v, made); d != "" {
		t.Errorf("the code makes other vectors: %s", d)
	}
	for _, p := range v.Periods {
		checkPeriodVector(t, p)
	}
	for _, r := range v.Refused {
		if err := refuse(r); !errors.Is(err, classNames[r.Class]) {
			t.Errorf("%s %.40s: got %v, want class %q", r.What, r.Input, err, r.Class)
		}
	}
}

// checkPeriodVector reads a vector as an implementation without its secrets.
func checkPeriodVector(t *testing.T, v periodVector) {
	t.Helper()
	root, p := suite.VerifyKey(unhex(v.Root)), Period(v.Period)
	blinded := must(PeriodBlindedPublic(root, p))
	if blinded.String() != v.Blinded {
		t.Errorf("period %d blinds to %s", p, blinded)
	}
	if !blinded.Verify(suite.Label(v.SignatureLabel), []byte(v.SignatureOf), suite.Signature(unhex(v.Signature))) {
		t.Error("signature by the blinded key")
	}
	cert := must(ParseCertificate(unhex(v.Certificate)))
	if err := cert.Verify(root, p); err != nil || cert.Removals(root) != v.Removals {
		t.Errorf("certificate: %v", err)
	}
	card := must(OpenCard(root, p, unhex(v.SealedCard)))
	if hex.EncodeToString(card.Encode()) != v.Card || hex.EncodeToString(card.Subject.Device[:]) != v.Device {
		t.Error("another card was sealed")
	}
	intro := must(ParseIntroduction(unhex(v.Introduction)))
	if err := intro.Verify(p.Start().Add(time.Hour)); err != nil {
		t.Errorf("introduction: %v", err)
	}
}

func refuse(r refusedVector) error {
	var err error
	switch r.What {
	case "account ID":
		_, err = ParseAccountID(r.Input)
	case "phrase":
		_, err = SeedFromPhrase(r.Input)
	case "root":
		_, err = PeriodBlindedPublic(suite.VerifyKey(unhex(r.Input)), 1)
	case "certificate":
		var c *Certificate
		if c, err = ParseCertificate(unhex(r.Input)); err == nil {
			err = c.Verify(suite.VerifyKey(unhex(r.Root)), Period(r.Period))
		}
	case "sealed card":
		_, err = OpenCard(suite.VerifyKey(unhex(r.Root)), Period(r.Period), unhex(r.Input))
	}
	return err
}

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func makeVectors() vectors {
	v := vectors{Comment: "spec/identity.md §8; bytes in hex"}
	for _, name := range []string{"", "a", "b"} {
		seed := Seed{}
		if name != "" {
			seed = must(NewSeed(newStream(name)))
		}
		for n := range uint32(2) {
			who := seed.Persona(n)
			dh := who.Identity().Public()
			v.Personas = append(v.Personas, personaVector{
				Seed: hex.EncodeToString(seed.Bytes()), Phrase: seed.Phrase(), Persona: n,
				Root: who.Root().Public().String(), Base: who.Base().Public().String(),
				Identity: hex.EncodeToString(dh[:]), ID: who.ID().String(),
			})
		}
	}
	v.Periods = []periodVector{makePeriodVector(testPeriod), makePeriodVector(testPeriod + 1)}
	v.Refused = makeRefused()
	return v
}

func makePeriodVector(p Period) periodVector {
	who, s := testPersona("a"), testSecrets("a", p)
	root := who.ID().Root
	blinded := must(PeriodBlinded(who.Root(), p))
	sig := blinded.Sign(testLabel, []byte("message"))
	card := s.Card(who.Base().Public())
	return periodVector{
		Root: root.String(), Period: uint64(p), Blinded: blinded.Public().String(),
		SignatureLabel: string(testLabel), SignatureOf: "message", Signature: hex.EncodeToString(sig[:]),
		FrontDoorShared: FrontDoorShared(root, p).Public().String(),
		FrontDoorKey:    hex.EncodeToString(FrontDoorKey(root, p).Bytes()),
		CardShared:      CardShared(root, p).Public().String(),
		Device:          s.Subject.Device.String(), Removals: s.Certificate.Removals(root),
		Certificate:  hex.EncodeToString(s.Certificate.Encode()),
		Card:         hex.EncodeToString(card.Encode()),
		SealedCard:   hex.EncodeToString(must(SealCard(newStream("n"), root, p, card))),
		Introduction: hex.EncodeToString(s.Introduce(root, who.Base().Public()).Encode()),
	}
}

func makeRefused() []refusedVector {
	who, s := testPersona("a"), testSecrets("a", testPeriod)
	id, root := who.ID().String(), who.ID().Root
	flip := func(b []byte, i int) string {
		b[i] ^= 1
		return hex.EncodeToString(b)
	}
	cert := func(period Period, input, class string) refusedVector {
		return refusedVector{What: "certificate", Root: root.String(), Period: uint64(period), Input: input, Class: class}
	}
	sealed := func() []byte {
		return must(SealCard(newStream("n"), root, testPeriod, s.Card(who.Base().Public())))
	}
	out := []refusedVector{
		{What: "account ID", Input: id[:40], Class: "account ID"},
		{What: "account ID", Input: id[:20] + other(id[20]) + id[21:], Class: "account ID"},
		{What: "account ID", Input: "S" + id[1:], Class: "account ID"},
		{What: "account ID", Input: AccountID{Root: suite.VerifyKey{1}}.String(), Class: "key"},
		{What: "account ID", Input: bech32Encode(accountPrefix, append([]byte{2}, root[:]...)), Class: "version"},
		{What: "phrase", Input: "abandon abandom", Class: "phrase"},
		{What: "phrase", Input: "abandon", Class: "phrase"},
		cert(testPeriod+1, hex.EncodeToString(s.Certificate.Encode()), "period"),
		cert(testPeriod, hex.EncodeToString(s.Certificate.Encode()[:50]), "format"),
		cert(testPeriod, flip(s.Certificate.Encode(), 0), "version"),
		cert(testPeriod, flip(s.Certificate.Encode(), 10), "foreign"),
		cert(testPeriod, flip(s.Certificate.Encode(), 50), "signature"),
		{What: "sealed card", Root: testPersona("b").ID().Root.String(), Period: uint64(testPeriod), Input: hex.EncodeToString(sealed()), Class: "card"},
	}
	for _, name := range []string{"identity", "order 2", "order 4", "order 8", "order 8, negative", "identity, y above p", "not a point"} {
		out = append(out, refusedVector{What: "root", Input: badKeys[name], Class: "key"})
	}
	return out
}
