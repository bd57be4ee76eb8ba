package identity

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzAccountID(f *testing.F) {
	f.Add(testPersona("a").ID().String())
	f.Add(bech32Encode(accountPrefix, append([]byte{2}, make([]byte, 32)...)))
	f.Add("sotto1")
	f.Fuzz(func(t *testing.T, in string) {
		id, err := ParseAccountID(in)
		if err == nil && id.String() != strings.ToLower(strings.TrimSpace(in)) {
			t.Fatalf("%q is read as %q", in, id)
		}
	})
}

func FuzzPhrase(f *testing.F) {
	phrase := must(NewSeed(newStream("a"))).Phrase()
	f.Add(phrase)
	f.Add(strings.Replace(phrase, " ", " x ", 1))
	f.Add("abandon abandom")
	f.Fuzz(func(t *testing.T, in string) {
		seed, err := SeedFromPhrase(in)
		if err == nil && seed.Phrase() != strings.Join(strings.Fields(strings.ToLower(in)), " ") {
			t.Fatal("another phrase comes back")
		}
	})
}

func FuzzCertificate(f *testing.F) {
	s := testSecrets("a", testPeriod)
	f.Add(s.Certificate.Encode())
	root := testPersona("a").ID().Root
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParseCertificate(in)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Encode(), in) {
			t.Fatal("a certificate that was read is not written alike")
		}
		if err := c.Verify(root, testPeriod); err == nil && *c != s.Certificate {
			t.Fatal("a certificate nobody signed is accepted")
		}
	})
}

func FuzzCard(f *testing.F) {
	who := testPersona("a")
	card := testSecrets("a", testPeriod).Card(who.Base().Public())
	f.Add(card.Encode())
	f.Add(must(SealCard(newStream("n"), who.ID().Root, testPeriod, card)))
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, err := ParseCard(in); err == nil {
			if !bytes.Equal(c.Encode(), in) {
				t.Fatal("a card that was read is not written alike")
			}
			if err := c.Verify(who.ID().Root, testPeriod); err == nil && *c != *card {
				t.Fatal("a card nobody signed is accepted")
			}
		}
		if c, err := OpenCard(who.ID().Root, testPeriod, in); err == nil && *c != *card {
			t.Fatal("a sealed card nobody made opens")
		}
	})
}

func FuzzIntroduction(f *testing.F) {
	who := testPersona("a")
	f.Add(testSecrets("a", testPeriod).Introduce(who.ID().Root, who.Base().Public()).Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		i, err := ParseIntroduction(in)
		if err != nil {
			return
		}
		if !bytes.Equal(i.Encode(), in) {
			t.Fatal("an introduction that was read is not written alike")
		}
		_ = i.Verify(testPeriod.Start())
	})
}
